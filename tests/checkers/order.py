"""The linear-time checker: the order which the system claims must explain all that clients saw.

Every commit is told its commit_ts and every read the commit_ts it was served at, so the history
comes with a total order. That order is held against real time, against the order of each client
and against the log; then the log is replayed on a dictionary, and every answer must be that of the
dictionary. Together this is strict serializability of whole transactions. Each rule stands alone:
it sees what the others may miss, and test_order.py shows for each what only this rule rejects.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import cached_property
from itertools import accumulate, chain, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

import msgspec

from tests.checkers.history import FAILED, OK, Commit, Replay, Row, Scan
from tests.checkers.oracle import Oracle, holds
from tests.checkers.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.checkers.history import Event, Get, Operation, Precondition

    Placed = tuple[int, float, int, float, Operation]
    """Called, returned, place in the order, highest place that may have come before, operation."""
    Rule = Callable[["Run"], Iterator[str]]

NEVER = float("inf")
"""When an unknown commit that is in the log returned."""

VIOLATIONS_MAX = 10
"""Told of each rule; a broken run breaks a rule thousands of times."""


class Run:
    """A history and the log that came of it, with what several rules need to know."""

    def __init__(self, history: Sequence[Operation], events: Sequence[Event]) -> None:
        self.events = events
        self.last_ts = max(map(attrgetter("commit_ts"), events), default=0)
        self.commits: dict[str, Commit] = {}
        self.states: list[Get | Scan] = []
        self.replays: list[Replay] = []
        self.placed: list[Placed] = []
        for one in history:
            if isinstance(one, Commit):
                self.commits[one.txn_id] = one
                if one.outcome != FAILED:
                    self._place_commit(one)
            elif one.outcome == OK:
                if isinstance(one, Replay):
                    self.replays.append(one)
                else:
                    self.states.append(one)
                place = one.served_at
                ceiling = NEVER if one.stale else place
                returned_at_ns = one.returned_at_ns or 0
                self.placed.append((one.called_at_ns, returned_at_ns, place, ceiling, one))

    def _place_commit(self, one: Commit) -> None:
        if one.outcome == OK:
            place = one.commit_ts
            returned_at_ns = one.returned_at_ns or 0
            self.placed.append((one.called_at_ns, returned_at_ns, place, place - 1, one))
        elif one.txn_id in self.logged:
            place = self.logged[one.txn_id]
            self.placed.append((one.called_at_ns, NEVER, place, place - 1, one))

    @cached_property
    def logged(self) -> dict[str, int]:
        """txn_id to the commit_ts the log has it at, the first one."""
        return {event.txn_id: event.commit_ts for event in reversed(self.events)}

    @cached_property
    def called(self) -> list[Placed]:
        """Those placed, in the order they were called."""
        return sorted(self.placed, key=itemgetter(0))

    @cached_property
    def returned(self) -> list[Placed]:
        """Those placed, in the order they returned; last those that never did."""
        return sorted(self.placed, key=itemgetter(1))


def show(one: object) -> str:
    """An operation or event, short enough for a report."""
    told = str(one)
    return told if len(told) <= 400 else f"{told[:400]}..."


# -- Order


def real_time(run: Run) -> Iterator[str]:
    """Nothing is placed before what had returned when it was called; a commit is placed after it.

    Two moments the clock cannot tell apart are no order.
    """
    returned = run.returned
    done = 0
    floor = 0
    highest: Operation | None = None
    for called_at_ns, _, place, ceiling, one in run.called:
        while done < len(returned) and returned[done][1] < called_at_ns:
            if returned[done][2] > floor:
                _, _, floor, _, highest = returned[done]
            done += 1
        if floor > ceiling:
            yield f"at {place}, but {floor} had returned: {show(one)} after {show(highest)}"


def sessions(run: Run) -> Iterator[str]:
    """No client sees its own past come back, however fine the clock."""
    reached: dict[str, int] = {}
    for _, returned_at_ns, place, ceiling, one in run.placed:
        if returned_at_ns == NEVER:
            continue
        before = reached.get(one.client, 0)
        if before > ceiling:
            yield f"at {place}, but {one.client} had seen {before}: {show(one)}"
        if place > before:
            reached[one.client] = place


# -- The log


def log_is_dense(run: Run) -> Iterator[str]:
    """commit_ts counts from 1, without gap or repeat."""
    before = 0
    for event in run.events:
        if event.commit_ts != before + 1:
            yield f"commit_ts {event.commit_ts} follows {before}: {show(event)}"
        before = event.commit_ts


def time_never_decreases(run: Run) -> Iterator[str]:
    """committed_at does not go back along commit_ts."""
    before = 0
    for event in run.events:
        if event.committed_at_us < before:
            yield f"committed at {event.committed_at_us} us after {before} us: {show(event)}"
        before = event.committed_at_us


def versions_are_dense(run: Run) -> Iterator[str]:
    """Each write of a key makes the next version, from 1."""
    versions: dict[str, int] = {}
    for event in run.events:
        for write in event.writes:
            before = versions.get(write.key, 0)
            if write.version != before + 1:
                yield f"version {write.version} of {write.key!r} follows {before}: {show(event)}"
            versions[write.key] = write.version


def log_accounts_for_commits(run: Run) -> Iterator[str]:
    """Acknowledged: once, as told. Unknown: at most once. Failed, or never sent: never."""
    missing = dict(run.commits)
    for event in run.events:
        one = missing.pop(event.txn_id, None)
        if one is not None:
            if wrong := _differs(one, event):
                yield f"{wrong}: {show(one)} and {show(event)}"
        elif event.txn_id in run.commits:
            yield f"applied again: {show(event)} of {show(run.commits[event.txn_id])}"
        else:
            yield f"in the log, and nobody sent it: {show(event)}"
    for one in missing.values():
        if one.outcome == OK:
            yield f"acknowledged and not in the log: {show(one)}"


def _differs(one: Commit, event: Event) -> str:
    if one.outcome == FAILED:
        return "failed for certain, and in the log"
    writes = event.writes
    if len(one.writes) != len(writes):
        return "not all of it is in the log, or more"
    for sent, written in zip(one.writes, writes, strict=True):
        if sent.key != written.key or sent.value != written.value:
            return "other writes in the log than were sent"
    if one.outcome == OK:
        if one.commit_ts != event.commit_ts:
            return "told another commit_ts than the log"
        if one.versions and list(one.versions) != [write.version for write in writes]:
            return "told other versions than the log"
    return ""


# -- What clients were told


def reads_within_the_log(run: Run) -> Iterator[str]:
    """No answer speaks for a commit_ts that does not exist, or was asked for one yet to come."""
    for one in chain(run.states, run.replays):
        if one.served_at > run.last_ts:
            yield f"the log ends at {run.last_ts}: {show(one)}"
    for one in run.states:
        if one.at is not None and one.at > one.served_at:
            yield f"a point in the future was served: {show(one)}"


def reads_are_the_state(run: Run) -> Iterator[str]:
    """Each get and scan, now or at a point, is what the replayed log holds there."""
    asked = [(one.served_at if one.at is None else one.at, one) for one in run.states]
    asked.sort(key=itemgetter(0))
    oracle = Oracle()
    done = 0
    events = run.events
    for point, one in asked:
        while done < len(events) and events[done].commit_ts <= point:
            oracle.apply(events[done])
            done += 1
        truth = oracle.scan(one.prefix) if isinstance(one, Scan) else oracle.get_many(one.keys)
        if one.rows != truth and not _told(one.rows, truth):
            yield f"at {point} it is {show(truth)}: {show(one)}"


def _told(rows: Sequence[Row], truth: Sequence[Row]) -> bool:
    """Whether the rows are the truth, but for each row's commit_ts, which need not be told."""
    return len(rows) == len(truth) and all(
        told == true
        or (told.commit_ts is None and told == msgspec.structs.replace(true, commit_ts=None))
        for told, true in zip(rows, truth, strict=True)
    )


def replays_are_the_log(run: Run) -> Iterator[str]:
    """Each replay tells all events of its range and scope, in order, and nothing else."""
    numbers = [event.commit_ts for event in run.events]
    for one in run.replays:
        first = bisect_right(numbers, one.after)
        whole = run.events[first : bisect_right(numbers, one.served_at)]
        wanted = whole if not one.prefix else _in_scope(whole, one.prefix)
        if one.events == tuple(wanted):
            continue
        if len(wanted) != len(one.events):
            yield f"{len(wanted)} events, told {len(one.events)}: {show(one)}"
            continue
        for event, told in zip(wanted, one.events, strict=True):
            if not _same(event, told):
                yield f"{show(told)} instead of {show(event)}: {show(one)}"
                break


def _in_scope(events: Sequence[Event], prefix: str) -> list[Event]:
    narrowed = []
    for event in events:
        writes = tuple(write for write in event.writes if write.key.startswith(prefix))
        if writes:
            narrowed.append(msgspec.structs.replace(event, writes=writes))
    return narrowed


def _same(event: Event, told: Event) -> bool:
    """Equal, but for what was not recorded."""
    return (
        (event.commit_ts, event.txn_id, event.writes) == (told.commit_ts, told.txn_id, told.writes)
        and told.committed_at_us in (0, event.committed_at_us)
        and told.chain in ("", event.chain)
    )


# -- Preconditions


def preconditions_held(run: Run) -> Iterator[str]:
    """What was committed was allowed to be, at its place in the order."""
    if not any(one.preconditions for one in run.commits.values()):
        return
    oracle = Oracle()
    for event in run.events:
        one = run.commits.get(event.txn_id)
        if one is not None:
            for precondition in one.preconditions:
                if not oracle.holds(precondition):
                    found = oracle.get(precondition.key)
                    yield f"committed at {event.commit_ts} over {show(found)}: {show(one)}"
                    break
        oracle.apply(event)


def refusals_had_a_reason(run: Run) -> Iterator[str]:
    """A commit refused for a conflict met one at some place where real time allows it to be."""
    refused = [one for one in run.commits.values() if one.outcome == FAILED and one.conflict]
    if not refused:
        return
    pasts = _Pasts(run.events, {wanted.key for one in refused for wanted in one.preconditions})
    span = _Span(run)
    for one in refused:
        first, last = span.of(one)
        if not any(pasts.broken(wanted, first, last) for wanted in one.preconditions):
            yield f"nothing was in its way from {first} to {last}: {show(one)}"


class _Span:
    """Between which places of the order an operation without a place must have been."""

    def __init__(self, run: Run) -> None:
        self._last_ts = run.last_ts
        self._returned_at = [one[1] for one in run.returned]
        self._reached = list(accumulate((one[2] for one in run.returned), max))
        called = [one for one in reversed(run.called) if isinstance(one[-1], Commit)]
        self._called_at = [-one[0] for one in called]
        self._next = list(accumulate((one[2] for one in called), min))

    def of(self, one: Operation) -> tuple[int, int]:
        before = bisect_left(self._returned_at, one.called_at_ns)
        after = bisect_left(self._called_at, -(one.returned_at_ns or 0))
        first = self._reached[before - 1] if before else 0
        last = self._next[after - 1] - 1 if after else self._last_ts
        return first, last


NEVER_WRITTEN = Row("", 0, None, 0)


class _Pasts:
    """What some keys held, one row for each commit that wrote them."""

    def __init__(self, events: Sequence[Event], keys: set[str]) -> None:
        self._rows = {key: [NEVER_WRITTEN] for key in keys}
        for event in events:
            for write in event.writes:
                if write.key in self._rows:
                    rows = self._rows[write.key]
                    if rows[-1].commit_ts == event.commit_ts:
                        rows.pop()
                    rows.append(Row(write.key, write.version, write.value, event.commit_ts))

    def broken(self, wanted: Precondition, first: int, last: int) -> bool:
        """Whether the precondition fails after any of the commits `first` to `last`."""
        rows = self._rows[wanted.key]
        number = attrgetter("commit_ts")
        low = bisect_right(rows, first, key=number) - 1
        high = bisect_right(rows, last, key=number)
        return any(not holds(wanted, row) for row in islice(rows, low, high))


# -- All of it

RULES: tuple[Rule, ...] = (
    real_time,
    sessions,
    log_is_dense,
    time_never_decreases,
    versions_are_dense,
    log_accounts_for_commits,
    reads_within_the_log,
    reads_are_the_state,
    replays_are_the_log,
    preconditions_held,
    refusals_had_a_reason,
)


def check(
    history: Sequence[Operation],
    events: Sequence[Event],
    rules: Sequence[Rule] = RULES,
) -> list[Violation]:
    """What breaks the rules, at most VIOLATIONS_MAX of each; `events` is the whole log."""
    run = Run(history, events)
    return [
        Violation(rule.__name__, told)
        for rule in rules
        for told in islice(rule(run), VIOLATIONS_MAX)
    ]


def replicas_agree(logs: Mapping[str, Sequence[Event]]) -> Iterator[Violation]:
    """Every node tells the same event at each commit_ts it has come to."""
    told_by: dict[int, tuple[str, Event]] = {}
    for name, events in logs.items():
        for event in events:
            other, first = told_by.setdefault(event.commit_ts, (name, event))
            if first != event:
                told = f"{other} has {show(first)}, {name} has {show(event)}"
                yield Violation("replicas_agree", told)
                break
