"""Owns the reading of the values that events wrote: of one operation, or of many with one look.

A value lies in the record of the version that its operation made. In the order of events the
records lie all over an agent's keys, and to look up each costs more than all else of a replay; in
the order of keys most lie side by side. So whoever walks over events reads the values of some
ahead, in the order of keys. It must not know how events are found (events.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from statehouse.core import codec, limits
from statehouse.core.keys import Table, latest_key, place_in_records
from statehouse.core.model import Kind
from statehouse.storage.breath import BREATH_ROWS
from statehouse.storage.faults import RowLost

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from statehouse.core.model import EventBody, EventOperationRow
    from statehouse.storage.rows import Rows

Found = tuple[bytes, "EventBody", "Sequence[EventOperationRow]"]
"""The row of an event that is to be told, its body, and which of its operations are told."""

Run = tuple["Sequence[Found]", "Sequence[bytes | None]"]
"""Events, and the values of their operations.

A value is None where it is to be read when it is asked for, because it is not there or those before
it took too much room."""

_BYTES_MAX = limits.READ_AHEAD_BYTES_MAX
# A member of an enum costs a lookup; this one is asked for with every operation.
_RECORDS = Table.RECORDS
_TOMBSTONE = Kind.TOMBSTONE.value
_HEADER = codec.RECORD_HEADER_BYTES
# The operations of a replay name few keys, and each again and again.
_names = lru_cache(maxsize=4096)(latest_key)


def key_of_record(told: EventOperationRow, commit_ts: int) -> bytes:
    """Where the version lies that an operation of that commit made."""
    names = _names(told.namespace, told.agent_id, told.key)
    return names + place_in_records(commit_ts, told.version)


def value_of(rows: Rows, told: EventOperationRow, commit_ts: int) -> bytes:
    """What an operation of that commit wrote."""
    if told.kind == _TOMBSTONE:
        return b""
    row = rows.get(_RECORDS, key_of_record(told, commit_ts))
    if row is None:
        raise RowLost(f"version {told.version} of key {told.key!r} is not in the database")
    return row[_HEADER:]


def with_values(rows: Rows, walk: Iterable[Found | None], read_ahead: int) -> Iterator[Run | None]:
    """The events of a walk, some at a time, with the values of their operations in their order.

    Where the walk breathes, this does, after all before it; and whenever it has read many rows.
    read_ahead: how many events are asked for at once; so many may be read before the first is told.
    """
    ahead = _ReadAhead(rows, read_ahead)
    run: list[Found] = []
    size_bytes = 0
    room, value_bytes = ahead.room, ahead.value_bytes
    for found in walk:
        if found is not None:
            run.append(found)
            size_bytes += len(found[0]) + len(found[2]) * value_bytes
            if len(run) < room and size_bytes < _BYTES_MAX:
                if not len(run) % BREATH_ROWS:
                    yield None
                continue
        if run:
            values = yield from ahead.values(run)
            yield run, values
            run = []
            size_bytes, room, value_bytes = 0, ahead.room, ahead.value_bytes
        if found is None:
            yield None
    if run:
        values = yield from ahead.values(run)
        yield run, values


class _ReadAhead:
    """Which values are read together: at most those of so many events, and of so many bytes."""

    def __init__(self, rows: Rows, events: int) -> None:
        """events: how many are asked for at once; more are not read ahead."""
        self._rows = rows
        self._events = events
        self.room = events
        """So many more events may be read before the first of them is told."""
        # Until one was seen, it may be so large that it must be told before the next is read.
        self.value_bytes = _BYTES_MAX
        """What one value takes, as far as the last ones tell."""

    def values(self, found: Sequence[Found]) -> Generator[None, None, list[bytes | None]]:
        """The values of the operations of so many events, in their order; as in a Run."""
        self.room = self.room - len(found) or self._events
        # As key_of_record of each; written out, for a replay makes one of each operation it tells.
        names, place = _names, place_in_records
        keys = [
            names(one.namespace, one.agent_id, one.key) + place(body.commit_ts, one.version)
            for _, body, operations in found
            for one in operations
        ]
        ordered = sorted(keys)
        values: dict[bytes, bytes] = {}
        size_bytes, header = 0, _HEADER
        breath = BREATH_ROWS
        for key, row in zip(ordered, self._look_up(ordered), strict=True):
            if row is not None:
                values[key] = row[header:]
                size_bytes += len(row)
                if size_bytes >= _BYTES_MAX:
                    break
            breath -= 1
            if not breath:
                yield
                breath = BREATH_ROWS
        if values:
            self.value_bytes = size_bytes // len(values)
        return list(map(values.get, keys))

    def _look_up(self, keys: Sequence[bytes]) -> Iterable[bytes | None]:
        if len(keys) < 2:
            return [self._rows.get(_RECORDS, key) for key in keys]
        return self._rows.some(_RECORDS, keys)
