"""Owns how events are found and told: all of them, of a scope, of a run, or led to by a commit.

An event row holds no values; each lies in the record of the version the event made. A fork's events
are those of its ancestors up to the points of the forks, then its own: as levels (lineage.py) share
no commit, that is commit order. It must not know how versions of a key are found (records.py).

Walks breathe: they yield None when they have looked at many rows and found nothing to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from statehouse.core import codec, marks
from statehouse.core.digest import GENESIS, HASH_BYTES
from statehouse.core.keys import Table, number_of, run_key, u64
from statehouse.core.model import Event, EventHeader, EventOperation
from statehouse.storage.breath import BREATH_ROWS
from statehouse.storage.event_rows import lost, rows_of
from statehouse.storage.event_values import value_of, with_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from statehouse.core.codec import EventBody, EventOperationRow
    from statehouse.storage.event_rows import Numbered
    from statehouse.storage.event_values import Found
    from statehouse.storage.lineage import Lineage
    from statehouse.storage.rows import Rows


@dataclass(frozen=True, slots=True)
class Scope:
    """Which operations of an event are told."""

    namespace: str | None = None
    agents: dict[str, int] | None = None
    """Each with the last commit_ts that is told of it; None: all."""
    prefix: str = ""

    @property
    def everything(self) -> bool:
        return self.namespace is None and not self.prefix

    def operations(self, body: EventBody) -> Sequence[EventOperationRow]:
        """Those of the event that are in scope."""
        found: Sequence[EventOperationRow] = body.operations
        commit_ts, namespace, agents = body.commit_ts, self.namespace, self.agents
        if agents is not None:
            through = agents.get
            if len(found) == 1 and not self.prefix:
                # Most events; to make a list of one costs more than to look at it.
                told = found[0]
                is_told = through(told.agent_id, 0) >= commit_ts and told.namespace == namespace
                return found if is_told else ()
            found = [
                told
                for told in found
                if through(told.agent_id, 0) >= commit_ts and told.namespace == namespace
            ]
        elif not self.everything:
            found = [
                told
                for told in found
                if namespace in (None, told.namespace) and told.agent_id[:1] != marks.FIRST
            ]
        if self.prefix:
            found = [told for told in found if told.key.startswith(self.prefix)]
        return found


class Events:
    """The events up to the commit_ts `last`."""

    def __init__(self, rows: Rows, last: int, lineage: Lineage) -> None:
        self._rows = rows
        self._last = last
        self._lineage = lineage

    # -- One event

    def row(self, commit_ts: int) -> bytes:
        """The row of an event that must be there."""
        row = self._rows.get(Table.EVENTS, u64(commit_ts))
        if row is None:
            raise lost(commit_ts)
        return row

    def hash_at(self, commit_ts: int) -> bytes:
        """The hash of that event; of nothing before the first."""
        return self.row(commit_ts)[:HASH_BYTES] if commit_ts else GENESIS

    def header(self, commit_ts: int) -> EventHeader:
        """One event without its values."""
        row = self.row(commit_ts)
        body = codec.decode_event(row)
        return EventHeader(
            body.commit_ts,
            body.committed_at_us,
            body.txn_id,
            body.metadata,
            tuple([_operation(told, b"") for told in body.operations]),
            body.preconditions,
            row[:HASH_BYTES],
        )

    def value(self, told: EventOperationRow | EventOperation, commit_ts: int) -> bytes:
        """What an operation wrote."""
        return value_of(self._rows, told, commit_ts)

    # -- Many

    def scope(self, namespace: str | None, agent_id: str | None, prefix: str) -> Scope:
        """What is told of an agent, a namespace or everything."""
        if agent_id is None or namespace is None:
            return Scope(namespace, None, prefix)
        levels = self._lineage.levels(namespace, agent_id, self._last)
        return Scope(namespace, {level.agent_id: level.through for level in levels}, prefix)

    def told(
        self, walk: Iterable[Numbered], scope: Scope, *, with_proof: bool, read_ahead: int
    ) -> Iterator[Event | None]:
        """The events of a walk over rows that have something in scope.

        read_ahead: how many are asked for at once; so many may be read before the first is told.
        It breathes after those, too: nothing is read then that was not told.
        """
        found = self._found(walk, scope)
        for run in with_values(self._rows, found, read_ahead):
            if run is None:
                yield None
            else:
                yield from self._events(*run, with_proof)
                if read_ahead > 1:
                    yield None

    def _found(self, walk: Iterable[Numbered], scope: Scope) -> Iterator[Found | None]:
        barren = 0
        decode, operations_of, everything = codec.decode_event, scope.operations, scope.everything
        for _, row in walk:
            body = decode(row)
            operations = operations_of(body)
            if operations or everything:
                barren = 0
                yield row, body, operations
            else:
                barren += 1
                if barren % BREATH_ROWS == 0:
                    yield None

    def walk(self, first: int, last: int, newest_first: bool = False) -> Iterator[Numbered]:
        """All events from first to last, both included."""
        if newest_first:
            for key, row in self._rows.backward(Table.EVENTS, u64(last), b""):
                if (commit_ts := number_of(key)) < first:
                    return
                yield commit_ts, row
        else:
            for key, row in self._rows.forward(Table.EVENTS, u64(first), b""):
                if (commit_ts := number_of(key)) > last:
                    return
                yield commit_ts, row

    def walk_agent(
        self, namespace: str, agent_id: str, first: int, last: int, newest_first: bool = False
    ) -> Iterator[Numbered]:
        """The events that touch an agent, its ancestors' before its own."""
        numbers = self.of_agent(namespace, agent_id, first, last, newest_first)
        return rows_of(self._rows, numbers, newest_first=newest_first)

    def of_agent(
        self, namespace: str, agent_id: str, first: int, last: int, newest_first: bool = False
    ) -> Iterator[int]:
        """The commit_ts of those events."""
        levels = self._lineage.levels(namespace, agent_id, last)
        for level in levels if newest_first else reversed(levels):
            yield from self._indexed(
                Table.AGENT_EVENTS, level.agent, first, level.through, newest_first
            )

    def walk_run(
        self, namespace: str, run_id: str, first: int, last: int, newest_first: bool = False
    ) -> Iterator[Numbered]:
        """The events of a run that touch the namespace."""
        run = run_key(namespace, run_id)
        numbers = self._indexed(Table.RUNS, run, first, last, newest_first)
        return rows_of(self._rows, numbers, newest_first=newest_first)

    def walk_caused(
        self, cause: int, first: int, last: int, newest_first: bool = False
    ) -> Iterator[Numbered]:
        """The events that name the cause."""
        numbers = self._indexed(Table.CAUSES, u64(cause), first, last, newest_first)
        return rows_of(self._rows, numbers, newest_first=newest_first)

    def _indexed(
        self, table: Table, prefix: bytes, first: int, last: int, newest_first: bool
    ) -> Iterator[int]:
        if first > last:
            return
        walk = self._rows.backward if newest_first else self._rows.forward
        start = prefix + u64(last if newest_first else first)
        for key, _ in walk(table, start, prefix):
            commit_ts = number_of(key)
            if not first <= commit_ts <= last:
                return
            yield commit_ts

    def _events(
        self, found: Sequence[Found], ahead: Sequence[bytes | None], with_proof: bool
    ) -> Iterator[Event]:
        values = iter(ahead)
        before, previous = 0, GENESIS
        for row, body, operations in found:
            commit_ts, chain_hash = body.commit_ts, row[:HASH_BYTES]
            if with_proof and before != commit_ts - 1:
                previous = self.hash_at(commit_ts - 1)
            yield Event(
                commit_ts,
                body.committed_at_us,
                body.txn_id,
                body.metadata,
                tuple(
                    [
                        _operation(one, self.value(one, commit_ts) if value is None else value)
                        for one, value in zip(operations, values, strict=False)
                    ]
                ),
                chain_hash,
                previous if with_proof else b"",
                row[HASH_BYTES:] if with_proof else b"",
            )
            before, previous = commit_ts, chain_hash


def _operation(told: EventOperationRow, value: bytes) -> EventOperation:
    return EventOperation(told.namespace, told.agent_id, told.key, told.version, told.kind, value)
