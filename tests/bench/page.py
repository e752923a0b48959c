"""Owns the figures in docs/performance.md: the part between its two marks, made from results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import tables

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.results import Results

BEGIN = "<!-- figures: made by scripts/bench.py, do not edit -->"
END = "<!-- end of figures -->"


class NoMarks(ValueError):
    """The page has no place for figures."""


def with_figures(text: str, results: Results) -> str:
    """The page's text with these results in the place of the old ones; raises NoMarks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise NoMarks(f"the page lacks the marks {BEGIN} and {END}: write them where figures go")
    return f"{before}{BEGIN}\n\n{tables.report(results)}\n\n{END}{after}"


def renew(page: Path, results: Results) -> None:
    """Writes the results into the page."""
    page.write_text(with_figures(page.read_text("utf-8"), results), "utf-8")
