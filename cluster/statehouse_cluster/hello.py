"""Owns the handshake: what two nodes tell each other before a connection means anything; pure.

A connection opens with one `Hello` of the side that dialed and one `HelloReply` of the side that
accepted, each in a frame of wire.py. Both begin with a mark and the protocol version, so that a
node of another version is told apart from garbage. `judge` is the rule by which a hello is
answered; it must not know sockets, disks or Raft.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import msgspec

from statehouse_cluster.interfaces import Member
from statehouse_cluster.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL_VERSION: Final = 1

HELLO_BYTES_MAX: Final = 64 * 1024
"""Bytes of the payload of a frame that holds a hello or its reply."""

TEXT_LENGTH_MAX: Final = 4096
"""Characters of one text in a hello."""

_HEAD: Final = struct.Struct("!4sBH")
_MAGIC: Final = b"SHPP"

Text = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH_MAX)]
Purpose = Literal["raft", "snapshot", "probe"]
State = Literal["forming", "joining", "member", "removed"]
Code = Literal[
    "",
    "wrong-cluster",
    "wrong-name",
    "unknown-member",
    "wrong-uuid",
    "removed",
    "not-ready",
    "version",
]


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Who dials, and what for."""

    purpose: Purpose
    name: Text
    uuid: Text
    cluster_id: Text
    """Empty while the node belongs to none."""
    peer_address: Text
    client_address: Text
    target_name: Text = ""
    """Whom the dialer wants to reach; empty: whoever listens there."""
    snapshot_id: Text = ""


class HelloReply(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    """Who accepted, what it knows, and whether it takes the connection."""

    ok: bool
    code: Code
    """Empty if and only if `ok`."""
    text: Text
    """The refusal in words."""
    name: Text
    uuid: Text
    cluster_id: Text
    """In state "forming": of the first configuration it has bound itself to, else empty."""
    peer_address: Text
    client_address: Text
    state: State
    members: tuple[Member, ...] = ()
    """In state "forming": the nodes it was told to form with, those not met without uuid."""


class VersionMismatch(WireError):
    """A hello or reply of another protocol version."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"the other side speaks peer protocol version {version}, this node {PROTOCOL_VERSION}; "
            "run releases that share a version"
        )
        self.version = version


def encode_hello(hello: Hello) -> bytes:
    """The payload of a hello; WireError if it is too large."""
    return _encode(1, hello)


def decode_hello(payload: bytes) -> Hello:
    """The hello in a payload; VersionMismatch or another WireError."""
    return _decode(1, payload, _HELLO)


def encode_reply(reply: HelloReply) -> bytes:
    """The payload of a reply; WireError if it is too large."""
    return _encode(2, reply)


def decode_reply(payload: bytes) -> HelloReply:
    """The reply in a payload; VersionMismatch or another WireError."""
    reply = _decode(2, payload, _REPLY)
    if reply.ok != (reply.code == ""):
        raise WireError("a hello reply says both yes and no")
    return reply


def refused(me: HelloReply, code: Code, text: str) -> HelloReply:
    """`me` with a refusal."""
    return msgspec.structs.replace(me, ok=False, code=code, text=text)


def judge(hello: Hello, me: HelloReply, known: Iterable[Member] = ()) -> HelloReply:
    """The answer of a node to a hello: `me`, or `me` with a refusal.

    `me` is what the node tells of itself (ok, no code). `known` are those who may speak Raft to it
    or fetch from it: its members and those it is about to add. A joiner takes any cluster's hello
    until it belongs to one.
    """
    if hello.target_name not in ("", me.name) or hello.name == me.name:
        text = f"this is node {me.name!r}; {hello.name!r} looked for {hello.target_name!r} here"
        return refused(me, "wrong-name", text)
    if hello.purpose == "probe":
        return me
    if me.state == "removed":
        return refused(me, "removed", f"node {me.name!r} was removed from its cluster")
    if me.state == "forming" or not hello.cluster_id:
        who = me.name if me.state == "forming" else hello.name
        return refused(me, "not-ready", f"{who!r} has no cluster yet; nothing to do but wait")
    if hello.cluster_id != me.cluster_id and not (me.state == "joining" and not me.cluster_id):
        text = f"{me.name!r} is of cluster {me.cluster_id!r}, {hello.name!r} is not"
        return refused(me, "wrong-cluster", text)
    return me if me.state == "joining" else _judge_member(hello, me, known)


def _judge_member(hello: Hello, me: HelloReply, known: Iterable[Member]) -> HelloReply:
    member = next((member for member in known if member.name == hello.name), None)
    if member is None:
        text = f"{hello.name!r} is no member of the cluster {me.cluster_id!r}; add it first"
        return refused(me, "unknown-member", text)
    if member.uuid != hello.uuid:
        text = (
            f"the disk of {hello.name!r} is not the one its cluster knows; remove the member and "
            "add the node under a new name"
        )
        return refused(me, "wrong-uuid", text)
    return me


_T = TypeVar("_T", bound=msgspec.Struct)
_HELLO: Final = msgspec.msgpack.Decoder(Hello)
_REPLY: Final = msgspec.msgpack.Decoder(HelloReply)


def _encode(kind: int, message: msgspec.Struct) -> bytes:
    try:
        body = msgspec.msgpack.encode(message)
    except UnicodeEncodeError as error:
        raise WireError(f"a hello holds text that is no Unicode: {error}") from error
    if len(body) > HELLO_BYTES_MAX - _HEAD.size:
        raise WireError(f"a hello of {len(body)} bytes is over {HELLO_BYTES_MAX=}")
    return _HEAD.pack(_MAGIC, kind, PROTOCOL_VERSION) + body


def _decode(kind: int, payload: bytes, decoder: msgspec.msgpack.Decoder[_T]) -> _T:
    if len(payload) < _HEAD.size or len(payload) > HELLO_BYTES_MAX:
        raise WireError(f"{len(payload)} bytes are no hello")
    magic, kind_sent, version = _HEAD.unpack_from(payload)
    if magic != _MAGIC or kind_sent != kind:
        raise WireError("what came first is no hello of this protocol")
    if version != PROTOCOL_VERSION:
        raise VersionMismatch(version)
    body = payload[_HEAD.size :]
    try:
        message = decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"a hello is malformed: {error}") from error
    if msgspec.msgpack.encode(message) != body:
        raise WireError("a hello is not in its one encoding")
    return message
