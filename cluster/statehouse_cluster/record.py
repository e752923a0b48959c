"""Owns the bytes of one record of the journal, and the verdict on bytes that are no record.

Pure: bytes in, bytes and verdicts out. It must not know files, segments or terms of office.

A record is header, payload, trailer byte. The header names the payload's length and checksum, the
entry's index and term, and the first index of the *batch*: the records written and synced
together. It ends with a checksum of itself, seeded with the place the record lies at, so a copy of
a record elsewhere, say inside a payload, is none.

**Torn or damaged.** A batch is written only when the batch before it is on the disk. So a crash
can leave exactly one unfinished batch, the last, and of its bytes the disk holds some 512-byte
sectors and not others; a sector that was not written reads as zeros, or the file ends before it.
A bad record is *torn* only if that explains it: it runs past the end of the file, or one of its
sectors holds nothing but zeros where the writer had put something else. Three choices make this
decidable: the header has a checksum of its own, so a flipped bit in the length is not mistaken for
a record that runs past the end; both ends of the header and the end of the record are never zero,
so no sector a record only touches is zeros by nature; and the header counts the sectors which the
payload itself fills with zeros, so that only more than these are missing ones. And a torn record
is followed by no record of a later batch: that would prove its own batch was once on the disk.
Everything else is damage, of something a vote or an acknowledgement may rest on, and is refused.
(Zeros over whole sectors of the very last batch cannot be told from a crash by any journal.)
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import NamedTuple
from zlib import crc32

SECTOR_BYTES = 512
"""What a disk writes wholly or not at all."""

PAYLOAD_BYTES_MAX = 1 << 30
"""Bytes of one entry's payload; far above what a peer message may hold."""

_ZERO_SECTOR = bytes(SECTOR_BYTES)
_MARK = b"\xb5Shj"
_HEADER_END = b"\x9d"
_TRAILER = b"\xd3"
_FIELDS = struct.Struct("<4sIIQQQI")
"""Mark, payload bytes, sectors zero by nature, index, term, first index of batch, payload CRC."""
_HEADER = struct.Struct("<4sIIQQQIIc")
"""The fields, their CRC, the header's end."""

HEADER_BYTES = _HEADER.size
OVERHEAD_BYTES = HEADER_BYTES + len(_TRAILER)


class Fault(Enum):
    """Why the bytes at a place are no record."""

    PAST_END = "runs past the end of the file"
    UNWRITTEN = "has a sector that was never written"
    DAMAGED = "does not match its checksum"


class Record(NamedTuple):
    """A whole record: its entry's coordinates and where payload and record lie in the buffer."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    term: int
    batch: int
    """The first index of the batch it was written with."""
    payload_start: int
    payload_stop: int
    stop: int


def encode_record(
    payload: bytes, index: int, term: int, *, batch: int, offset: int, seed: int
) -> bytes:
    """The bytes of a record that will lie at `offset` of a segment with checksum seed `seed`."""
    zero_sectors = 0
    if _ZERO_SECTOR in payload:
        shape = _MARK.ljust(HEADER_BYTES, _HEADER_END) + payload + _TRAILER
        zero_sectors = _zero_sectors(shape, offset, 0, len(shape))
    fields = _FIELDS.pack(_MARK, len(payload), zero_sectors, index, term, batch, crc32(payload))
    checksum = crc32(fields, _start_value(seed, offset))
    return b"".join((fields, checksum.to_bytes(4, "little"), _HEADER_END, payload, _TRAILER))


def read_record(buffer: bytes, start: int, *, offset: int, seed: int) -> Record | Fault:
    """The record at `start` of a buffer whose first byte lies at `offset` of its segment.

    `buffer` reaches to the end of the segment, or else PAST_END says only that it is too short.
    """
    if len(buffer) - start < HEADER_BYTES:
        return Fault.PAST_END
    header = _HEADER.unpack_from(buffer, start)
    mark, payload_bytes, zero_sectors, index, term, batch, payload_crc, header_crc, end = header
    fields = buffer[start : start + _FIELDS.size]
    if (
        header_crc != crc32(fields, _start_value(seed, offset + start))
        or mark != _MARK
        or end != _HEADER_END
    ):
        return _verdict_on_header(buffer, start, offset)
    payload_start = start + HEADER_BYTES
    payload_stop = payload_start + payload_bytes
    stop = payload_stop + len(_TRAILER)
    if stop > len(buffer):
        return Fault.PAST_END
    if (
        crc32(buffer[payload_start:payload_stop]) != payload_crc
        or buffer[payload_stop:stop] != _TRAILER
    ):
        missing = _zero_sectors(buffer, offset, start, stop) > zero_sectors
        return Fault.UNWRITTEN if missing else Fault.DAMAGED
    return Record(index, term, batch, payload_start, payload_stop, stop)


def later_batch(buffer: bytes, start: int, *, offset: int, seed: int, index: int) -> Record | None:
    """The first whole record behind `start` of a batch that began behind the entry `index`."""
    place = buffer.find(_MARK, start)
    while place >= 0:
        found = read_record(buffer, place, offset=offset, seed=seed)
        if isinstance(found, Record) and found.batch > index:
            return found
        place = buffer.find(_MARK, place + 1)
    return None


def _start_value(seed: int, offset: int) -> int:
    return (seed + offset) & 0xFFFFFFFF


def _verdict_on_header(buffer: bytes, start: int, offset: int) -> Fault:
    """A header that was cut by a crash lacks a sector; past the header its length is not known.

    What was written behind it in that sector belongs to the same batch, so it is missing as well.
    """
    first = (offset + start) // SECTOR_BYTES
    last = (offset + start + HEADER_BYTES - 1) // SECTOR_BYTES
    for sector in range(first, last + 1):
        left = max(start, sector * SECTOR_BYTES - offset)
        right = min((sector + 1) * SECTOR_BYTES - offset, len(buffer))
        if not any(buffer[left:right]):
            return Fault.UNWRITTEN
    return Fault.DAMAGED


def _zero_sectors(buffer: bytes, offset: int, start: int, stop: int) -> int:
    """How many sectors' shares of buffer[start:stop] are nothing but zeros."""
    count = 0
    left = start
    while left < stop:
        right = min(left + SECTOR_BYTES - (offset + left) % SECTOR_BYTES, stop)
        count += buffer[left:right] == bytes(right - left)
        left = right
    return count
