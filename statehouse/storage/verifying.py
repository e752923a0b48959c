"""Owns the check of a node's own record: events against the chain, values against their events.

What does not agree is found and told, with the first commit_ts it concerns; only a database that
cannot be read is a failure. It must not know how events are found (events.py).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from statehouse.core import codec
from statehouse.core.codec import CodecError
from statehouse.core.digest import GENESIS, HASH_BYTES, event_hash
from statehouse.core.model import VerifyRow
from statehouse.storage.breath import Breath
from statehouse.storage.faults import RowLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse.storage.events import Events, Scope

_PROGRESS_BREATHS = 16
"""Breaths of which the last tells how far it is; the others only give others their turn."""


class _Disagrees(Exception):
    """What does not agree, in words."""


class Verifying:
    """One check of events, as far as it has come."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._count = 0
        self._through = 0
        self._hash = GENESIS
        self._breath = Breath()
        self._breaths = 0
        self._bytes = 0

    def everything(self, after: int, last: int, head: bytes) -> Iterator[VerifyRow | None]:
        """Every event from after `after`, whose hash is taken as right, to `last`.

        head: the hash that the last one must have.
        """
        expected = after
        try:
            self._through, self._hash = after, self._events.hash_at(after)
            for commit_ts, row in self._events.walk(after + 1, last):
                expected += 1
                if commit_ts != expected:
                    raise _Disagrees(f"the event of commit_ts {expected} is not there")
                self._check(row, commit_ts, self._hash)
                if self._breath.due(self._bytes):
                    yield self._breathed()
            if expected != last:
                expected += 1
                raise _Disagrees(f"the chain ends before commit_ts {last}")
            if self._hash != head:
                raise _Disagrees("the last event is not the one that the head of the chain names")
        except _FOUND as fault:
            yield self._told(expected, str(fault))
        else:
            yield self._told(finished=True)

    def agent(self, namespace: str, agent_id: str, last: int) -> Iterator[VerifyRow | None]:
        """The events of an agent to `last`, each against the one before it, and its values."""
        scope = self._events.scope(namespace, agent_id, "")
        for commit_ts in self._events.of_agent(namespace, agent_id, 1, last):
            try:
                previous = self._events.hash_at(commit_ts - 1)
                self._check(self._events.row(commit_ts), commit_ts, previous, scope)
            except _FOUND as fault:
                yield self._told(commit_ts, str(fault))
                return
            if self._breath.due(self._bytes):
                yield self._breathed()
        yield self._told(finished=True)

    def _check(
        self, row: bytes, commit_ts: int, previous: bytes, scope: Scope | None = None
    ) -> None:
        """One event; and the values of what is in scope, of all of it without one."""
        chain_hash = row[:HASH_BYTES]
        if event_hash(previous, row[HASH_BYTES:]) != chain_hash:
            raise _Disagrees(f"the event of commit_ts {commit_ts} has another hash")
        _, body = codec.decode_event_row(row)
        size_bytes = len(row)
        if body.commit_ts != commit_ts:
            raise _Disagrees(f"the event of commit_ts {commit_ts} says it is {body.commit_ts}")
        value_of = self._events.value
        for told in body.operations if scope is None else scope.operations(body):
            value = value_of(told, commit_ts)
            size_bytes += len(value)
            if sha256(value).digest() != told.digest:
                raise _Disagrees(f"the value of key {told.key!r} has another hash")
        self._bytes = size_bytes
        self._count += 1
        self._through, self._hash = commit_ts, chain_hash

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


_FOUND = (_Disagrees, RowLost, CodecError)
