"""Owns how events are found and told: all of them, of a scope, of a run, or led to by a commit.

An event row holds no values; each lies in the record of the version the event made. A fork's events
are those of its ancestors up to the points of the forks, then its own: as levels (lineage.py) share
no commit, that is commit order. It must not know how versions of a key are found (records.py).

Walks breathe: they yield None when they have looked at many rows and found nothing to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from statehouse.core import codec, marks
from statehouse.core.digest import GENESIS, HASH_BYTES
from statehouse.core.keys import Table, number_of, run_key, u64
from statehouse.core.model import Event
from statehouse.storage.breath import Breath
from statehouse.storage.event_rows import lost, rows_of
from statehouse.storage.event_values import value_of, with_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from statehouse.core.model import EventBody, EventOperationRow
    from statehouse.storage.event_values import Found
    from statehouse.storage.lineage import Lineage
    from statehouse.storage.rows import Rows


_ROW = itemgetter(1)

_STRETCH_MAX = 256
"""Events of an agent that are found in one way before it is asked again which costs less."""

_SAMPLE = 16
_DENSE_COMMITS = 20
"""Where so many of an agent's events lie within so many commits, all are walked over."""


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
        namespace, agents = self.namespace, self.agents
        if agents is not None:
            through = agents.get
            found = [
                told
                for told in found
                if through(told.agent_id, 0) >= body.commit_ts and told.namespace == namespace
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

    def chooser(self) -> Callable[[EventBody], Sequence[EventOperationRow]]:
        """`operations`, for a walk over many events: the same, quicker where they have just one."""
        choose, namespace = self.operations, self.namespace
        if self.agents is None or self.prefix:
            return choose
        through = self.agents.get

        def of_agents(body: EventBody) -> Sequence[EventOperationRow]:
            found = body.operations
            if len(found) != 1:
                return choose(body)
            told = found[0]
            is_told = through(told.agent_id, 0) >= body.commit_ts and told.namespace == namespace
            return found if is_told else ()

        return of_agents


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

    def without_values(self, commit_ts: int) -> Event:
        """One event, all its operations, each value left empty."""
        row = self.row(commit_ts)
        body = codec.decode_event(row)
        return Event(body, body.operations, (b"",) * len(body.operations), row[:HASH_BYTES])

    def value(self, told: EventOperationRow, commit_ts: int) -> bytes:
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
        self, walk: Iterable[bytes], scope: Scope, *, with_proof: bool, read_ahead: int
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

    def _found(self, walk: Iterable[bytes], scope: Scope) -> Iterator[Found | None]:
        breath = Breath()
        decode, operations_of, everything = codec.decode_event, scope.chooser(), scope.everything
        for row in walk:
            body = decode(row)
            operations = operations_of(body)
            if operations or everything:
                breath.told()
                yield row, body, operations
            elif breath.due(len(row)):
                yield None

    def every(self, first: int, last: int, newest_first: bool = False) -> Iterator[bytes]:
        """All events from first to last, both included; RowLost: one of them is not there."""
        if first > last:
            return
        if newest_first:
            yield from self._every_backward(first, last)
            return
        expected = first
        for batch in self._rows.batches(Table.EVENTS, u64(first), b""):
            wanted = batch[: last + 1 - expected]
            before, expected = expected, expected + len(wanted)
            # Keys ascend: where the last of so many is the right one, none before it is missing.
            if wanted[-1][0] != u64(expected - 1):
                there = [key for key, _ in wanted]
                raise lost(next(one for one in range(before, expected) if u64(one) not in there))
            yield from map(_ROW, wanted)
            if expected > last:
                return
            # Before the next are read: they may be large.
            del batch, wanted
        raise lost(expected)

    def _every_backward(self, first: int, last: int) -> Iterator[bytes]:
        expected = last
        for key, row in self._rows.backward(Table.EVENTS, u64(last), b""):
            if expected < first:
                return
            if key != u64(expected):
                raise lost(expected)
            yield row
            expected -= 1
        if expected >= first:
            raise lost(expected)

    def walk_agent(
        self, namespace: str, agent_id: str, first: int, last: int, newest_first: bool = False
    ) -> Iterator[bytes]:
        """The events that touch an agent, its ancestors' before its own.

        Oldest first, where nearly all events are the agent's, the few between them come too, and
        are missed when they are lost: to look each number up in the list of the agent's costs more
        than to pass over what it lacks.
        """
        numbers = self.of_agent(namespace, agent_id, first, last, newest_first)
        if newest_first:
            yield from rows_of(self._rows, numbers, newest_first=True)
            return
        stretch, after = _SAMPLE, 0
        while sample := list(islice(numbers, _SAMPLE)):
            if len(sample) < _SAMPLE or sample[-1] - sample[0] >= _DENSE_COMMITS:
                some = chain(sample, islice(numbers, _STRETCH_MAX - _SAMPLE))
                yield from rows_of(self._rows, some, newest_first=False)
                continue
            # Nobody knows how far it stays so: about as far as it has been so.
            if sample[0] - after > _DENSE_COMMITS - _SAMPLE:
                stretch = _SAMPLE
            stretch = min(2 * stretch, _STRETCH_MAX)
            after = min(sample[0] + stretch - 1, last)
            yield from self.every(sample[0], after)
            numbers = self.of_agent(namespace, agent_id, after + 1, last)

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
    ) -> Iterator[bytes]:
        """The events of a run that touch the namespace."""
        run = run_key(namespace, run_id)
        numbers = self._indexed(Table.RUNS, run, first, last, newest_first)
        return rows_of(self._rows, numbers, newest_first=newest_first)

    def walk_caused(
        self, cause: int, first: int, last: int, newest_first: bool = False
    ) -> Iterator[bytes]:
        """The events that name the cause."""
        numbers = self._indexed(Table.CAUSES, u64(cause), first, last, newest_first)
        return rows_of(self._rows, numbers, newest_first=newest_first)

    def _indexed(
        self, table: Table, prefix: bytes, first: int, last: int, newest_first: bool
    ) -> Iterator[int]:
        if first > last:
            return
        if newest_first:
            found = self._rows.backward(table, prefix + u64(last), prefix)
        else:
            found = chain.from_iterable(self._rows.batches(table, prefix + u64(first), prefix))
        for key, _ in found:
            commit_ts = number_of(key)
            if not first <= commit_ts <= last:
                return
            yield commit_ts

    def _events(
        self, found: Sequence[Found], ahead: Sequence[bytes | None], with_proof: bool
    ) -> Iterator[Event]:
        end, before, previous = 0, 0, GENESIS
        read_all = None not in ahead
        for row, body, told in found:
            begin, end = end, end + len(told)
            values: Sequence[bytes] = ahead[begin:end]  # type: ignore[assignment]  # see below
            commit_ts, chain_hash = body.commit_ts, row[:HASH_BYTES]
            if not read_all:
                values = [
                    self.value(one, commit_ts) if value is None else value
                    for one, value in zip(told, values, strict=True)
                ]
            if not with_proof:
                yield Event(body, told, values, chain_hash)
                continue
            if before != commit_ts - 1:
                previous = self.hash_at(commit_ts - 1)
            yield Event(body, told, values, chain_hash, previous, row[HASH_BYTES:])
            before, previous = commit_ts, chain_hash
