#!/usr/bin/env python3
"""Makes the reference pages of docs/ that restate what the code says: docs/limits.md so far.

Run it after changing statehouse/core/limits.py and commit what it writes; CI runs it with --check,
which writes nothing and fails when a committed page differs.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMITS = ROOT / "statehouse" / "core" / "limits.py"

HEADER = """\
# Limits

Every limit of Statehouse, made from `statehouse/core/limits.py` by `scripts/generate_docs.py`; edit
that file, not this page. A request that exceeds one is refused whole, with an error that names the
limit, its value and what was sent; nothing of it is stored. The limits of streamed answers and of
log entries refuse nothing: they say where the next message or entry starts.

| limit | value | what is counted |
|---|---|---|
"""


def limits_page(source: str) -> str:
    """docs/limits.md for the text of core/limits.py."""
    rows = [
        f"| `{name.lower()}` | {in_words(name, value)} | {meaning} |"
        for name, value, meaning in declared_limits(source)
    ]
    return HEADER + "\n".join(rows) + "\n"


def declared_limits(source: str) -> list[tuple[str, int, str]]:
    """Name, value and docstring of each constant, in the order of the file."""
    body = ast.parse(source).body
    return [
        (statement.target.id, _product(statement.value), _docstring(statement.target.id, after))
        for statement, after in zip(body, [*body[1:], None], strict=True)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    ]


def _product(node: ast.expr | None) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _product(left) * _product(right)
    raise SystemExit(f"core/limits.py: {ast.unparse(node) if node else 'nothing'} is no product")


def _docstring(name: str, statement: ast.stmt | None) -> str:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return " ".join(text.split())
    raise SystemExit(f"core/limits.py: {name} needs a docstring that tells its unit")


def in_words(name: str, value: int) -> str:
    """The figure with its thousands set apart and, for bytes and times, in the larger unit."""
    if "_BYTES" in name:
        units = [(1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")]
    elif "_US" in name:
        units = [(3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms")]
    elif "_MS" in name:
        units = [(3_600_000, "h"), (60_000, "min"), (1_000, "s")]
    else:
        units = []
    larger = next((f" ({value // size} {unit})" for size, unit in units if value % size == 0), "")
    return f"{value:,}{larger}"


def pages() -> dict[Path, str]:
    """Each generated page and what it must hold."""
    return {ROOT / "docs" / "limits.md": limits_page(LIMITS.read_text("utf-8"))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on drift")
    check = parser.parse_args().check
    drifted = {
        path: text
        for path, text in pages().items()
        if not path.exists() or path.read_text("utf-8") != text
    }
    for path, text in drifted.items():
        name = path.relative_to(ROOT)
        if check:
            print(f"{name} is not what the code says: run scripts/generate_docs.py and commit it")
        else:
            path.write_text(text, "utf-8")
            print(f"wrote {name}")
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())
