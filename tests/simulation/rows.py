"""Tables of rows in memory that know how to take back what was written last.

It answers `statehouse.storage.rows.Rows`, and what the engine asks. A batch is written as one; the
batches since the last `sync` can be taken back, newest first, as a power loss does to a write-ahead
log. It must not know what the rows mean.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

from statehouse.core.keys import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from statehouse.core.view import Delete, Put

    Row = tuple[bytes, bytes]
    Undo = list[tuple["_Table", bytes, bytes | None]]

_FEW = 64
"""So many new keys are put into the order one by one; more are sorted in together."""


class MemoryRows:
    """The tables of one store."""

    def __init__(self) -> None:
        self._tables = [_Table() for _ in Table]
        self._undo: list[Undo] = []
        """What each batch that is not synced replaced."""

    @property
    def unsynced(self) -> int:
        """Batches that can be taken back."""
        return len(self._undo)

    def write(self, puts: Sequence[Put], deletes: Sequence[Delete]) -> None:
        undo: Undo = []
        for number, key, value in puts:
            table = self._tables[number]
            undo.append((table, key, table.rows.get(key)))
            table.put(key, value)
        for number, key in deletes:
            table = self._tables[number]
            undo.append((table, key, table.rows.get(key)))
            table.delete(key)
        self._undo.append(undo)

    def sync(self) -> None:
        self._undo.clear()

    def take_back(self, batches: int) -> None:
        """Undoes the last so many batches."""
        for _ in range(batches):
            for table, key, before in reversed(self._undo.pop()):
                if before is None:
                    table.delete(key)
                else:
                    table.put(key, before)

    def copy(self) -> list[dict[bytes, bytes]]:
        """All rows, table by table."""
        return [dict(table.rows) for table in self._tables]

    def replace(self, tables: Iterable[dict[bytes, bytes]]) -> None:
        """Holds these rows from now on, and they are synced."""
        self._tables = [_Table(dict(rows)) for rows in tables]
        self._undo.clear()

    def differs_in(self, other: MemoryRows) -> list[str]:
        """The names of the tables that are not the same."""
        pairs = zip(Table, self._tables, other._tables, strict=True)
        return [table.name for table, mine, theirs in pairs if mine.rows != theirs.rows]

    # `Rows`

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._tables[table].rows.get(key)

    def some(
        self, table: Table, keys: Iterable[bytes], backward: bool = False
    ) -> Iterator[bytes | None]:
        return map(self._tables[table].rows.get, keys)

    def first(self, table: Table, key: bytes) -> Row | None:
        return next(self.forward(table, key, b""), None)

    def last(self, table: Table, key: bytes) -> Row | None:
        return next(self.backward(table, key, b""), None)

    def forward(self, table: Table, start: bytes, prefix: bytes) -> Iterator[Row]:
        found = self._tables[table]
        keys = found.order()
        for place in range(bisect_left(keys, start), len(keys)):
            key = keys[place]
            if not key.startswith(prefix):
                return
            if key in found.rows:
                yield key, found.rows[key]

    def batches(self, table: Table, start: bytes, prefix: bytes) -> Iterator[list[Row]]:
        return ([row] for row in self.forward(table, start, prefix))

    def backward(self, table: Table, start: bytes, prefix: bytes) -> Iterator[Row]:
        found = self._tables[table]
        keys = found.order()
        for place in range(bisect_right(keys, start) - 1, -1, -1):
            key = keys[place]
            if not key.startswith(prefix):
                return
            if key in found.rows:
                yield key, found.rows[key]


class _Table:
    """One table. Its keys are put in order when somebody asks for the order, not before."""

    def __init__(self, rows: dict[bytes, bytes] | None = None) -> None:
        self.rows = {} if rows is None else rows
        self._sorted: list[bytes] = []
        """Keys that were deleted stay, until one of them comes back or the table is made anew."""
        self._new = list(self.rows)
        self._gone: set[bytes] = set()

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.rows:
            if key in self._gone:
                self._gone.discard(key)
            else:
                self._new.append(key)
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        if self.rows.pop(key, None) is not None:
            self._gone.add(key)

    def order(self) -> list[bytes]:
        new, self._new = self._new, []
        if len(new) > _FEW:
            self._sorted.extend(new)
            self._sorted.sort()
        else:
            for key in new:
                insort(self._sorted, key)
        return self._sorted
