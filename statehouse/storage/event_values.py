"""Owns the reading of the values that events wrote: of one operation, or of many with one look.

A value lies in the record of the version that its operation made. In the order of events the
records lie all over an agent's keys, and to look up each costs more than all else of a replay; in
the order of keys most lie side by side. So whoever walks over events reads the values of some
ahead, in the order of keys. It must not know how events are found (events.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from statehouse.core import codec, limits
from statehouse.core.keys import Table, latest_key, record_key
from statehouse.core.model import Kind
from statehouse.storage.faults import RowLost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from statehouse.core.codec import EventBody, EventOperationRow
    from statehouse.core.model import EventOperation
    from statehouse.storage.rows import Rows

Found = tuple[bytes, "EventBody", "Sequence[EventOperationRow]"]
"""The row of an event that is to be told, its body, and which of its operations are told."""

AHEAD_BYTES: Final = limits.CHUNK_BYTES_MAX
"""So many bytes of events and values are read ahead, and at most one row more of each."""

# A member of an enum costs a lookup; this one is asked for with every operation.
_RECORDS = Table.RECORDS
_TOMBSTONE = Kind.TOMBSTONE.value
_HEADER = codec.RECORD_HEADER_BYTES
# The operations of a replay name few keys, and each again and again.
_beginning = lru_cache(maxsize=1024)(latest_key)


def value_of(rows: Rows, told: EventOperationRow | EventOperation, commit_ts: int) -> bytes:
    """What an operation of that commit wrote."""
    if told.kind == _TOMBSTONE:
        return b""
    beginning = _beginning(told.namespace, told.agent_id, told.key)
    row = rows.get(_RECORDS, record_key(beginning, commit_ts, told.version))
    if row is None:
        raise RowLost(f"version {told.version} of key {told.key!r} is not in the database")
    return row[_HEADER:]


class ReadAhead:
    """Which values are read together: at most those of so many events, and of so many bytes."""

    def __init__(self, rows: Rows, events: int) -> None:
        """events: how many are asked for at once; more are not read ahead."""
        self._rows = rows
        self._events = events
        self.room = events
        """So many more events may be read before the first of them is told."""
        # Until one was seen, it may be so large that it must be told before the next is read.
        self.value_bytes = AHEAD_BYTES
        """What one value takes, as far as the last ones tell."""

    def values(self, found: Sequence[Found]) -> list[bytes | None]:
        """The values of the operations of so many events, in their order.

        None: it is to be read when it is asked for, because it is not there or the values before
        it took too much room.
        """
        self.room = self.room - len(found) or self._events
        keys = [
            record_key(
                _beginning(one.namespace, one.agent_id, one.key), body.commit_ts, one.version
            )
            for _, body, operations in found
            for one in operations
        ]
        ordered = sorted(keys)
        values: dict[bytes, bytes] = {}
        size_bytes = 0
        for key, row in zip(ordered, self._look_up(ordered), strict=True):
            if row is not None:
                values[key] = row[_HEADER:]
                size_bytes += len(row)
                if size_bytes >= AHEAD_BYTES:
                    break
        if values:
            self.value_bytes = size_bytes // len(values)
        return list(map(values.get, keys))

    def _look_up(self, keys: Sequence[bytes]) -> Iterable[bytes | None]:
        if len(keys) < 2:
            return [self._rows.get(_RECORDS, key) for key in keys]
        return self._rows.some(_RECORDS, keys)
