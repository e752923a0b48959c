"""Owns how results read as text: tables of Markdown that are as legible on a terminal.

Every figure is the median of the rounds. It computes nothing itself.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from tests.bench.figures import P50, P99, RATE
from tests.bench.targets import OURS, TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.results import Results
    from tests.bench.work import Work

NAMES = {
    "statehouse": "Statehouse",
    "etcd": "etcd",
    "postgresql": "PostgreSQL",
    "redis": "Redis",
}
NOTHING = "-"

Row = list[str]


def report(results: Results) -> str:
    """All tables, with a heading each."""
    sections = [
        ("What was to be reached", targets(results)),
        ("Answers a second", rates(results)),
        ("Latency: p50 / p99 in milliseconds", latencies(results)),
        ("Statehouse to the others: answers a second, ratio within a round", ratios(results)),
        ("Processor time an answer: client / servers, in microseconds", processor(results)),
        ("Without commits after the leader is lost", failovers(results)),
        ("Who was measured, and on what", context(results)),
    ]
    return "\n\n".join(f"### {heading}\n\n{table}" for heading, table in sections if table)


def targets(results: Results) -> str:
    rows = [["work", "to reach", "reached: median (lowest to highest)", ""]]
    for target in TARGETS:
        figure = target.reached(results)
        if figure is not None:
            verdict = "yes" if target.met(figure) else "**no**"
            rows.append([target.text, target.wanted, target.told(figure), verdict])
    return _table(rows)


def rates(results: Results) -> str:
    def cell(system: str, work: Work) -> str:
        found = results.spread(system, work, RATE)
        if found is None:
            return NOTHING
        return f"{found.median:,.0f} ({found.low:,.0f} to {found.high:,.0f})"

    return _by_system(results, cell)


def latencies(results: Results) -> str:
    def cell(system: str, work: Work) -> str:
        p50, p99 = (results.spread(system, work, measure) for measure in (P50, P99))
        return f"{p50.median:.2f} / {p99.median:.2f}" if p50 and p99 else NOTHING

    return _by_system(results, cell)


def ratios(results: Results) -> str:
    def cell(system: str, work: Work) -> str:
        if system == OURS:
            return NOTHING
        found = results.ratio(RATE, (OURS, work), (system, work))
        if found is None:
            return NOTHING
        # What others win is to be seen at once.
        times = f"{found.median:.2f}x"
        bold = f"**{times}**" if found.median < 1 else times
        return f"{bold} ({found.low:.2f} to {found.high:.2f})"

    others = [system for system in results.samples if system != OURS]
    return _by_system(results, cell, others) if OURS in results.samples else ""


def processor(results: Results) -> str:
    def cell(system: str, work: Work) -> str:
        client = results.spread(system, work, "client_us")
        servers = results.spread(system, work, "server_us")
        return f"{client.median:,.0f} / {servers.median:,.0f}" if client and servers else NOTHING

    return _by_system(results, cell)


def failovers(results: Results) -> str:
    rows = [["the leader", "system", "median", "all, in seconds"]]
    for loss, by_system in results.failovers_s.items():
        for system, all_s in by_system.items():
            each = ", ".join(f"{one_s:.2f}" for one_s in all_s)
            rows.append([loss, NAMES[system], f"{median(all_s):.2f} s", each])
    return _table(rows)


def context(results: Results) -> str:
    rows = [["", ""]]
    rows += [[NAMES[name], f"{one.version}: {one.setup}"] for name, one in results.systems.items()]
    rows += [[NAMES[name], f"left out: {why}"] for name, why in results.left_out.items()]
    rows += [[name, value] for name, value in (results.machine | results.settings).items()]
    if (others := results.others()) is not None:
        used = f"used {others.median:.0%} of the processors meanwhile, at most {others.high:.0%}"
        rows.append(["everything else", used])
    return _table(rows)


def _by_system(
    results: Results, cell: Callable[[str, Work], str], systems: Sequence[str] | None = None
) -> str:
    columns = list(results.samples if systems is None else systems)
    rows = [["work", *(NAMES[system] for system in columns)]]
    for work in results.works():
        cells = [cell(system, work) for system in columns]
        if set(cells) != {NOTHING}:
            rows.append([str(work), *cells])
    return _table(rows)


def _table(rows: list[Row]) -> str:
    """Padded, so that it is a table without being rendered; empty without a row below the head."""
    if len(rows) < 2 or len(rows[0]) < 2:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
