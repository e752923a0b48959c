"""Owns the arithmetic: samples of rounds, their medians and spreads, ratios within a round.

A ratio is taken between two systems in the same round, minutes apart at most, and only then is the
median of the rounds taken: what slows the machine for a while slows both. It knows no clock.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.bench.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RATE = "per_s"
P50 = "p50_ms"
P99 = "p99_ms"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one system did of one kind of work in one round; a replay has no latencies."""

    work: Work
    count: int
    lasted_s: float
    p50_ms: float | None
    p99_ms: float | None
    client_us: float
    """Processor time of the client process for one answer."""
    server_us: float
    """Processor time of all server processes for one answer."""
    others: float
    """The share of the machine's processors that went to everything else meanwhile."""

    @property
    def per_s(self) -> float:
        return self.count / self.lasted_s

    def to_dict(self) -> dict[str, Any]:
        """Flat: the work's fields, then the figures."""
        told = asdict(self)
        return {**told.pop("work"), **told}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Sample:
        """As `to_dict` made it."""
        names = {field.name for field in fields(Work)}
        work = Work(**{name: value for name, value in told.items() if name in names})
        return cls(work, **{name: value for name, value in told.items() if name not in names})


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor time of client and servers over a window, and the share that went to others."""

    client_s: float
    server_s: float
    others: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over the rounds, and how far they lay apart."""

    median: float
    low: float
    high: float


def sample_of(
    work: Work,
    took_s: Sequence[float],
    lasted_s: float,
    spent: Spent,
    *,
    count: int | None = None,
) -> Sample:
    """The sample of answers that took so long each; without them, `count` says how many there were.

    Raises ValueError if there was no answer: the window was too short to say anything.
    """
    answers = len(took_s) if count is None else count
    if answers == 0:
        raise ValueError(f"{work}: no answer in {lasted_s:.1f} s")
    ordered = sorted(took_s)
    return Sample(
        work,
        answers,
        round(lasted_s, 4),
        _milliseconds(ordered, 0.50),
        _milliseconds(ordered, 0.99),
        round(spent.client_s / answers * 1e6, 1),
        round(spent.server_s / answers * 1e6, 1),
        round(spent.others, 3),
    )


def _milliseconds(ordered_s: Sequence[float], share: float) -> float | None:
    return round(percentile(ordered_s, share) * 1000, 4) if ordered_s else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread_of(values: Iterable[float]) -> Spread:
    """Median, least and greatest of the values of the rounds; at least one."""
    found = list(values)
    return Spread(median(found), min(found), max(found))
