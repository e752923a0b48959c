"""Owns what Statehouse set out to reach, each as a comparison of two figures of one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.figures import P50, RATE
from tests.bench.work import COMMIT, GET, GET_AT, REPLAY, THREADS, Work

if TYPE_CHECKING:
    from tests.bench.figures import Spread
    from tests.bench.results import Results

OURS = "statehouse"


@dataclass(frozen=True, slots=True)
class Target:
    """`measure` of our work: at least, or at most, so many times theirs; or just so much."""

    text: str
    measure: str
    work: Work
    bound: float
    at_least: bool = True
    other: str = ""
    other_work: Work | None = None

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self._told(self.bound)}"

    def reached(self, results: Results) -> Spread | None:
        """The figure; None if a side was not measured."""
        if not self.other:
            return results.spread(OURS, self.work, self.measure)
        theirs = (self.other, self.other_work or self.work)
        return results.ratio(self.measure, (OURS, self.work), theirs)

    def met(self, figure: Spread) -> bool:
        """Whether the median of the rounds holds the bound."""
        return figure.median >= self.bound if self.at_least else figure.median <= self.bound

    def told(self, figure: Spread) -> str:
        """The figure as the bound is written, with its spread."""
        return (
            f"{self._told(figure.median)} ({self._told(figure.low)} to {self._told(figure.high)})"
        )

    def _told(self, value: float) -> str:
        return f"{value:.2f}x" if self.other else f"{value:,.0f}/s"


TARGETS = (
    Target("commit, 1 caller, p50, to etcd's put", P50, Work(COMMIT), 1.0, False, "etcd"),
    Target("commits/s, 64 callers, to etcd", RATE, Work(COMMIT, 64), 2.5, other="etcd"),
    Target("commits/s, 256 callers, to etcd", RATE, Work(COMMIT, 256), 3.5, other="etcd"),
    Target(
        "commits/s, 16 threads, to etcd",
        RATE,
        Work(COMMIT, THREADS, threads=True),
        1.0,
        other="etcd",
    ),
    Target("linearizable gets/s, 64 callers, to etcd", RATE, Work(GET, 64), 2.5, other="etcd"),
    Target("commits/s, 64 callers, to PostgreSQL", RATE, Work(COMMIT, 64), 1.0, other="postgresql"),
    Target(
        "as-of get, 1 caller, p50, to our own get",
        P50,
        Work(GET_AT),
        1.3,
        False,
        OURS,
        Work(GET),
    ),
    Target("replay of one agent, events/s", RATE, Work(REPLAY), 100_000),
)
