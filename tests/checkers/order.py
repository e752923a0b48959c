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
from itertools import accumulate, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

import msgspec

from tests.checkers.history import FAILED, OK, UNKNOWN, Commit, Replay, Row, Scan
from tests.checkers.oracle import Oracle, holds
from tests.checkers.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.checkers.history import Event, Operation, Precondition, Read

    Placed = tuple[int, int | None, int, Operation]
    Rule = Callable[["Run"], Iterator[str]]

VIOLATIONS_MAX = 10
"""Told of each rule; a broken run breaks a rule thousands of times."""


class Run:
    """A history and the log that came of it, with what several rules need to know."""

    def __init__(self, history: Sequence[Operation], events: Sequence[Event]) -> None:
        self.history = history
        self.events = events
        self.last_ts = max((event.commit_ts for event in events), default=0)
        self.commits = {one.txn_id: one for one in history if isinstance(one, Commit)}
        self.reads: list[Read] = [
            one for one in history if not isinstance(one, Commit) and one.outcome == OK
        ]

    @cached_property
    def logged(self) -> dict[str, int]:
        """txn_id to the commit_ts the log has it at, the first one."""
        return {event.txn_id: event.commit_ts for event in reversed(self.events)}

    @cached_property
    def placed(self) -> list[Placed]:
        """Called, returned (None: never), place in the order, operation: all that have a place.

        An unknown commit has the place the log tells, if any, and never returned.
        """
        found: list[Placed] = [
            (one.called_at_ns, one.returned_at_ns, one.served_at, one) for one in self.reads
        ]
        for one in self.commits.values():
            if one.outcome == OK:
                found.append((one.called_at_ns, one.returned_at_ns, one.commit_ts, one))
            elif one.outcome == UNKNOWN and one.txn_id in self.logged:
                found.append((one.called_at_ns, None, self.logged[one.txn_id], one))
        return found

    @cached_property
    def returned(self) -> list[Placed]:
        """Those placed that returned, in the order they did."""
        return sorted((one for one in self.placed if one[1] is not None), key=itemgetter(1))


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
    for called_at, _, place, one in sorted(run.placed, key=itemgetter(0)):
        while done < len(returned) and returned[done][1] < called_at:  # type: ignore[operator] # all have returned
            if returned[done][2] > floor:
                floor, highest = returned[done][2], returned[done][3]
            done += 1
        if isinstance(one, Commit):
            if place <= floor:
                yield f"at {place}, but {floor} had returned: {show(one)} after {show(highest)}"
        elif place < floor and not one.stale:
            yield f"served at {place}, but {floor} had returned: {show(one)} after {show(highest)}"


def sessions(run: Run) -> Iterator[str]:
    """No client sees its own past come back, however fine the clock."""
    reached: dict[str, int] = {}
    for one in run.history:
        if one.outcome != OK:
            continue
        before = reached.get(one.client, 0)
        if isinstance(one, Commit):
            place = one.commit_ts
            if place <= before:
                yield f"{one.client} had seen {before}, and commits at {place}: {show(one)}"
        else:
            place = one.served_at
            if place < before and not one.stale:
                yield f"{one.client} had seen {before}, and is served at {place}: {show(one)}"
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
    seen: set[str] = set()
    for event in run.events:
        one = run.commits.get(event.txn_id)
        if one is None:
            yield f"in the log, and nobody sent it: {show(event)}"
        elif event.txn_id in seen:
            yield f"applied again: {show(event)} of {show(one)}"
        elif wrong := _differs(one, event):
            yield f"{wrong}: {show(one)} and {show(event)}"
        seen.add(event.txn_id)
    for one in run.commits.values():
        if one.outcome == OK and one.txn_id not in seen:
            yield f"acknowledged and not in the log: {show(one)}"


def _differs(one: Commit, event: Event) -> str:
    if one.outcome == FAILED:
        return "failed for certain, and in the log"
    if len(one.writes) != len(event.writes):
        return "not all of it is in the log, or more"
    for sent, written in zip(one.writes, event.writes, strict=True):
        if sent.key != written.key or sent.value != written.value:
            return "other writes in the log than were sent"
    if one.outcome == OK:
        if one.commit_ts != event.commit_ts:
            return "told another commit_ts than the log"
        if one.versions and list(one.versions) != [write.version for write in event.writes]:
            return "told other versions than the log"
    return ""


# -- What clients were told


def reads_within_the_log(run: Run) -> Iterator[str]:
    """No answer speaks for a commit_ts that does not exist, or was asked for one yet to come."""
    for one in run.reads:
        if one.served_at > run.last_ts:
            yield f"the log ends at {run.last_ts}: {show(one)}"
        elif not isinstance(one, Replay) and one.at is not None and one.at > one.served_at:
            yield f"a point in the future was served: {show(one)}"


def reads_are_the_state(run: Run) -> Iterator[str]:
    """Each get and scan, now or at a point, is what the replayed log holds there."""
    asked = [
        (one.served_at if one.at is None else one.at, one)
        for one in run.reads
        if not isinstance(one, Replay)
    ]
    asked.sort(key=itemgetter(0))
    oracle = Oracle()
    done = 0
    events = run.events
    for point, one in asked:
        while done < len(events) and events[done].commit_ts <= point:
            oracle.apply(events[done])
            done += 1
        if isinstance(one, Scan) and [row.key for row in one.rows] != [
            row.key for row in oracle.scan(one.prefix)
        ]:
            yield f"at {point} there are other keys: {show(one)}"
        for row in one.rows:
            if not oracle.agrees(row):
                yield f"at {point} it is {show(oracle.get(row.key))}: {show(one)}"
                break


def replays_are_the_log(run: Run) -> Iterator[str]:
    """Each replay tells all events of its range and scope, in order, and nothing else."""
    numbers = [event.commit_ts for event in run.events]
    for one in run.reads:
        if not isinstance(one, Replay):
            continue
        first = bisect_right(numbers, one.after)
        whole = run.events[first : bisect_right(numbers, one.served_at)]
        wanted = whole if not one.prefix else _in_scope(whole, one.prefix)
        if len(wanted) != len(one.events):
            yield f"{len(wanted)} events, told {len(one.events)}: {show(one)}"
            continue
        for event, told in zip(wanted, one.events, strict=True):
            if event != told and not _same(event, told):
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
    pasts = _Pasts(run.events)
    span = _Span(run)
    for one in refused:
        first, last = span.of(one)
        if not any(pasts.broken(wanted, first, last) for wanted in one.preconditions):
            yield f"nothing was in its way from {first} to {last}: {show(one)}"


class _Span:
    """Between which places of the order an operation without a place must have been."""

    def __init__(self, run: Run) -> None:
        self._returned_at = [one[1] or 0 for one in run.returned]
        self._reached = list(accumulate((one[2] for one in run.returned), max))
        called = sorted(
            (one for one in run.placed if isinstance(one[3], Commit)),
            key=itemgetter(0),
            reverse=True,
        )
        self._called_at = [-one[0] for one in called]
        self._next = list(accumulate((one[2] for one in called), min))
        self._last_ts = run.last_ts

    def of(self, one: Operation) -> tuple[int, int]:
        before = bisect_left(self._returned_at, one.called_at_ns)
        after = bisect_left(self._called_at, -(one.returned_at_ns or 0))
        first = self._reached[before - 1] if before else 0
        last = self._next[after - 1] - 1 if after else self._last_ts
        return first, last


NEVER_WRITTEN = Row("", 0, None, 0)


class _Pasts:
    """Each key's rows in the order they were written."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._rows: dict[str, list[Row]] = {}
        oracle = Oracle()
        for event in events:
            oracle.apply(event)
            for key in {write.key for write in event.writes}:
                self._rows.setdefault(key, [NEVER_WRITTEN]).append(oracle.get(key))

    def broken(self, wanted: Precondition, first: int, last: int) -> bool:
        """Whether the precondition fails after any of the commits `first` to `last`."""
        rows = self._rows.get(wanted.key, [NEVER_WRITTEN])
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
