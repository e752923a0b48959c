"""Owns the results of a run: what was measured of whom on what, its comparisons, and its JSON.

It knows no system but by name, and says nothing of how figures are shown.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tests.bench.figures import Sample, Spread, spread_of

if TYPE_CHECKING:
    from tests.bench.work import Work

FORMAT = 1
_INNERMOST = re.compile(r"\{[^{}]*\}")


class UnknownFormat(ValueError):
    """The file was written by another release of the bench."""


@dataclass(frozen=True, slots=True)
class System:
    """Who was measured, and how it ran."""

    version: str
    setup: str


@dataclass
class Results:
    """Everything one run found. `machine` and `settings` are names and values for the reader."""

    machine: dict[str, str]
    settings: dict[str, str]
    systems: dict[str, System] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    """Of each system, in the order of the rounds."""
    failovers_s: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Of each way to lose the leader and each system: seconds without commits, of every loss."""

    def others(self) -> Spread | None:
        """The share of the processors that others used while something was measured."""
        shares = [sample.others for done in self.samples.values() for sample in done]
        return spread_of(shares) if shares else None

    def works(self) -> list[Work]:
        """Every kind of work that anybody did, in the order first done."""
        return list(dict.fromkeys(s.work for done in self.samples.values() for s in done))

    def spread(self, system: str, work: Work, measure: str) -> Spread | None:
        """Over the rounds; None if the system did not do that."""
        values = self._values(system, work, measure)
        return spread_of(values) if values else None

    def ratio(
        self, measure: str, ours: tuple[str, Work], theirs: tuple[str, Work]
    ) -> Spread | None:
        """Ours divided by theirs, round by round; None if either is not there."""
        pairs = zip(self._values(*ours, measure), self._values(*theirs, measure), strict=False)
        ratios = [one / other for one, other in pairs]
        return spread_of(ratios) if ratios else None

    def _values(self, system: str, work: Work, measure: str) -> list[float]:
        found = [getattr(s, measure) for s in self.samples.get(system, ()) if s.work == work]
        return [value for value in found if value is not None]

    def to_json(self) -> str:
        """The text of a file, a line for each sample."""
        samples = {name: [s.to_dict() for s in done] for name, done in self.samples.items()}
        told = {"format": FORMAT, **asdict(self), "samples": samples}
        lines = _INNERMOST.sub(lambda one: " ".join(one[0].split()), json.dumps(told, indent=1))
        return lines + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """The results a file holds; raises UnknownFormat."""
        told = json.loads(text)
        if told.get("format") != FORMAT:
            raise UnknownFormat(
                f"the results have format {told.get('format')!r}, and this bench reads {FORMAT}: "
                "run it again"
            )
        return cls(
            machine=told["machine"],
            settings=told["settings"],
            systems={name: System(**one) for name, one in told["systems"].items()},
            left_out=told["left_out"],
            samples={
                name: [Sample.from_dict(one) for one in done]
                for name, done in told["samples"].items()
            },
            failovers_s=told["failovers_s"],
        )
