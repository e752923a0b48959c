"""Owns the bytes of a commit on the wire, written piece by piece as a transaction is filled.

A value is encoded when it is handed over; the rest of its operation is joined to it right there, so
that a commit only joins what lies ready. What is written is what statehouse.v2's messages would
serialize to, field by field; a test compares the two. Whatever is checked of a name, a value or a
number has been checked before (convert.py); this file is pure.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from statehouse_proto.varints import varint

from statehouse_sdk.convert import checked_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statehouse_sdk.op_ids import Op
    from statehouse_sdk.values import Encoded

# The tag of a field is its number and its type: 0 a varint, 2 bytes with their length before.
_OP_ID, _OPERATION, _PRECONDITION, _METADATA, _TXN_ID = b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a"


def place(namespace: str, agent_id: str, key: str) -> bytes:
    """The three names of a key: the first fields of an operation, a precondition and a get."""
    try:
        return _place(namespace, agent_id, key)
    except TypeError:
        # Not even a key of a cache can be made of it, so it is no string.
        checked_name(namespace, "namespace")
        checked_name(agent_id, "agent_id")
        checked_name(key, "key")
        raise


# A program comes back to most of its keys: they are checked and written once.
@lru_cache(maxsize=2048)
def _place(namespace: str, agent_id: str, key: str) -> bytes:
    return b"".join(
        (
            _text(b"\x0a", checked_name(namespace, "namespace")),
            _text(b"\x12", checked_name(agent_id, "agent_id")),
            _text(b"\x1a", checked_name(key, "key")),
        )
    )


def operation(place: bytes, value: Encoded | None) -> bytes:
    """A write, or (None) a delete, as a field of the request."""
    if value is None:
        return _field(_OPERATION, place)
    data, is_json = value
    size = varint(len(data))
    inside = 1 + len(size) + len(data)
    whole = varint(inside)
    length = varint(len(place) + 1 + len(whole) + inside)
    kind = b"\x0a" if is_json else b"\x12"
    return b"".join((_OPERATION, length, place, b"\x22", whole, kind, size, data))


def mark(serialized: bytes) -> bytes:
    """An operation that is a mark, as a field of the request; they are rare."""
    return _field(_OPERATION, serialized)


def expects_version(place: bytes, version: int) -> bytes:
    """A precondition: the key has this version."""
    return _field(_PRECONDITION, place + b"\x20" + varint(version))


def expects_absent(place: bytes) -> bytes:
    """A precondition: the key holds no value."""
    return _field(_PRECONDITION, place + b"\x28\x01")


def expects_unchanged_since(place: bytes, commit_ts: int) -> bytes:
    """A precondition: no later commit touched the key."""
    return _field(_PRECONDITION, place + b"\x30" + varint(commit_ts))


def metadata(serialized: bytes) -> bytes:
    """Metadata as a field of the request."""
    return _field(_METADATA, serialized)


def txn_id(name: str) -> bytes:
    """The id of the transaction as a field of the request."""
    written = name.encode()
    return b"".join((_TXN_ID, varint(len(written)), written))


def request(op: Op, acknowledged_through: int, fields: Sequence[bytes]) -> bytes:
    """A CommitRequest of those fields under this op id."""
    identity = op.identity
    begin, end = _of_identity(identity.client_id, identity.born_at)
    sequence, acknowledged = varint(op.sequence), varint(acknowledged_through)
    length = varint(len(begin) + len(sequence) + 1 + len(acknowledged) + len(end))
    return b"".join((_OP_ID, length, begin, sequence, b"\x18", acknowledged, end, *fields))


@lru_cache(maxsize=64)
def _of_identity(client_id: bytes, born_at: int) -> tuple[bytes, bytes]:
    """What all op ids of one client begin and end with."""
    return _field(b"\x0a", client_id) + b"\x10", b"\x20" + varint(born_at)


def _text(tag: bytes, text: str) -> bytes:
    return _field(tag, text.encode())


def _field(tag: bytes, data: bytes) -> bytes:
    return b"".join((tag, varint(len(data)), data))
