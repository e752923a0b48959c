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


@lru_cache(maxsize=1024)
def scope(namespace: str, agent_id: str) -> bytes:
    """The first two fields of an operation and of a precondition; most have the same."""
    return _text(b"\x0a", checked_name(namespace, "namespace")) + _text(
        b"\x12", checked_name(agent_id, "agent_id")
    )


def operation(scope: bytes, key: str, value: Encoded | None) -> bytes:
    """A write, or (None) a delete, as a field of the request."""
    name = key.encode()
    if value is None:
        return _field(_OPERATION, b"".join((scope, b"\x1a", varint(len(name)), name)))
    data = value.data
    size = varint(len(data))
    whole = varint(1 + len(size) + len(data))
    head = b"".join((scope, b"\x1a", varint(len(name)), name, b"\x22", whole))
    kind = b"\x0a" if value.is_json else b"\x12"
    length = varint(len(head) + 1 + len(size) + len(data))
    return b"".join((_OPERATION, length, head, kind, size, data))


def mark(serialized: bytes) -> bytes:
    """An operation that is a mark, as a field of the request; they are rare."""
    return _field(_OPERATION, serialized)


def expects_version(scope: bytes, key: str, version: int) -> bytes:
    """A precondition: the key has this version."""
    return _precondition(scope, key, b"\x20" + varint(version))


def expects_absent(scope: bytes, key: str) -> bytes:
    """A precondition: the key holds no value."""
    return _precondition(scope, key, b"\x28\x01")


def expects_unchanged_since(scope: bytes, key: str, commit_ts: int) -> bytes:
    """A precondition: no later commit touched the key."""
    return _precondition(scope, key, b"\x30" + varint(commit_ts))


def metadata(serialized: bytes) -> bytes:
    """Metadata as a field of the request."""
    return _field(_METADATA, serialized)


def txn_id(name: str) -> bytes:
    """The id of the transaction as a field of the request."""
    return _text(_TXN_ID, name)


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


def _precondition(scope: bytes, key: str, expected: bytes) -> bytes:
    return _field(_PRECONDITION, scope + _text(b"\x1a", key) + expected)


def _text(tag: bytes, text: str) -> bytes:
    return _field(tag, text.encode())


def _field(tag: bytes, data: bytes) -> bytes:
    return b"".join((tag, varint(len(data)), data))
