"""Owns the bytes of replayed events on the wire, written without message objects in between.

A replay sends every event of an agent, and making message objects of them took most of the node's
time. What is written here says, field by field of statehouse.v2.Event, what a message filled by
convert.fill_event says; a test compares the two. Marks, which are rare, are made as messages.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from statehouse_proto.v2 import state_pb2
from statehouse_proto.varints import varint

from statehouse.core import marks
from statehouse.core.digest import HASH_BYTES
from statehouse.core.model import Kind, Metadata, operation_told
from statehouse.rpc import convert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statehouse.core.model import Event, EventOperationRow

_NO_METADATA = Metadata()
_TOMBSTONE = Kind.TOMBSTONE.value
# The tag of a field is its number and its type: 0 a varint, 2 bytes with their length before.
_HASH_TAGS = b"\x32" + varint(HASH_BYTES)
_VALUE_TAGS = {Kind.JSON.value: b"\x0a", Kind.BYTES.value: b"\x12"}


def replay_response(events: Sequence[bytes], served_at: int) -> bytes:
    """A statehouse.v2.ReplayResponse of events that are fields of it already."""
    return b"".join((*events, b"\x10", varint(served_at)))


def event_field(event: Event) -> bytes:
    """An event as a field of a ReplayResponse."""
    body, told, values = event.body, event.told, event.values
    txn_id = body.txn_id.encode()
    # Most events have one operation, and to join one costs more than to look.
    one = len(told) == 1
    rest = _operation(told[0], values[0]) if one else b"".join(map(_operation, told, values))
    if body.metadata != _NO_METADATA:
        rest = _sized(b"\x22", _metadata(body.metadata)) + rest
    encoded = b"\x08%b\x10%b\x1a%b%b%b%b%b" % (
        _growing(body.commit_ts),
        _moment(body.committed_at_us),
        varint(len(txn_id)),
        txn_id,
        rest,
        _HASH_TAGS,
        event.hash,
    )
    if event.canonical:
        encoded += _sized(b"\x3a", event.previous_hash) + _sized(b"\x42", event.canonical)
    return _sized(b"\x0a", encoded)


def _sized(tag: bytes, field: bytes) -> bytes:
    """A field with its length before."""
    return b"%b%b%b" % (tag, varint(len(field)), field)


def _growing(number: int) -> bytes:
    """As `varint`, for what grows from event to event by little: most of it stays the same."""
    if number < len(_LOW_BYTES):
        return varint(number)
    return _LOW_BYTES[number & 0x3FFF] + _high_bytes(number >> 14)


_LOW_BYTES = tuple([bytes((low & 0x7F | 0x80, low >> 7 | 0x80)) for low in range(1 << 14)])
_high_bytes = lru_cache(maxsize=256)(_growing)
# All commits of one entry of the log have the same.
_moment = lru_cache(maxsize=16)(varint)


def _operation(told: EventOperationRow, value: bytes) -> bytes:
    """An operation as a field of an event."""
    names = _names(told.namespace, told.agent_id, told.key)
    if not names:
        message = state_pb2.EventOperation()
        convert.fill_event_operation(message, operation_told(told, value))
        return _sized(b"\x2a", message.SerializeToString())
    version = varint(told.version)
    tags = b"" if told.kind == _TOMBSTONE else _value_tags(told.kind, len(value))
    size = varint(len(names) + len(version) + len(tags) + len(value))
    return b"\x2a%b%b%b%b%b" % (size, names, version, tags, value)


# The operations of a replay name few keys, each again and again, and their values are alike.
@lru_cache(maxsize=1024)
def _names(namespace: str, agent_id: str, key: str) -> bytes:
    """An operation up to its version; empty for a mark, which is told in another way."""
    if marks.is_mark(agent_id, key):
        return b""
    parts: list[bytes] = []
    for tag, name in ((b"\x0a", namespace), (b"\x12", agent_id), (b"\x1a", key)):
        encoded = name.encode()
        parts += (tag, varint(len(encoded)), encoded)
    return b"".join((*parts, b"\x20"))


@lru_cache(maxsize=1024)
def _value_tags(kind: int, size_bytes: int) -> bytes:
    """What stands before so many bytes of a value."""
    size = varint(size_bytes)
    whole = varint(1 + len(size) + size_bytes)
    return b"".join((b"\x2a", whole, _VALUE_TAGS[kind], size))


@lru_cache(maxsize=64)
def _metadata(metadata: Metadata) -> bytes:
    """Most transactions of an agent tell the same of themselves."""
    message = convert.metadata_to_wire(metadata)
    return b"" if message is None else message.SerializeToString()
