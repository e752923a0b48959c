"""Owns one file of the journal: a run of entries that follow one another.

A segment's name tells its generation and the index of its first entry, its header says so again
under a checksum. It is written aside with its header and renamed when that is on the disk, so
under its own name a segment never has a bad header by a crash. It must not know its neighbours:
what follows on what is journal.py's and opening.py's.
"""

from __future__ import annotations

import re
import struct
from array import array
from typing import TYPE_CHECKING, Final
from zlib import crc32

from statehouse_cluster.damage import JournalDamaged
from statehouse_cluster.files import read_whole, write_durably
from statehouse_cluster.log_view import LogEntry
from statehouse_cluster.record import Fault, encode_record, later_batch, read_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from statehouse_cluster.files import Files
    from statehouse_cluster.record import Record

READ_AHEAD_BYTES: Final = 128 * 1024
"""Read at once from a segment, for whoever asks for an old entry asks for the next one soon."""

_MAGIC = b"SHlog\r\n\x1a"
_FORMAT_VERSION = 1
_HEADER = struct.Struct("<8sIQQ")
"""Magic, format version, generation, index of the first entry."""
_HEADER_BYTES: Final = _HEADER.size + 4
_NAME = re.compile(r"(\d{10})-(\d{20})\.log", re.ASCII)


def segment_name(generation: int, base_index: int) -> str:
    """The file name of a segment; names sort as segments follow one another."""
    return f"{generation:010d}-{base_index:020d}.log"


def parse_segment_name(name: str) -> tuple[int, int] | None:
    """Generation and index of the first entry; None for a name that is no segment's."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


class Segment:
    """One segment file. Only the journal's last one is open, and only to that one is written."""

    __slots__ = (
        "_handle",
        "_header",
        "_offsets",
        "_seed",
        "_terms",
        "base_index",
        "path",
        "size_bytes",
    )

    def __init__(self, path: Path, generation: int, base_index: int) -> None:
        self.path = path / segment_name(generation, base_index)
        self.base_index = base_index
        self.size_bytes = _HEADER_BYTES
        fields = _HEADER.pack(_MAGIC, _FORMAT_VERSION, generation, base_index)
        self._seed = crc32(fields)
        self._header = fields + self._seed.to_bytes(4, "little")
        self._offsets = array("Q")
        self._terms = array("Q")
        self._handle: int | None = None

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def last_index(self) -> int:
        """The index of the last entry; base_index - 1 where there is none."""
        return self.base_index + len(self._offsets) - 1

    def term_at(self, index: int) -> int:
        return self._terms[index - self.base_index]

    def open(self, files: Files) -> None:
        """Makes it the one that is written to."""
        self._handle = files.open(self.path)

    def close(self, files: Files) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            files.close(handle)

    def write_batch(self, files: Files, entries: Sequence[LogEntry]) -> None:
        """Puts the entries behind the last one; on the disk when it returns."""
        handle = self._writable()
        data, offsets = self._encode(entries)
        files.write(handle, self.size_bytes, data)
        files.sync_data(handle)
        self._take(entries, offsets, len(data))

    def create(self, files: Files, entries: Sequence[LogEntry]) -> None:
        """Puts the file there with these entries, and opens it; on the disk when it returns."""
        data, offsets = self._encode(entries)
        write_durably(files, self.path, self._header + data)
        self._take(entries, offsets, len(data))
        self.open(files)

    def truncate_from(self, files: Files, index: int) -> None:
        """Removes `index` and what follows; on the disk when it returns."""
        handle = self._writable()
        place = index - self.base_index
        size_bytes = self._offsets[place]
        files.truncate(handle, size_bytes)
        files.sync(handle)
        del self._offsets[place:]
        del self._terms[place:]
        self.size_bytes = size_bytes

    def secure(self, files: Files) -> None:
        """Cuts off what lies behind the last whole record and makes the rest durable.

        Needed at a start even where nothing is torn: what was read may be in memory only.
        """
        handle = self._writable()
        if files.size(handle) > self.size_bytes:
            files.truncate(handle, self.size_bytes)
        files.sync(handle)

    def read(self, files: Files, index: int) -> list[LogEntry]:
        """The entry and those behind it that came with the same read; at least the one.

        Raises JournalDamaged where the disk no longer holds what was written.
        """
        place = index - self.base_index
        start = self._offsets[place]
        stop = max(self._stop_of(place), min(start + READ_AHEAD_BYTES, self.size_bytes))
        data = self._read_range(files, start, stop - start)
        entries: list[LogEntry] = []
        while place < len(self._offsets) and self._stop_of(place) <= stop:
            at = self._offsets[place] - start
            record = read_record(data, at, offset=start, seed=self._seed)
            expected = (self.base_index + place, self._terms[place])
            if isinstance(record, Fault) or (record.index, record.term) != expected:
                raise JournalDamaged(
                    self.path, start + at, f"entry {expected[0]} was read before and is gone now"
                )
            entries.append(_entry(data, record))
            place += 1
        return entries

    def load(self, files: Files, *, last: bool) -> str | None:
        """Learns what the file holds. Returns what is torn at its end, in words; None: nothing.

        Only the last segment may be torn; everything else that is not as written is damage.
        """
        data = read_whole(files, self.path)
        self._check_header(data)
        offset = _HEADER_BYTES
        batch, term = -1, 0
        while offset < len(data):
            record = read_record(data, offset, offset=0, seed=self._seed)
            if isinstance(record, Fault):
                return self._torn(data, offset, record, last=last)
            if record.index != self.last_index + 1 or record.batch not in (batch, record.index):
                raise JournalDamaged(
                    self.path,
                    offset,
                    f"entry {record.index} stands behind {self.last_index} in a batch of "
                    f"{record.batch}",
                )
            if record.term < term:
                raise JournalDamaged(
                    self.path, offset, f"entry {record.index} has term {record.term}, below {term}"
                )
            self._offsets.append(offset)
            self._terms.append(record.term)
            batch, term = record.batch, record.term
            self.size_bytes = offset = record.stop
        return None

    def _torn(self, data: bytes, offset: int, fault: Fault, *, last: bool) -> str:
        index = self.last_index + 1
        what = f"the record of entry {index} {fault.value}"
        if fault is Fault.DAMAGED:
            raise JournalDamaged(self.path, offset, what)
        if not last:
            raise JournalDamaged(self.path, offset, f"{what}, and another segment follows")
        later = later_batch(data, offset + 1, offset=0, seed=self._seed, index=index)
        if later is not None:
            raise JournalDamaged(
                self.path,
                offset,
                f"{what}, and entry {later.index}, which was written after it was on the disk, "
                "follows",
            )
        return f"{self.path}, byte {offset}: {what}; {len(data) - offset} bytes were never synced"

    def _check_header(self, data: bytes) -> None:
        if len(data) < _HEADER_BYTES:
            raise JournalDamaged(self.path, 0, f"the file is too short, {len(data)} bytes")
        magic, version, _, _ = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise JournalDamaged(self.path, 0, "the file does not begin as a segment does")
        if version != _FORMAT_VERSION:
            raise JournalDamaged(
                self.path,
                len(_MAGIC),
                f"format version {version} is not known, only {_FORMAT_VERSION} is; the release "
                "that wrote it can read it",
            )
        if data[:_HEADER_BYTES] != self._header:
            raise JournalDamaged(self.path, 0, "the header does not match checksum and file name")

    def _encode(self, entries: Sequence[LogEntry]) -> tuple[bytes, list[int]]:
        """A batch as it will lie behind what is there, and where each record begins."""
        place = self.size_bytes
        records: list[bytes] = []
        offsets: list[int] = []
        for payload, index, term in entries:
            record = encode_record(
                payload, index, term, batch=entries[0].index, offset=place, seed=self._seed
            )
            records.append(record)
            offsets.append(place)
            place += len(record)
        return b"".join(records), offsets

    def _take(self, entries: Sequence[LogEntry], offsets: list[int], size_bytes: int) -> None:
        self._offsets.extend(offsets)
        self._terms.extend(entry.term for entry in entries)
        self.size_bytes += size_bytes

    def _stop_of(self, place: int) -> int:
        return self._offsets[place + 1] if place + 1 < len(self._offsets) else self.size_bytes

    def _read_range(self, files: Files, offset: int, size_bytes: int) -> bytes:
        if self._handle is not None:
            return files.read(self._handle, offset, size_bytes)
        handle = files.open(self.path)
        try:
            return files.read(handle, offset, size_bytes)
        finally:
            files.close(handle)

    def _writable(self) -> int:
        if self._handle is None:
            raise RuntimeError(f"{self.path} is not the segment that is written to")
        return self._handle


def _entry(data: bytes, record: Record) -> LogEntry:
    return LogEntry(data[record.payload_start : record.payload_stop], record.index, record.term)
