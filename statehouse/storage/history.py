"""Owns the questions about how a state came to be: versions, blame, explanations, differences.

Each is a walk over records and events as records.py and events.py find them; so each holds for
forks too, and none keeps more than it is about to tell. It must not know how rows are kept.

Walks breathe: they yield None when they have looked at many rows and found nothing to tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from statehouse.core import marks
from statehouse.core.blame import Settling
from statehouse.core.explain import Chain
from statehouse.core.keys import terminated
from statehouse.core.model import (
    DiffRow,
    Expectation,
    ExplainedCommit,
    FieldBlame,
    KeyBlame,
    ReadRow,
    Record,
    VersionRow,
)
from statehouse.storage.breath import BREATH_ROWS, Breath

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from statehouse.core.model import Event
    from statehouse.storage.events import Events
    from statehouse.storage.lineage import Lineage
    from statehouse.storage.records import Place, Records

_VERSION = Expectation.VERSION.value

_Setter = tuple[int, int, int, str]
"""What is kept of a version that may have set a field: version, commit_ts, committed_at_us, writer.

Not its value: there may be as many versions as fields."""


class History:
    """The history up to one commit_ts."""

    def __init__(self, records: Records, events: Events, lineage: Lineage) -> None:
        self._records = records
        self._events = events
        self._lineage = lineage

    # -- Versions

    def versions(
        self,
        namespace: str,
        agent_id: str,
        key: str,
        first: int,
        last: int,
        newest_first: bool,
    ) -> Iterator[VersionRow]:
        """The versions made from first to last, both included."""
        for record, writer in self._made(namespace, agent_id, key, first, last, newest_first):
            yield self._version_row(record, writer)

    def _made(
        self,
        namespace: str,
        agent_id: str,
        key: str,
        first: int,
        last: int,
        newest_first: bool,
    ) -> Iterator[tuple[Record, str]]:
        """Those versions, each with the agent that was written."""
        levels = self._lineage.levels(namespace, agent_id, last)
        for level in levels if newest_first else reversed(levels):
            prefix = level.agent + terminated(key)
            places = self._records.walk(prefix, first, level.through, newest_first)
            for place in places:
                yield self._records.record(key, place), level.agent_id

    def _version_row(self, record: Record, writer: str) -> VersionRow:
        event = self._events.without_values(record.commit_ts)
        return VersionRow(record, writer, event.txn_id, event.metadata)

    # -- Blame

    def blame(
        self, namespace: str, agent_id: str, prefix: str, at: int, fields: bool
    ) -> Iterator[KeyBlame | None]:
        """For each live key: which commit set it, and each field of an object."""
        for found in self._records.live(namespace, agent_id, prefix, at):
            if found is None:
                yield None
                continue
            key, (row_prefix, _, _) = found
            record = self._records.record(key, found[1])
            writer = self._writer(namespace, agent_id, row_prefix, at)
            told: list[FieldBlame] = []
            if fields:
                settling = Settling(record.kind, record.value, _setter(record, writer))
                yield from self._settle(settling, namespace, agent_id, record)
                yield from self._tell(settling, told)
            yield KeyBlame(self._version_row(record, writer), tuple(told))

    def _writer(self, namespace: str, agent_id: str, row_prefix: bytes, at: int) -> str:
        levels = self._lineage.levels(namespace, agent_id, at)
        return next(one.agent_id for one in levels if row_prefix.startswith(one.agent))

    def _settle(
        self,
        settling: Settling[_Setter],
        namespace: str,
        agent_id: str,
        newest: Record,
    ) -> Iterator[None]:
        """Looks at versions of a key, from the newest back, until all of its fields are settled."""
        if settling.settled:
            return
        breath = Breath()
        made = self._made(namespace, agent_id, newest.key, 1, newest.commit_ts, True)
        for record, writer in made:
            if record.version >= newest.version:
                continue
            settling.look(record.kind, record.value, _setter(record, writer))
            if settling.settled:
                return
            if breath.due(len(record.value)):
                yield None

    def _tell(self, settling: Settling[_Setter], told: list[FieldBlame]) -> Iterator[None]:
        """Adds each field with the commit that set it, read once however many it set."""
        breath = Breath()
        events: dict[int, Event] = {}
        for field, setter in settling.result():
            event = events.get(setter[1])
            if event is None:
                event = events[setter[1]] = self._events.without_values(setter[1])
            told.append(FieldBlame(field, *setter, event.txn_id, event.metadata))
            if breath.due():
                yield None

    # -- Explanations

    def explain(
        self, namespace: str, agent_id: str, key: str, place: Place, limit: int
    ) -> Iterator[ExplainedCommit | None]:
        """What led to the version of the key that lies at the place."""
        commit_ts = place[1][1]
        levels = self._lineage.levels(namespace, agent_id, commit_ts)
        asked = {(namespace, level.agent_id, key): level.through for level in levels}
        chain = Chain(commit_ts, limit)
        while (step := chain.next()) is not None:
            event = self._events.without_values(step[0])
            reads: list[ReadRow] = []
            for number, read in enumerate(self._reads(event), 1):
                reads.append(read)
                if number % BREATH_ROWS == 0:
                    yield None
            chain.led_by(event.metadata.caused_by)
            chain.led_by(read.commit_ts for read in reads if read.commit_ts)
            yield ExplainedCommit(self._with_values(event, asked), tuple(reads), step[1])

    def _reads(self, event: Event) -> Iterator[ReadRow]:
        """The versions that the transaction was sure of, from before it."""
        for asked in event.body.preconditions:
            names = (asked.namespace, asked.agent_id, asked.key)
            if asked.expectation != _VERSION or marks.is_mark(asked.agent_id, asked.key):
                continue
            commit_ts = 0
            if asked.number:
                # It held, so this version was the last one then.
                place = self._records.place(*names, event.commit_ts - 1)
                commit_ts = 0 if place is None else place[1][1]
            yield ReadRow(*names, asked.number, commit_ts)

    def _with_values(self, event: Event, asked: dict[tuple[str, str, str], int]) -> Event:
        values = [
            self._events.value(told, event.commit_ts)
            if event.commit_ts <= asked.get((told.namespace, told.agent_id, told.key), 0)
            or marks.is_mark(told.agent_id, told.key)
            else b""
            for told in event.told
        ]
        return structs.replace(event, values=values)

    # -- Differences

    def diff(
        self,
        namespace: str,
        agent_id: str,
        a: int,
        other_agent_id: str,
        b: int,
        prefix: str,
    ) -> Iterator[DiffRow | None]:
        """The keys that differ; what both sides have from the same commit is not read."""
        sides = (
            self._records.live(namespace, agent_id, prefix, a),
            self._records.live(namespace, other_agent_id, prefix, b),
        )
        breath = Breath()
        for found in _side_by_side(*sides):
            if found is None:
                yield None
                continue
            key, here, there = found
            if here is not None and there is not None and _same_commit(here, there):
                if breath.due():
                    yield None
                continue
            one = None if here is None else self._records.record(key, here)
            two = None if there is None else self._records.record(key, there)
            if one is None or two is None or (one.kind, one.value) != (two.kind, two.value):
                breath.told()
                yield DiffRow(key, one, two)
            elif breath.due(len(one.value) + len(two.value)):
                yield None


def _setter(record: Record, writer: str) -> _Setter:
    return record.version, record.commit_ts, record.committed_at_us, writer


def _same_commit(here: Place, there: Place) -> bool:
    """Whether both sides read the very same version."""
    return here[0] == there[0] and here[1][:2] == there[1][:2]


def _side_by_side(
    here: Iterator[tuple[str, Place] | None], there: Iterator[tuple[str, Place] | None]
) -> Iterator[tuple[str, Place | None, Place | None] | None]:
    """The keys of two walks, in bytewise order, each once; breathes when one of them does."""
    a = yield from _next(here)
    b = yield from _next(there)
    # The order of names is that of their bytes in UTF-8, and that of their characters too.
    while a is not None or b is not None:
        if a is not None and (b is None or a[0] < b[0]):
            yield a[0], a[1], None
            a = yield from _next(here)
        elif b is not None and (a is None or b[0] < a[0]):
            yield b[0], None, b[1]
            b = yield from _next(there)
        elif a is not None and b is not None:
            yield a[0], a[1], b[1]
            a = yield from _next(here)
            b = yield from _next(there)


def _next(
    walk: Iterator[tuple[str, Place] | None],
) -> Generator[None, None, tuple[str, Place] | None]:
    for found in walk:
        if found is not None:
            return found
        yield None
    return None
