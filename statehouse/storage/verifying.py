"""Owns the check of a node's own record: events against the chain, values against their events.

Events name the version, the time, the kind and the hash of all that they wrote. Whether the records
say the same is first asked of all together: events are read in their order, records in theirs, and
two sums compared, so nothing is looked up. Only where those differ is each event held against its
own records, to name the first that is wrong. What does not agree is found and told; only a
database that cannot be read is a failure. It must not know how events are found (events.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from statehouse.core import codec
from statehouse.core.codec import CodecError
from statehouse.core.digest import GENESIS, HASH_BYTES, event_hash, value_digest
from statehouse.core.keys import PLACE_BYTES, Table, agent_key, record_key, record_place, u64
from statehouse.core.model import VerifyRow
from statehouse.storage.breath import Breath
from statehouse.storage.event_values import key_of_record
from statehouse.storage.faults import RowLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from statehouse.core.model import EventBody, EventOperationRow
    from statehouse.storage.event_values import Found
    from statehouse.storage.events import Events
    from statehouse.storage.rows import Row, Rows

_PROGRESS_BREATHS = 16
"""Breaths of which the last tells how far it is; the others only give others their turn."""

_HEADER = codec.RECORD_HEADER_BYTES


class _Disagrees(Exception):
    """What does not agree, in words."""


_FOUND = (_Disagrees, RowLost, CodecError)

_Levels = dict[bytes, int]
"""What the keys of records begin with, each with the last commit_ts of those that count."""


class Verifying:
    """One check of events, as far as it has come."""

    def __init__(self, events: Events, rows: Rows) -> None:
        self._events = events
        self._rows = rows
        self._breath = Breath()
        self._breaths = 0
        self._begin()

    def _begin(self) -> None:
        self._count = self._through = 0
        self._hash = GENESIS
        self._fault: tuple[int, str] | None = None
        """Where a walk over events ended early, and why: told after all events before it."""

    def everything(self, after: int, last: int, head: bytes) -> Iterator[VerifyRow | None]:
        """Every event from after `after`, whose hash is taken as right, to `last`.

        head: the hash that the last one must have.
        """

        def chain() -> Iterator[Found]:
            return self._chain(after, last, head)

        if after:
            # Few events of a long history: their records are not worth a walk over all.
            return self._one_by_one(chain())
        return self._together(chain, {b"": last})

    def agent(self, namespace: str, agent_id: str, last: int) -> Iterator[VerifyRow | None]:
        """The events of an agent to `last`, each against the one before it, and its values."""
        through = self._events.scope(namespace, agent_id, "").agents or {}
        levels = {agent_key(namespace, level): bound for level, bound in through.items()}
        return self._together(lambda: self._of_agent(namespace, agent_id, last), levels)

    # -- Events against the chain

    def _chain(self, after: int, last: int, head: bytes) -> Iterator[Found]:
        """All events, as long as each follows the one before it."""
        expected = after
        try:
            chain_hash = self._hash = self._events.hash_at(after)
            self._through = after
            for key, row in self._rows.forward(Table.EVENTS, u64(after + 1), b""):
                if expected == last:
                    break
                expected += 1
                if key != u64(expected):
                    raise _Disagrees(f"the event of commit_ts {expected} is not there")
                body = _body(row, expected, chain_hash)
                chain_hash = row[:HASH_BYTES]
                yield row, body, body.operations
            if expected != last:
                expected += 1
                raise _Disagrees(f"the chain ends before commit_ts {last}")
            if chain_hash != head:
                raise _Disagrees("the last event is not the one that the head of the chain names")
        except _FOUND as fault:
            self._fault = expected, str(fault)

    def _of_agent(self, namespace: str, agent_id: str, last: int) -> Iterator[Found]:
        """The events of an agent, as long as each follows the one before it in the chain."""
        scope = self._events.scope(namespace, agent_id, "")
        for commit_ts in self._events.of_agent(namespace, agent_id, 1, last):
            try:
                previous = self._events.hash_at(commit_ts - 1)
                row = self._events.row(commit_ts)
                body = _body(row, commit_ts, previous)
            except _FOUND as fault:
                self._fault = commit_ts, str(fault)
                return
            yield row, body, scope.operations(body)

    # -- Records against events: all together

    def _together(
        self, walk: Callable[[], Iterator[Found]], levels: _Levels
    ) -> Iterator[VerifyRow | None]:
        # A sum is the same in whatever order it was added up. Its parts have 64 bits and are keyed
        # with what nobody knows (Python's hash of bytes is SipHash): if any two differ, so do the
        # sums, but once in 2**64. Clarke et al., Incremental Multiset Hash Functions, 2003.
        secret = os.urandom(16)
        told = held = count = 0
        due = self._breath.due
        for row, body, operations in walk():
            commit_ts, committed_at_us = body.commit_ts, body.committed_at_us
            for one in operations:
                header = codec.encode_record_header(one.kind, committed_at_us)
                told += hash(secret + key_of_record(one, commit_ts) + header + one.digest)
            count += 1
            if due(len(row)):
                self._right(row, commit_ts, count)
                yield self._breathed()
        if count:
            self._right(row, commit_ts, count)
        if self._fault is None:
            for key, row in self._records(levels):
                held += hash(secret + key + row[:_HEADER] + value_digest(row[_HEADER:]))
                if due(len(row)):
                    yield self._breathed()
            if told == held:
                yield self._told(finished=True)
                return
        self._begin()
        yield from self._one_by_one(walk(), levels)

    def _records(self, levels: _Levels) -> Iterator[Row]:
        for prefix, last in levels.items():
            # The places of later commits come first; those of `last` and before it are not below.
            first = record_key(b"", last)
            for key, row in self._rows.forward(Table.RECORDS, prefix, prefix):
                if key[-PLACE_BYTES:] >= first:
                    yield key, row

    # -- Records against events: one by one

    def _one_by_one(
        self, walk: Iterator[Found], levels: _Levels | None = None
    ) -> Iterator[VerifyRow | None]:
        """levels: where there may be records of which no event tells, too."""
        for row, body, operations in walk:
            size_bytes = len(row)
            try:
                for one in operations:
                    size_bytes += self._check_record(one, body)
            except _FOUND as fault:
                yield self._told(body.commit_ts, str(fault))
                return
            self._right(row, body.commit_ts, self._count + 1)
            if self._breath.due(size_bytes):
                yield self._breathed()
        if self._fault is None and levels:
            yield from self._find_stray(levels)
        if self._fault is None:
            yield self._told(finished=True)
        else:
            yield self._told(*self._fault)

    def _check_record(self, told: EventOperationRow, body: EventBody) -> int:
        """How many bytes it has."""
        row = self._rows.get(Table.RECORDS, key_of_record(told, body.commit_ts))
        version = f"version {told.version} of key {told.key!r}"
        if row is None:
            raise _Disagrees(f"{version} is not in the database")
        if row[:_HEADER] != codec.encode_record_header(told.kind, body.committed_at_us):
            raise _Disagrees(f"{version} is of another kind or time")
        if value_digest(row[_HEADER:]) != told.digest:
            raise _Disagrees(f"the value of {version} has another hash")
        return len(row)

    def _find_stray(self, levels: _Levels) -> Iterator[VerifyRow | None]:
        """Looks for the first record of which no event tells; one there must be."""
        found: tuple[int, int] | None = None
        for key, row in self._records(levels):
            commit_ts, version = record_place(key)
            if (found is None or commit_ts < found[0]) and not self._is_told(key, commit_ts):
                found = commit_ts, version
            if self._breath.due(len(row)):
                yield self._breathed()
        if found is None:
            self._fault = self._through, "records and events do not add up; check again"
        else:
            commit_ts, version = found
            self._fault = commit_ts, f"a version {version} was recorded of which no event tells"

    def _is_told(self, key: bytes, commit_ts: int) -> bool:
        try:
            body = codec.decode_event(self._events.row(commit_ts))
        except _FOUND:
            # None of the events that were checked: nothing that can be trusted tells of it.
            return False
        return any(key_of_record(one, commit_ts) == key for one in body.operations)

    # -- How far it is

    def _right(self, row: bytes, commit_ts: int, count: int) -> None:
        """That event, the count-th, is the last one that was found to be right."""
        self._count = count
        self._through, self._hash = commit_ts, row[:HASH_BYTES]

    def _breathed(self) -> VerifyRow | None:
        self._breaths += 1
        return None if self._breaths % _PROGRESS_BREATHS else self._told()

    def _told(self, bad_commit_ts: int = 0, fault: str = "", finished: bool = False) -> VerifyRow:
        return VerifyRow(
            self._count,
            self._through,
            self._hash,
            bad_commit_ts,
            fault,
            finished or bool(fault),
        )


def _body(row: bytes, commit_ts: int, previous: bytes) -> EventBody:
    """What an event says, if its hash follows the previous one's."""
    if event_hash(previous, row[HASH_BYTES:]) != row[:HASH_BYTES]:
        raise _Disagrees(f"the event of commit_ts {commit_ts} has another hash")
    body = codec.decode_event(row)
    if body.commit_ts != commit_ts:
        raise _Disagrees(f"the event of commit_ts {commit_ts} says it is {body.commit_ts}")
    return body
