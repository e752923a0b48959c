"""Owns the bytes between peers: frames, and Raft messages in a fixed schema; no input can hurt.

Pure: bytes in, values out. A frame is u32 length, u32 CRC-32 of the payload, payload; all numbers
are big-endian. A message is one byte of kind, the sender's term, then the fields of its kind. Each
message has exactly one encoding: `decode` refuses every other, and refuses with `WireError` only.
Messages are dictionaries in the words of pysyncobj, which makes and reads them. This file knows no
socket, and no rule of Raft but that the entries of one message follow each other. The handshake has
a file of its own, hello.py.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of one frame's payload."""

SNAPSHOT_ID_BYTES_MAX: Final = 256
"""UTF-8 bytes of a snapshot id."""

_FRAME: Final = struct.Struct("!II")
_APPEND: Final = struct.Struct("!BQQQQBQQI")
_ENTRY: Final = struct.Struct("!IQQ")
_APPEND_NUMBER: Final = 1
_APPEND_TYPE: Final = "append_entries"
_APPEND_FIELD_COUNT: Final = 8
_U64_MAX: Final = 2**64 - 1

WireEntry = tuple[bytes, int, int]
"""Payload, index and term: pysyncobj's order."""


class WireError(Exception):
    """Bytes that are no frame or message of this protocol, or a message that has no bytes in it."""


class _Schema(NamedTuple):
    number: int
    type: str
    layout: struct.Struct
    fields: tuple[str, ...]
    """After kind and x_term, in order; those in `flags` are one byte, the others u64."""
    flags: frozenset[str]
    has_snapshot_id: bool


def _schema(number: int, type_: str, *fields: str, snapshot_id: bool = False) -> _Schema:
    """A field named "flag:x" is the boolean x."""
    layout = "".join("B" if field.startswith("flag:") else "Q" for field in fields)
    return _Schema(
        number=number,
        type=type_,
        layout=struct.Struct("!BQ" + layout),
        fields=tuple(field.removeprefix("flag:") for field in fields),
        flags=frozenset(field[5:] for field in fields if field.startswith("flag:")),
        has_snapshot_id=snapshot_id,
    )


_SCHEMAS: Final = (
    _schema(2, "next_node_idx", "next_node_idx", "flag:reset", "flag:success", "x_round"),
    _schema(3, "request_vote", "term", "last_log_index", "last_log_term", "flag:x_transfer"),
    _schema(4, "response_vote", "term"),
    _schema(5, "x_reject"),
    _schema(6, "x_removed"),
    _schema(7, "x_prevote", "next", "last_log_index", "last_log_term"),
    _schema(8, "x_prevote_ok", "next"),
    _schema(9, "x_timeout_now", "term"),
    _schema(10, "x_snap_offer", "term", "snap_index", "snap_term", "x_round", snapshot_id=True),
)
_BY_TYPE: Final = {schema.type: schema for schema in _SCHEMAS}
_BY_NUMBER: Final = {schema.number: schema for schema in _SCHEMAS}

MESSAGE_TYPES: Final = frozenset(_BY_TYPE) | {_APPEND_TYPE}
"""Every value of a message's `type`."""


def encode(message: Mapping[str, object]) -> bytes:
    """The payload of a message; WireError if a field is missing, unknown or out of its range."""
    try:
        if message["type"] == _APPEND_TYPE:
            return _encode_append(message)
        return _encode_plain(_BY_TYPE[cast("str", message["type"])], message)
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise WireError(f"a message cannot be sent: {error!r}") from error


def decode(payload: bytes) -> dict[str, object]:
    """The message in a payload; WireError for anything `encode` would not have made."""
    if not payload:
        raise WireError("an empty message")
    try:
        if payload[0] == _APPEND_NUMBER:
            return _decode_append(payload)
        schema = _BY_NUMBER.get(payload[0])
        if schema is None:
            raise WireError(f"unknown message kind {payload[0]}")
        return _decode_plain(schema, payload)
    except (struct.error, UnicodeDecodeError) as error:
        raise WireError(f"a message of kind {payload[0]} is malformed: {error}") from error


def frame(payload: bytes) -> bytes:
    """The frame around a payload; WireError if the payload is over FRAME_BYTES_MAX."""
    if len(payload) > FRAME_BYTES_MAX:
        raise WireError(f"a payload of {len(payload)} bytes is over {FRAME_BYTES_MAX=}")
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


class FrameReader:
    """Turns a stream of bytes into payloads; holds at most one unfinished frame.

    After a WireError the stream has no known place any more: the connection must be closed.
    """

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        """The largest payload accepted; the owner may raise it once it knows its peer."""
        self._buffer = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the unfinished frame; 0 between frames."""
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """The payloads completed by `data`; WireError for an oversized or damaged frame."""
        buffer = self._buffer
        buffer += data
        payloads = []
        start = 0
        while len(buffer) - start >= _FRAME.size:
            size, checksum = _FRAME.unpack_from(buffer, start)
            if size > self.bytes_max:
                raise WireError(f"a frame of {size} bytes is over the limit of {self.bytes_max}")
            end = start + _FRAME.size + size
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                payload = bytes(view[start + _FRAME.size : end])
            if zlib.crc32(payload) != checksum:
                raise WireError(f"a frame of {size} bytes has a wrong checksum")
            payloads.append(payload)
            start = end
        del buffer[:start]
        return payloads


def _encode_plain(schema: _Schema, message: Mapping[str, object]) -> bytes:
    _require(len(message) == 2 + len(schema.fields) + schema.has_snapshot_id, "unknown fields")
    for name in schema.flags:
        _require(isinstance(message[name], bool), f"{name} is not a boolean")
    fields = [message[name] for name in schema.fields]
    head = schema.layout.pack(schema.number, message["x_term"], *fields)
    if not schema.has_snapshot_id:
        return head
    snapshot_id = cast("str", message["snapshot_id"]).encode()
    _require(len(snapshot_id) <= SNAPSHOT_ID_BYTES_MAX, "the snapshot id is too long")
    return head + snapshot_id


def _decode_plain(schema: _Schema, payload: bytes) -> dict[str, object]:
    _, x_term, *values = schema.layout.unpack_from(payload)
    message: dict[str, object] = {"type": schema.type, "x_term": x_term}
    message.update(zip(schema.fields, values, strict=True))
    for name in schema.flags:
        _require(message[name] in (0, 1), f"{name} is neither 0 nor 1")
        message[name] = message[name] == 1
    tail = payload[schema.layout.size :]
    if schema.has_snapshot_id:
        _require(len(tail) <= SNAPSHOT_ID_BYTES_MAX, "the snapshot id is too long")
        message["snapshot_id"] = tail.decode()
    else:
        _require(not tail, "bytes after the end")
    return message


def _encode_append(message: Mapping[str, object]) -> bytes:
    _require(len(message) == _APPEND_FIELD_COUNT, "unknown fields")
    previous_index, previous_term = message["prevLogIdx"], message["prevLogTerm"]
    _require((previous_index is None) == (previous_term is None), "half of a previous entry")
    entries = cast("Sequence[WireEntry]", message["entries"])
    parts = [
        _APPEND.pack(
            _APPEND_NUMBER,
            message["x_term"],
            message["term"],
            message["commit_index"],
            message["x_round"],
            previous_index is not None,
            previous_index or 0,
            previous_term or 0,
            len(entries),
        )
    ]
    index_before, term_before = cast("int | None", previous_index), cast("int", previous_term or 0)
    for payload, index, term in entries:
        _require_next(index_before, term_before, index, term)
        parts.append(_ENTRY.pack(len(payload), index, term))
        parts.append(payload)
        index_before, term_before = index, term
    return b"".join(parts)


def _decode_append(payload: bytes) -> dict[str, object]:
    _, x_term, term, commit_index, x_round, has_previous, index, previous_term, count = (
        _APPEND.unpack_from(payload)
    )
    _require(has_previous in (0, 1), "the mark of a previous entry is neither 0 nor 1")
    _require(bool(has_previous) or index == previous_term == 0, "an unmarked previous entry")
    previous_index = index if has_previous else None
    return {
        "type": _APPEND_TYPE,
        "x_term": x_term,
        "term": term,
        "commit_index": commit_index,
        "prevLogIdx": previous_index,
        "prevLogTerm": previous_term if has_previous else None,
        "entries": _decode_entries(payload, count, previous_index, previous_term),
        "x_round": x_round,
    }


def _decode_entries(
    payload: bytes, count: int, index_before: int | None, term_before: int
) -> list[WireEntry]:
    place = _APPEND.size
    _require(count * _ENTRY.size <= len(payload) - place, "more entries told than sent")
    entries = []
    for _ in range(count):
        size, index, term = _ENTRY.unpack_from(payload, place)
        _require_next(index_before, term_before, index, term)
        place += _ENTRY.size
        content = payload[place : place + size]
        _require(len(content) == size, "an entry is cut short")
        entries.append((content, index, term))
        place += size
        index_before, term_before = index, term
    _require(place == len(payload), "bytes after the end")
    return entries


def _require_next(index_before: int | None, term_before: int, index: int, term: int) -> None:
    """Entries without a previous one have no place in a log, nor do gaps or falling terms."""
    _require(index_before is not None, "entries without the one before them")
    _require(index == cast("int", index_before) + 1, "entries do not follow each other")
    _require(term >= term_before, "the terms of entries go down")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise WireError(f"a message is malformed: {what}")
