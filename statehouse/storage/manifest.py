"""Owns the question whether RocksDB's own list of its files is whole.

The MANIFEST is a log of edits. RocksDB takes some damage to it (a wrong length, say) for the end of
a log that was being written when the machine stopped, forgets the files named after it, and
deletes them; a wrong record type makes some versions read for ever. So every record is checked
here before RocksDB sees the file. A record that cannot be read is damage when any record that can
be read comes after it; else it may be the torn end that a crash leaves, which is for the caller to
judge by what the database then holds.

Format: blocks of 32 KiB; in them records of masked CRC-32C (4 bytes, little endian, over type and
content), length (2), type (1: whole, 2 to 4: first, middle and last part), content; a block's last
bytes, too few for a header, are zeros. It must not know what the records say.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TYPE_CHECKING

from statehouse.storage.faults import REPLACE_MEMBER, StoreRefused

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK_BYTES = 32 * 1024
_HEADER = Struct("<IHB")
_TYPES = range(1, 5)
_NAME = re.compile(rb"MANIFEST-\d+\n")


def manifest_is_whole(database: Path) -> bool:
    """Whether every record can be read; False: all but the end. Raises StoreRefused for damage."""
    file = _manifest(database)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _damaged(file, f"it cannot be read: {error}") from error
    place = 0
    while place < len(content):
        length = _record_bytes(content, place)
        if length is None:
            break
        place += length
    if place >= len(content) and content:
        return True
    if len(content) - place >= _HEADER.size and content[place + _HEADER.size - 1] > _TYPES[-1]:
        raise _damaged(file, f"the record at byte {place} has an unknown type")
    for later in range(place + 1, len(content)):
        if _is_record(content, later):
            raise _damaged(file, f"the record at byte {place} is damaged")
    return False


def _manifest(database: Path) -> Path:
    pointer = database / "CURRENT"
    try:
        name = pointer.read_bytes()
    except OSError as error:
        raise _damaged(pointer, f"it cannot be read: {error}") from error
    if not _NAME.fullmatch(name):
        raise _damaged(pointer, "it names no manifest")
    return database / name.decode().strip()


def _record_bytes(content: bytes, place: int) -> int | None:
    """Bytes from here to the next record; None when there is no whole record here."""
    left = _BLOCK_BYTES - place % _BLOCK_BYTES
    if left < _HEADER.size:
        rest = content[place : place + left]
        return left if rest == bytes(len(rest)) else None
    if not _is_record(content, place):
        return None
    length: int = _HEADER.unpack_from(content, place)[1]
    return _HEADER.size + length


def _is_record(content: bytes, place: int) -> bool:
    block_end = min(len(content), place - place % _BLOCK_BYTES + _BLOCK_BYTES)
    if block_end - place < _HEADER.size:
        return False
    header: tuple[int, int, int] = _HEADER.unpack_from(content, place)
    checksum, length, kind = header
    end = place + _HEADER.size + length
    if kind not in _TYPES or end > block_end:
        return False
    # The type is the header's last byte, and the checksum begins with it.
    return checksum == _masked(_crc32c(content[place + _HEADER.size - 1 : end]))


def _damaged(file: Path, what: str) -> StoreRefused:
    return StoreRefused(f"{file} is damaged: {what}; {REPLACE_MEMBER}")


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc32c_table()


def _crc32c(data: bytes) -> int:
    """CRC-32C; the standard library has other polynomials only, and a manifest is small."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _masked(checksum: int) -> int:
    """As it is stored: a checksum of data that holds checksums would be weak."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
