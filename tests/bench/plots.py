"""Owns the plots: SVG files drawn from results, the same bytes for the same results.

Text stays text, so the files are small and can be searched. It computes nothing itself, and is the
only part of the bench that needs matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib import pyplot

from tests.bench.figures import P50, P99, RATE
from tests.bench.tables import NAMES
from tests.bench.targets import OURS
from tests.bench.work import CALLERS, COMMIT, GET, Work

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.results import Results

COLOURS = {
    "statehouse": "#1f6f8b",
    "etcd": "#e07a3f",
    "postgresql": "#8a8fb5",
    "redis": "#b5524a",
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "statehouse",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.figsize": (6.4, 3.4),
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
}
BARS_WIDTH = 0.8


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws every plot the results suffice for; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    pyplot.switch_backend("svg")
    with pyplot.rc_context(STYLE):
        for name, plot in PLOTS.items():
            figure, axes = pyplot.subplots()
            if plot(results, axes):
                path = folder / f"{name}.svg"
                # Without a date the file changes only when the figures do.
                figure.savefig(path, metadata={"Date": None})
                drawn.append(path)
            pyplot.close(figure)
    return drawn


def commit_rates(results: Results, axes: Any) -> bool:
    axes.set_title("Durable commits a second, 200 B")
    return _bars(results, axes, COMMIT)


def get_rates(results: Results, axes: Any) -> bool:
    axes.set_title("Linearizable gets a second, 200 B")
    return _bars(results, axes, GET)


def commit_latency(results: Results, axes: Any) -> bool:
    axes.set_title("Latency of a commit: p50 solid, p99 dashed")
    for system in results.samples:
        for measure, line in ((P50, "-"), (P99, "--")):
            points = _points(results, system, COMMIT, measure)
            label = NAMES[system] if measure == P50 else None
            _line(axes, points, line, COLOURS[system], label)
    axes.set_ylabel("milliseconds")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    return _by_callers(axes)


def ratios(results: Results, axes: Any) -> bool:
    axes.set_title("Statehouse to etcd: answers a second, same round")
    axes.axhline(1.0, color="#555555", linewidth=0.8)
    for kind, line in ((COMMIT, "-"), (GET, "--")):
        points = {}
        for callers in CALLERS:
            work = Work(kind, callers)
            if (ratio := results.ratio(RATE, (OURS, work), ("etcd", work))) is not None:
                points[callers] = ratio.median
        _line(axes, points, line, COLOURS[OURS], kind)
    axes.set_ylabel("times etcd")
    axes.set_ylim(bottom=0)
    return _by_callers(axes)


def _bars(results: Results, axes: Any, kind: str) -> bool:
    systems = [one for one in results.samples if _points(results, one, kind, RATE)]
    width = BARS_WIDTH / max(1, len(systems))
    for place, system in enumerate(systems):
        offset = (place - (len(systems) - 1) / 2) * width
        for callers, rate in _points(results, system, kind, RATE).items():
            axes.bar(
                CALLERS.index(callers) + offset,
                rate,
                width * 0.92,
                color=COLOURS[system],
                label=NAMES[system],
            )
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return _by_callers(axes)


def _points(results: Results, system: str, kind: str, measure: str) -> dict[int, float]:
    """The median by callers, where it was measured."""
    found = {callers: results.spread(system, Work(kind, callers), measure) for callers in CALLERS}
    return {callers: spread.median for callers, spread in found.items() if spread is not None}


def _line(axes: Any, points: dict[int, float], line: str, colour: str, label: str | None) -> None:
    if points:
        places = [CALLERS.index(callers) for callers in points]
        axes.plot(places, points.values(), line, marker="o", color=colour, label=label)


def _by_callers(axes: Any) -> bool:
    """Labels what all plots share; whether there is anything to see."""
    axes.set_xlabel("callers of one client process")
    axes.set_xticks(range(len(CALLERS)), [str(callers) for callers in CALLERS])
    labels = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if labels:
        axes.legend(labels.values(), labels.keys())
    return bool(labels)


PLOTS = {
    "commits": commit_rates,
    "gets": get_rates,
    "latency": commit_latency,
    "ratios": ratios,
}
