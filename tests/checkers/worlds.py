"""Tells a history anew, as if the log had been another: what clients would then have been told.

With it a forger (forgeries.py) changes one thing about the past and keeps the rest of the world in
agreement with the lie, which is how a broken system looks, and harder to see than one odd answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.checkers.history import OK, Commit, Get, Replay, Scan, Write
from tests.checkers.traffic import Recorded, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.checkers.history import Event, Operation, Read

Sent = tuple[str, tuple[Write, ...]]
"""txn_id and writes of one commit, as it went into the log."""


def sent(events: Sequence[Event]) -> list[Sent]:
    return [
        (event.txn_id, tuple(Write(write.key, write.value) for write in event.writes))
        for event in events
    ]


def store_of(log: Sequence[Sent]) -> Store:
    store = Store()
    for txn_id, writes in log:
        store.commit(txn_id, writes)
    return store


def answered(store: Store, one: Read) -> Read:
    """The read with the answer the store gives at its served_at."""
    if isinstance(one, Replay):
        return replace(one, events=store.replay(one.after, one.served_at, one.prefix))
    point = one.served_at if one.at is None else one.at
    if isinstance(one, Get):
        return replace(one, rows=tuple(store.get(key, point) for key in one.keys))
    return replace(one, rows=store.scan(one.prefix, point))


def retold(run: Recorded, log: Sequence[Sent], moved: Callable[[int], int]) -> Recorded:
    """The same calls over another log; `moved` tells where each old commit_ts lies in it.

    Commits that are not in it keep what they were told.
    """
    store = store_of(log)
    logged = {event.txn_id: event for event in reversed(store.events)}
    history: list[Operation] = []
    for one in run.history:
        if isinstance(one, Commit):
            event = logged.get(one.txn_id)
            if one.outcome == OK and event is not None:
                made = [write.version for write in event.writes]
                # Who is told of more writes than the log has is told what it was told before.
                versions = (*made, *one.versions[len(made) :])
                one = replace(one, commit_ts=event.commit_ts, versions=versions)
        elif one.outcome == OK:
            one = answered(store, _moved(one, moved))
        history.append(one)
    return Recorded(history, store.events)


def _moved(one: Read, moved: Callable[[int], int]) -> Read:
    served_at = moved(one.served_at)
    if isinstance(one, Replay):
        return replace(one, served_at=served_at, after=moved(one.after))
    if isinstance(one, Get | Scan) and one.at is not None:
        return replace(one, served_at=served_at, at=moved(one.at))
    return replace(one, served_at=served_at)


def renumbered(run: Recorded, moved: Callable[[int], int]) -> Recorded:
    """The same world, in which every commit_ts has another number."""

    def event_of(event: Event) -> Event:
        return replace(event, commit_ts=moved(event.commit_ts))

    history: list[Operation] = []
    for one in run.history:
        if isinstance(one, Commit):
            wanted = tuple(
                replace(each, number=moved(each.number))
                if each.expectation == "unchanged_since"
                else each
                for each in one.preconditions
            )
            commit_ts = moved(one.commit_ts) if one.outcome == OK else 0
            history.append(replace(one, commit_ts=commit_ts, preconditions=wanted))
            continue
        one = _moved(one, moved)
        if isinstance(one, Replay):
            one = replace(one, events=tuple(map(event_of, one.events)))
        else:
            rows = (replace(row, commit_ts=moved(row.commit_ts or 0)) for row in one.rows)
            one = replace(one, rows=tuple(rows))
        history.append(one)
    return Recorded(history, [event_of(event) for event in run.events])


def swapped(run: Recorded, old: Operation, new: Operation) -> Recorded:
    """The same run with one operation exchanged."""
    return Recorded([new if one is old else one for one in run.history], run.events)
