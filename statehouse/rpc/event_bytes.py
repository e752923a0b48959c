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
from statehouse.core.model import Kind, Metadata
from statehouse.rpc import convert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statehouse.core.model import Event, EventOperation

_NO_METADATA = Metadata()
_TOMBSTONE = Kind.TOMBSTONE.value
# The tag of a field is its number and its type: 0 a varint, 2 bytes with their length before.
_VALUE_TAGS = {Kind.JSON.value: b"\x0a", Kind.BYTES.value: b"\x12"}


def replay_response(events: Sequence[bytes], served_at: int) -> bytes:
    """A statehouse.v2.ReplayResponse of events that are fields of it already."""
    return b"".join((*events, b"\x10", varint(served_at)))


def event_field(event: Event) -> bytes:
    """An event as a field of a ReplayResponse."""
    parts = [b"\x08", varint(event.commit_ts), b"\x10", varint(event.committed_at_us)]
    txn_id = event.txn_id.encode()
    parts += (b"\x1a", varint(len(txn_id)), txn_id)
    if event.metadata != _NO_METADATA:
        metadata = _metadata(event.metadata)
        parts += (b"\x22", varint(len(metadata)), metadata)
    for operation in event.operations:
        encoded = _operation(operation)
        parts += (b"\x2a", varint(len(encoded)), encoded)
    parts += (b"\x32", varint(len(event.hash)), event.hash)
    if event.body:
        parts += (b"\x3a", varint(len(event.previous_hash)), event.previous_hash)
        parts += (b"\x42", varint(len(event.body)), event.body)
    encoded = b"".join(parts)
    return b"".join((b"\x0a", varint(len(encoded)), encoded))


def _operation(operation: EventOperation) -> bytes:
    if marks.is_mark(operation.agent_id, operation.key):
        message = state_pb2.EventOperation()
        convert.fill_event_operation(message, operation)
        return message.SerializeToString()
    namespace, agent_id = operation.namespace.encode(), operation.agent_id.encode()
    key, kind = operation.key.encode(), operation.kind
    parts = [
        b"\x0a",
        varint(len(namespace)),
        namespace,
        b"\x12",
        varint(len(agent_id)),
        agent_id,
        b"\x1a",
        varint(len(key)),
        key,
        b"\x20",
        varint(operation.version),
    ]
    if kind != _TOMBSTONE:
        size = varint(len(operation.value))
        whole = varint(1 + len(size) + len(operation.value))
        parts += (b"\x2a", whole, _VALUE_TAGS[kind], size, operation.value)
    return b"".join(parts)


@lru_cache(maxsize=64)
def _metadata(metadata: Metadata) -> bytes:
    """Most transactions of an agent tell the same of themselves."""
    message = convert.metadata_to_wire(metadata)
    return b"" if message is None else message.SerializeToString()
