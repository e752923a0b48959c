"""Owns every read: the state and the history as they were at one commit_ts.

A view is a commit_ts, not a snapshot of the database. Records, events and the lists of agents are
only ever added to, each row with the commit_ts that made it; so whatever is committed later can be
told by its number and left out, for as long as the view is held, at no cost to the writer. Only the
`LATEST` rows and the last `TIMES` row change: a row from after the view's commit_ts sends the read
to the records, where one seek finds the version of any moment. What is read is never half of a
commit, because the store names a commit_ts only after the whole batch is written.

It must not know what keeps the rows, nor what sessions and receipts are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core import codec
from statehouse.core.digest import GENESIS, HASH_BYTES, event_hash, value_digest
from statehouse.core.keys import (
    Table,
    agent_key,
    escaped,
    last_name,
    latest_key,
    namespace_key,
    number_of,
    record_key,
    record_place,
    u64,
)
from statehouse.core.model import AgentRow, Event, EventOperation, Kind, Record
from statehouse.storage.event_rows import EventRows
from statehouse.storage.faults import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from statehouse.core.codec import EventBody, Head
    from statehouse.storage.rows import Rows

_TOMBSTONE = Kind.TOMBSTONE.value
_HEADER = codec.RECORD_HEADER_BYTES


class StateView:
    """The state at `commit_ts`, unchanged while it is held; to be closed, by one thread used.

    `at` is a commit_ts: 0 is before everything, and what lies above the view's own is cut to it.
    Iterators are lazy and must not be used after `close`.
    """

    def __init__(self, rows: Rows, head: Head, release: Callable[[], None]) -> None:
        self._rows = rows
        self._release: Callable[[], None] | None = release
        self.commit_ts = head.commit_ts
        self.committed_at_us = head.committed_at_us
        self.chain_head = head.chain_hash

    def close(self) -> None:
        """Lets the store go; a second call does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> StateView:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- Keys

    def get(self, namespace: str, agent_id: str, key: str, at: int | None = None) -> Record | None:
        """The version that was the last at `at`, a tombstone too; None: not written by then."""
        prefix = latest_key(namespace, agent_id, key)
        at = self._clip(at)
        if at == self.commit_ts:
            row = self._rows.get(Table.LATEST, prefix)
            return None if row is None else self._latest(prefix, key, codec.decode_latest(row), at)
        return self._record_at(prefix, key, at)

    def get_version(self, namespace: str, agent_id: str, key: str, version: int) -> Record | None:
        """One version of the key, whenever it was; None when the view has no such version.

        Versions and their commit_ts grow together, so halving finds the commit in few seeks.
        """
        prefix = latest_key(namespace, agent_id, key)
        low, high = 1, self.commit_ts
        while low < high:
            middle = (low + high) // 2
            place = self._place_at(prefix, middle)
            if place is not None and place[1] >= version:
                high = place[0]
            else:
                low = middle + 1
        if version < 1 or high < 1:
            return None
        row = self._rows.get(Table.RECORDS, record_key(prefix, high, version))
        return None if row is None else _record(key, row, version, high)

    def keys(
        self, namespace: str, agent_id: str, prefix: str = "", at: int | None = None
    ) -> Iterator[str]:
        """The keys that hold a value at `at` and begin with `prefix`, in bytewise order."""
        at = self._clip(at)
        for row_key, name, latest in self._latest_rows(namespace, agent_id, prefix):
            version, commit_ts, kind, _ = latest
            if commit_ts <= at:
                if kind != _TOMBSTONE:
                    yield name
            elif version > 1:
                record = self._record_at(row_key, name, at)
                if record is not None and record.kind != _TOMBSTONE:
                    yield name

    def scan(
        self, namespace: str, agent_id: str, prefix: str = "", at: int | None = None
    ) -> Iterator[Record]:
        """The records that `keys` names, with their values."""
        at = self._clip(at)
        for row_key, name, latest in self._latest_rows(namespace, agent_id, prefix):
            record = self._latest(row_key, name, latest, at)
            if record is not None and record.kind != _TOMBSTONE:
                yield record

    def agents(self, namespace: str) -> Iterator[AgentRow]:
        """The agents ever written to, in bytewise order."""
        prefix = namespace_key(namespace)
        for key, row in self._rows.forward(Table.AGENTS, prefix, prefix):
            first_commit_ts = number_of(row)
            if first_commit_ts <= self.commit_ts:
                yield AgentRow(last_name(key, len(prefix)), first_commit_ts)

    def namespaces(self) -> Iterator[str]:
        """The namespaces ever written to, in bytewise order."""
        for key, row in self._rows.forward(Table.NAMESPACES, b"", b""):
            if number_of(row) <= self.commit_ts:
                yield last_name(key, 0)

    # -- History

    def resolve_time(self, time_us: int) -> int:
        """The last commit_ts with committed_at not after `time_us`; 0 before the first."""
        if time_us < 0:
            return 0
        found = self._rows.last(Table.TIMES, u64(time_us))
        return 0 if found is None else min(number_of(found[1]), self.commit_ts)

    def events(
        self,
        namespace: str | None = None,
        agent_id: str | None = None,
        start_ts: int = 1,
        end_ts: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Event]:
        """The events from start_ts to end_ts, both included, that touch the scope.

        The scope is everything, a namespace, or one agent of it (ValueError: an agent without its
        namespace); an event tells only the operations in scope.
        """
        if agent_id is not None and namespace is None:
            raise ValueError("an agent's events need its namespace")
        first, last = max(start_ts, 1), self._clip(end_ts)
        if first > last:
            return
        if namespace is None or agent_id is None:
            rows = self._event_rows(first, last, newest_first)
        else:
            rows = self._agent_event_rows(agent_key(namespace, agent_id), first, last, newest_first)
        for row in rows:
            event = self._event(row, namespace, agent_id)
            if event is not None:
                yield event

    def verify(self) -> None:
        """Checks every event against the chain of hashes, and every value against its event.

        Raises StoreFailed naming the first commit_ts that does not agree.
        """
        expected, previous = 1, GENESIS
        for row in self._event_rows(1, self.commit_ts, False):
            chain_hash, body = codec.decode_event_row(row)
            if body.commit_ts != expected or event_hash(previous, row[HASH_BYTES:]) != chain_hash:
                raise StoreFailed(f"the event of commit_ts {expected} is not in the chain")
            values = self._operations(body, None, None)
            for told, found in zip(body.operations, values, strict=True):
                if value_digest(found.value) != told.digest:
                    raise StoreFailed(
                        f"the value of key {told.key!r} at commit_ts {expected} is another"
                    )
            expected, previous = expected + 1, chain_hash
        if expected != self.commit_ts + 1 or previous != self.chain_head:
            raise StoreFailed(f"the chain ends before commit_ts {self.commit_ts}")

    # -- How

    def _clip(self, at: int | None) -> int:
        return self.commit_ts if at is None or at > self.commit_ts else at

    def _latest_rows(
        self, namespace: str, agent_id: str, prefix: str
    ) -> Iterator[tuple[bytes, str, codec.Latest]]:
        agent = agent_key(namespace, agent_id)
        start = agent + escaped(prefix)
        for key, row in self._rows.forward(Table.LATEST, start, start):
            yield key, last_name(key, len(agent)), codec.decode_latest(row)

    def _latest(self, prefix: bytes, key: str, latest: codec.Latest, at: int) -> Record | None:
        version, commit_ts, kind, committed_at_us = latest
        if commit_ts > at:
            return self._record_at(prefix, key, at) if version > 1 else None
        if kind == _TOMBSTONE:
            return Record(key, kind, b"", version, commit_ts, committed_at_us)
        row = self._rows.get(Table.RECORDS, record_key(prefix, commit_ts, version))
        if row is None:
            raise StoreFailed(f"version {version} of key {key!r} is not in the database")
        return _record(key, row, version, commit_ts)

    def _record_at(self, prefix: bytes, key: str, at: int) -> Record | None:
        found = self._rows.first(Table.RECORDS, record_key(prefix, at))
        if found is None or not found[0].startswith(prefix):
            return None
        commit_ts, version = record_place(found[0])
        return _record(key, found[1], version, commit_ts)

    def _place_at(self, prefix: bytes, at: int) -> tuple[int, int] | None:
        found = self._rows.first(Table.RECORDS, record_key(prefix, at))
        if found is None or not found[0].startswith(prefix):
            return None
        return record_place(found[0])

    def _event_rows(self, first: int, last: int, newest_first: bool) -> Iterator[bytes]:
        if newest_first:
            for key, row in self._rows.backward(Table.EVENTS, u64(last), b""):
                if number_of(key) < first:
                    return
                yield row
        else:
            for key, row in self._rows.forward(Table.EVENTS, u64(first), b""):
                if number_of(key) > last:
                    return
                yield row

    def _agent_event_rows(
        self, agent: bytes, first: int, last: int, newest_first: bool
    ) -> Iterator[bytes]:
        walk = self._rows.backward if newest_first else self._rows.forward
        start = agent + u64(last if newest_first else first)
        events = EventRows(self._rows, newest_first=newest_first)
        for key, _ in walk(Table.AGENT_EVENTS, start, agent):
            commit_ts = number_of(key)
            if not first <= commit_ts <= last:
                return
            row = events.row(commit_ts)
            if row is None:
                raise StoreFailed(f"the event of commit_ts {commit_ts} is not in the database")
            yield row

    def _event(self, row: bytes, namespace: str | None, agent_id: str | None) -> Event | None:
        chain_hash, body = codec.decode_event_row(row)
        operations = self._operations(body, namespace, agent_id)
        if not operations and namespace is not None:
            return None
        return Event(
            body.commit_ts,
            body.committed_at_us,
            body.txn_id,
            body.metadata,
            operations,
            chain_hash,
        )

    def _operations(
        self, body: EventBody, namespace: str | None, agent_id: str | None
    ) -> tuple[EventOperation, ...]:
        found = []
        for told in body.operations:
            if namespace is not None and told.namespace != namespace:
                continue
            if agent_id is not None and told.agent_id != agent_id:
                continue
            value = b""
            if told.kind != _TOMBSTONE:
                prefix = latest_key(told.namespace, told.agent_id, told.key)
                key = record_key(prefix, body.commit_ts, told.version)
                row = self._rows.get(Table.RECORDS, key)
                if row is None:
                    raise StoreFailed(
                        f"version {told.version} of key {told.key!r} is not in the database"
                    )
                value = row[_HEADER:]
            found.append(
                EventOperation(
                    told.namespace, told.agent_id, told.key, told.version, told.kind, value
                )
            )
        return tuple(found)


def _record(key: str, row: bytes, version: int, commit_ts: int) -> Record:
    kind, committed_at_us = codec.decode_record_header(row)
    return Record(key, kind, row[_HEADER:], version, commit_ts, committed_at_us)
