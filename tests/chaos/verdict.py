"""Owns the judgement of a chaos run: the history against both checkers, the logs of all nodes
against each other, and whether the run did enough to prove anything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from statehouse import Statehouse
from statehouse.storage.faults import StoreFailed
from tests.chaos.client import event_of
from tests.checkers import check, history
from tests.helpers.chain import verify_chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.chaos.nemesis import Struck
    from tests.checkers.violation import Violation

OPERATIONS_PER_SECOND_MIN = 100
ACKNOWLEDGED_BETWEEN_FAULTS_MIN = 10
VIOLATIONS_SHOWN_A_RULE = 6
READ_TIMEOUT_S = 30.0

NEMESIS = "nemesis"
"""The client that only asks whether writes succeed again."""

Logs = dict[str, list[history.Event]]
"""The whole log as each node tells it."""


@dataclass
class Verdict:
    """What a run did and what is wrong; green only without violations."""

    operations: int = 0
    operations_by_kind: dict[str, int] = field(default_factory=dict)
    faults: int = 0
    faults_by_kind: dict[str, int] = field(default_factory=dict)
    events: int = 0
    lasted_s: float = 0.0
    longest_silence_s: float = 0.0
    """Between two acknowledged commits of any client, whatever was broken."""
    writes_again_s: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def judge(
    folder: Path, struck: Sequence[Struck], logs: Logs, troubles: Iterable[str], lasted_s: float
) -> Verdict:
    """Looks at everything a run left behind."""
    told = history.read_history(sorted(folder.glob("history-*.jsonl")))
    told.sort(key=lambda one: one.called_at_ns)
    events = next(iter(logs.values()), [])
    violations = [*troubles, *_surprises(folder)]
    found = Verdict(
        operations=len(told),
        faults=len(struck),
        faults_by_kind=dict(Counter(one.kind for one in struck)),
        events=len(events),
        lasted_s=round(lasted_s, 1),
        longest_silence_s=_longest_silence_s(told),
        writes_again_s=sorted(round(one.writes_again_s, 2) for one in struck),
        violations=violations,
    )
    if logs:
        report = check.check_all(told, events)
        found.operations_by_kind = dict(report.counts)
        violations += _first_of_each_rule(report.violations)
        violations += [f"undecided: key {key}" for key in report.undecided]
        violations += [str(one) for one in check.check_replicas(logs)]
    violations += _too_little(told, struck)
    return found


def read_log(address: str) -> list[history.Event]:
    """Every event this one node has applied."""
    with Statehouse(address, timeout=READ_TIMEOUT_S) as client:
        return [event_of(event) for event in client.replay(stale=True)]


def _first_of_each_rule(found: Sequence[Violation]) -> Iterator[str]:
    """A broken rule is broken often; what it takes to see that is enough."""
    shown: Counter[str] = Counter()
    for one in found:
        shown[one.rule] += 1
        if shown[one.rule] <= VIOLATIONS_SHOWN_A_RULE:
            yield str(one)


def broken_chain(name: str, data: Path) -> list[str]:
    """What is wrong with the events and values on the disk of a stopped node."""
    try:
        verify_chain(data)
    except StoreFailed as error:
        return [f"the disk of {name}: {error}"]
    return []


def _longest_silence_s(told: Sequence[history.Operation]) -> float:
    acknowledged = sorted(
        one.returned_at_ns or 0
        for one in told
        if isinstance(one, history.Commit) and one.outcome == history.OK
    )
    gaps = (later - earlier for earlier, later in pairwise(acknowledged))
    return round(max(gaps, default=0) / 1e9, 2)


def _surprises(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("surprises-*.txt")):
        yield f"{path.name}: {path.read_text()}"


def _too_little(told: Sequence[history.Operation], struck: Sequence[Struck]) -> Iterator[str]:
    """A run that did nothing proves nothing."""
    if not struck:
        yield "too little: no fault"
        return
    returned = sorted(one.returned_at_ns or 0 for one in told if one.outcome == history.OK)
    before = [
        one.called_at_ns
        for one in told
        if one.client != NEMESIS and one.called_at_ns < struck[0].began_ns
    ]
    if before:
        rate = len(before) / ((struck[0].began_ns - before[0]) / 1e9)
        if rate < OPERATIONS_PER_SECOND_MIN:
            yield f"too little: {rate:.0f} operations a second before the first fault"
    for one in struck:
        count = sum(one.began_ns <= at_ns <= one.ended_ns for at_ns in returned)
        if count < ACKNOWLEDGED_BETWEEN_FAULTS_MIN:
            yield f"too little: {count} answers in the time of {one.kind} at {one.from_s} s"
