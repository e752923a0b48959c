"""One call for all checkers: `check_all(history, events)` says what is wrong with a recorded run.

`events` is the whole log, from commit_ts 1, replayed after the run has ended and every node has
come to rest; `check_replicas` compares the logs that single nodes tell.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.checkers import linearizability, order
from tests.checkers.history import validate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.checkers.history import Event, Operation
    from tests.checkers.violation import Violation


@dataclass(frozen=True)
class Report:
    """What was checked and what was found; `ok` only when nothing is wrong and all is decided."""

    counts: Mapping[str, int]
    """Operations by kind and outcome ("commit ok", "get failed", ...), and "events"."""
    violations: tuple[Violation, ...]
    undecided: tuple[str, ...]
    """Keys whose linearizability could not be decided within the limits."""

    @property
    def ok(self) -> bool:
        return not self.violations and not self.undecided

    @property
    def operations(self) -> int:
        return sum(count for name, count in self.counts.items() if name != "events")

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        lines = [f"{'ok' if self.ok else 'BAD'}: {self.operations} operations ({counted})"]
        lines += [str(violation) for violation in self.violations]
        lines += [f"undecided: key {key!r}" for key in self.undecided]
        return "\n".join(lines)


def check_all(
    history: Sequence[Operation],
    events: Sequence[Event],
    limits: linearizability.Limits = linearizability.LIMITS,
) -> Report:
    """Both checkers over the whole run. Raises MalformedHistory if the recording is wrong."""
    validate(history)
    told = linearizability.check(linearizability.resolve(history, events), limits)
    return Report(
        counts=_counts(history, events),
        violations=(*order.check(history, events), *told.violations),
        undecided=told.undecided,
    )


def check_replicas(logs: Mapping[str, Sequence[Event]]) -> list[Violation]:
    """Every node tells the same events, chain included, as far as it tells any."""
    return list(order.replicas_agree(logs))


def _counts(history: Sequence[Operation], events: Sequence[Event]) -> dict[str, int]:
    counts = Counter(f"{type(one).__name__.lower()} {one.outcome}" for one in history)
    return {**counts, "events": len(events)}
