"""Owns how the log is looked at: an entry, a lazy range of entries, a bounded cache of them.

It must not know how entries are stored; it is handed a function which reads one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, overload


class LogEntry(NamedTuple):
    """One entry, its fields in the order pysyncobj keeps them."""

    payload: bytes
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    term: int


class LogView(Sequence[LogEntry]):
    """The entries of the indexes start..stop-1, each read when it is asked for.

    Not to be used after the log was truncated, cut or reset: it reads what is there by then.
    """

    __slots__ = ("_indexes", "_read")

    def __init__(self, read: Callable[[int], LogEntry], indexes: range) -> None:
        self._read = read
        self._indexes = indexes

    def __len__(self) -> int:
        return len(self._indexes)

    @overload
    def __getitem__(self, item: int) -> LogEntry: ...

    @overload
    def __getitem__(self, item: slice) -> LogView: ...

    def __getitem__(self, item: int | slice) -> LogEntry | LogView:
        if isinstance(item, slice):
            return LogView(self._read, self._indexes[item])
        return self._read(self._indexes[item])

    def __iter__(self) -> Iterator[LogEntry]:
        return map(self._read, self._indexes)

    def __reversed__(self) -> Iterator[LogEntry]:
        return map(self._read, reversed(self._indexes))

    def __repr__(self) -> str:
        return f"LogView({self._indexes!r})"


_ENTRY_OVERHEAD_BYTES = 256
"""About what the objects around a payload take in memory."""


class EntryCache:
    """Entries by index, at most `bytes_max` of them; the one not used for longest goes first."""

    __slots__ = ("_bytes", "_bytes_max", "_entries")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[int, LogEntry] = OrderedDict()
        """In the order of their last use."""

    @property
    def bytes_held(self) -> int:
        return self._bytes

    def get(self, index: int) -> LogEntry | None:
        entry = self._entries.get(index)
        if entry is not None:
            self._entries.move_to_end(index)
        return entry

    def put(self, entry: LogEntry) -> None:
        self._remove(entry.index)
        self._entries[entry.index] = entry
        self._bytes += len(entry.payload) + _ENTRY_OVERHEAD_BYTES
        while self._bytes > self._bytes_max:
            self._remove(next(iter(self._entries)))

    def keep(self, indexes: range) -> None:
        """Forgets every entry outside `indexes`."""
        for index in [index for index in self._entries if index not in indexes]:
            self._remove(index)

    def _remove(self, index: int) -> None:
        entry = self._entries.pop(index, None)
        if entry is not None:
            self._bytes -= len(entry.payload) + _ENTRY_OVERHEAD_BYTES
