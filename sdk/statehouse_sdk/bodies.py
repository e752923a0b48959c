"""Owns the reading of an event's canonical bytes, those that its hash covers. Pure.

They are a format number and then MessagePack: the few kinds of it that the server writes. Anything
else is a BodyError; nothing here believes a length it has not seen.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_FORMAT: Final = b"\x01"
_PARTS: Final = 8
_LENGTHS: Final = {
    **dict.fromkeys((0xC4, 0xD9), 1),
    **dict.fromkeys((0xC5, 0xDA, 0xDC), 2),
    **dict.fromkeys((0xC6, 0xDB, 0xDD), 4),
}
"""Bytes that say how long the binary, text or array after them is."""
_NUMBERS: Final = {0xCC: (1, False), 0xCD: (2, False), 0xCE: (4, False), 0xCF: (8, False)} | {
    0xD0: (1, True),
    0xD1: (2, True),
    0xD2: (4, True),
    0xD3: (8, True),
}


class BodyError(ValueError):
    """These are not the bytes of an event."""


class BodyOperation(NamedTuple):
    """One operation, with the SHA-256 of its value; kind 0: a delete, 1: JSON, 2: raw bytes."""

    namespace: str
    agent_id: str
    key: str
    version: int
    kind: int
    digest: bytes


class Body(NamedTuple):
    """What an event's hash covers, besides the hash before it."""

    commit_ts: int
    committed_at_us: int
    txn_id: str
    metadata: tuple[Any, ...]
    """actor, reason, run_id, tool_call_id, causes, and pairs of free-form strings."""
    operations: tuple[BodyOperation, ...]


def body_of(data: bytes) -> Body:
    """What the canonical bytes of an event say; BodyError if they are none."""
    if data[:1] != _FORMAT:
        raise BodyError(f"an event of unknown format {data[:1].hex() or 'none'}")
    try:
        parts, end = _read(data, 1)
        if end != len(data) or not isinstance(parts, list) or len(parts) != _PARTS:
            raise BodyError("the bytes of an event have a wrong length")
        commit_ts, committed_at_us, txn_id, _, _, metadata, _, operations = parts
        return Body(
            commit_ts,
            committed_at_us,
            txn_id,
            tuple(metadata),
            tuple(BodyOperation(*operation) for operation in operations),
        )
    except (TypeError, IndexError, UnicodeDecodeError, RecursionError) as error:
        raise BodyError(f"the bytes of an event are malformed: {error}") from None


def begins(data: bytes, commit_ts: int) -> bool:
    """Whether these are the bytes of the event of that commit_ts; quicker than reading them."""
    return data.startswith(_FORMAT + bytes([0x90 + _PARTS]) + _packed(commit_ts))


def _packed(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    for code, (size, signed) in _NUMBERS.items():
        if not signed and number < 1 << 8 * size:
            return bytes([code]) + number.to_bytes(size, "big")
    raise BodyError(f"{number} is no commit_ts")


def _read(data: bytes, start: int) -> tuple[Any, int]:
    """The value that begins there, and where the next one does."""
    code, start = data[start], start + 1
    if code < 0x80:
        return code, start
    if code >= 0xE0:
        return code - 0x100, start
    if code in _NUMBERS:
        size, signed = _NUMBERS[code]
        return int.from_bytes(_cut(data, start, size), "big", signed=signed), start + size
    if code in _LENGTHS:
        size = _LENGTHS[code]
        length = int.from_bytes(_cut(data, start, size), "big")
        start += size
    elif 0x90 <= code < 0xC0:
        length = code & (0x0F if code < 0xA0 else 0x1F)
    else:
        raise TypeError(f"kind {code:#x} is never written")
    if code in (0xDC, 0xDD) or 0x90 <= code < 0xA0:
        return _read_items(data, start, length)
    part = _cut(data, start, length)
    return (part if code in (0xC4, 0xC5, 0xC6) else part.decode()), start + length


def _read_items(data: bytes, start: int, count: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(count):
        item, start = _read(data, start)
        items.append(item)
    return items, start


def _cut(data: bytes, start: int, size: int) -> bytes:
    part = data[start : start + size]
    if len(part) != size:
        raise IndexError("they end too early")
    return part
