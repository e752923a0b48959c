"""Owns what the agent can do to the world: look at one folder, calculate, write a report.

A tool takes JSON and returns JSON; what goes wrong is an ordinary result, {"error": ...}. Each tool
may be run twice with the same arguments and leaves the same behind: the agent relies on that when
it died after acting and before remembering. Nothing outside the folder is read.
"""

from __future__ import annotations

import ast
import operator
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE_BYTES_MAX = 1024 * 1024
EXPRESSION_LENGTH_MAX = 1000
POWER_MAX = 64
RESULT_MAX = 10**300
# Folders that hold no work of the repository's authors.
SKIPPED = {"__pycache__", "build", "dist", "node_modules", "venv"}

Number = int | float


class ToolError(Exception):
    """What a tool could not do; the agent reads it and goes on."""


class Toolbox:
    """The tools, bound to the folder they look at and the folder reports go to."""

    def __init__(self, folder: Path, reports: Path) -> None:
        self._folder = folder.resolve()
        self._reports = reports
        self._tools: dict[str, Callable[..., dict[str, Any]]] = {
            "list_files": self.list_files,
            "count": self.count,
            "read_file": self.read_file,
            "calculate": self.calculate,
            "write_report": self.write_report,
        }

    @property
    def names(self) -> list[str]:
        return list(self._tools)

    def run(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The tool's result, or {"error": ...}."""
        if tool not in self._tools:
            return {"error": f"there is no tool {tool!r}; there are {', '.join(self._tools)}"}
        try:
            return self._tools[tool](**arguments)
        except (ToolError, TypeError, OSError) as error:
            return {"error": f"{tool}: {error}"}

    def list_files(self, suffix: str) -> dict[str, Any]:
        """How many files with this suffix each top-level folder holds; "." is the top itself."""
        folders = Counter(path.parts[0] if path.parts[1:] else "." for path in self._walk(suffix))
        return {"folders": dict(sorted(folders.items())), "files": folders.total()}

    def count(self, folders: list[str], suffix: str, what: str) -> dict[str, Any]:
        """Counts lines, words, or how often a text occurs, in the files of top-level folders."""
        files = total = 0
        for path in self._walk(suffix):
            if (path.parts[0] if path.parts[1:] else ".") not in folders:
                continue
            total += _count(self._text(path), what)
            files += 1
        return {"files": files, "count": total}

    def read_file(self, path: str, lines: int = 20) -> dict[str, Any]:
        """The first lines of one file."""
        inside = (self._folder / path).resolve()
        if not inside.is_relative_to(self._folder):
            raise ToolError(f"{path} is not inside {self._folder}")
        text = self._text(inside.relative_to(self._folder)).splitlines()
        return {"path": path, "lines": text[:lines], "more": len(text) > lines}

    def calculate(self, expression: str) -> dict[str, Any]:
        """The value of an arithmetic expression; nothing but numbers and operators is accepted."""
        return {"expression": expression, "value": evaluate(expression)}

    def write_report(self, name: str, text: str) -> dict[str, Any]:
        """Writes a report, whole or not at all; writing it again changes nothing."""
        if Path(name).name != name:
            raise ToolError(f"a report is called by a plain file name, not {name!r}")
        self._reports.mkdir(parents=True, exist_ok=True)
        target = self._reports / name
        scratch = target.with_suffix(".part")
        scratch.write_text(text)
        scratch.replace(target)
        return {"path": str(target), "bytes": len(text.encode())}

    def _walk(self, suffix: str) -> Iterator[Path]:
        for here, folders, files in os.walk(self._folder):
            folders[:] = sorted(f for f in folders if f not in SKIPPED and not _hidden(f))
            for name in sorted(files):
                path = Path(here) / name
                # A link may lead out of the folder.
                if name.endswith(suffix) and not _hidden(name) and not path.is_symlink():
                    yield path.relative_to(self._folder)

    def _text(self, path: Path) -> str:
        with (self._folder / path).open("rb") as file:
            return file.read(FILE_BYTES_MAX).decode(errors="replace")


def _count(text: str, what: str) -> int:
    match what:
        case "lines":
            return len(text.splitlines())
        case "words":
            return len(text.split())
    return text.count(what)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.endswith(".egg-info")


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def evaluate(expression: str) -> Number:
    """Walks the syntax tree of an expression; never executes any of it."""
    if len(expression) > EXPRESSION_LENGTH_MAX:
        raise ToolError(f"an expression has at most {EXPRESSION_LENGTH_MAX} characters")
    try:
        return _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError) as error:
        raise ToolError(f"cannot calculate {expression!r}: {error}") from None


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            first, second = _value(left), _value(right)
            if isinstance(op, ast.Pow) and (abs(second) > POWER_MAX or abs(first) > 10**9):
                raise ToolError(f"powers go up to {POWER_MAX}, of numbers up to 10**9")
            result = _BINARY[type(op)](first, second)
            if isinstance(result, complex) or not abs(result) < RESULT_MAX:
                raise ToolError("the result is not a real number of a size worth telling")
            return result
    raise ToolError(f"{ast.unparse(node)!r} is no arithmetic")
