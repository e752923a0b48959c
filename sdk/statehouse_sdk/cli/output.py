"""Owns how results are shown: JSON for programs, aligned tables for people, colour on terminals.

Text that came from the cluster is shown with its control characters escaped, so that a stored name
cannot steer the reader's terminal.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# A line may hold tabs; all else below the space, DEL, and the C1 controls is shown as an escape.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != 9}


def plain(text: str) -> str:
    """One line of text, safe to show on a terminal."""
    return text.translate(_CONTROLS)


def line(text: str = "") -> None:
    """Writes one line, or several, to standard output."""
    click.echo("\n".join(plain(part) for part in text.split("\n")))


def note(text: str) -> None:
    """Writes a remark to standard error, where it cannot spoil the output."""
    click.echo(plain(text), err=True)


def moment(committed_at: datetime | None) -> str:
    """``2031-05-01 12:00:00Z`` in UTC; a dash when it is not known."""
    return "-" if committed_at is None else f"{committed_at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def json_document(value: Any) -> None:
    """Writes one JSON document, indented."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def json_line(value: Any) -> None:
    """Writes one line of JSON, at once: a follower's reader waits for it."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    sys.stdout.flush()


def colourful() -> bool:
    """Whether standard output is a terminal that may be coloured."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def good(text: str) -> str:
    """The text in green, where colours may be."""
    return click.style(text, fg="green") if colourful() else text


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Writes rows under headers; drawn on a terminal, aligned by spaces elsewhere."""
    cells = [[plain(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _drawn(headers, cells)
        return
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    for row in [list(headers), *cells]:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _drawn(headers: Sequence[str], cells: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for header in headers:
        # Folded, never cut: an id that lost its end is of no use.
        drawn.add_column(header, overflow="fold")
    for row in cells:
        # As Text, or a name in square brackets would be taken for markup.
        drawn.add_row(*map(Text, row))
    Console(no_color=not colourful()).print(drawn)
