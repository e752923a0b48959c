"""Owns the link this node dials to one peer: dials, greets, sends, and dials again when it ends.

Nothing but the reply to the hello is ever received on it. Its phases: waiting (for the next try),
resolving, connecting, greeting (hello sent), connected. Must not know what messages mean.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from statehouse_cluster.addresses import AddressError, Endpoint, Resolver, parse
from statehouse_cluster.connection import Connection, is_connected_to_itself, set_options
from statehouse_cluster.hello import (
    HELLO_BYTES_MAX,
    Hello,
    HelloReply,
    decode_reply,
    encode_hello,
    refused,
)
from statehouse_cluster.poller import WRITE, Poller
from statehouse_cluster.wire import WireError, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

DIAL_TIMEOUT_S: Final = 1.0
HELLO_TIMEOUT_S: Final = 2.0
UNACKNOWLEDGED_TIMEOUT_S: Final = 5.0
"""How long the other machine may leave what was sent without an answer. The kernel's own patience
would keep a link silent for a minute after a cut of the network has healed."""

BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 1.0
_BACKOFF_DOUBLINGS_MAX: Final = 10


class OutgoingCallbacks(Protocol):
    """What a link tells; always from within a poll or tick, never from a send."""

    def on_connected(self, name: str) -> None:
        """The peer took our hello: messages can be sent."""

    def on_disconnected(self, name: str) -> None:
        """A link that was connected has ended; it is being dialed again."""

    def on_refused(self, name: str, reply: HelloReply) -> None:
        """The peer, or this node on hearing who it is, refused; it is tried again later."""


@dataclass
class LinkContext:
    """What all links of a node share; `me` is replaced when the node's standing changes."""

    me: Hello
    poller: Poller
    clock: Callable[[], float]
    """Seconds, monotonic."""
    random: Random
    report: Callable[[str], None]


class _Phase(Enum):
    WAITING = "waiting"
    RESOLVING = "resolving"
    CONNECTING = "connecting"
    GREETING = "greeting"
    CONNECTED = "connected"
    CLOSED = "closed"


class OutgoingLink:
    """One peer's dialed link; starts to dial at once and keeps on until `close`."""

    def __init__(
        self,
        name: str,
        address: str,
        uuid: str,
        context: LinkContext,
        resolver: Resolver,
        callbacks: OutgoingCallbacks,
    ) -> None:
        self.name = name
        self.address = address
        self.uuid = uuid
        """What the peer must be; empty: not checked."""
        self._context = context
        self._resolver = resolver
        self._callbacks = callbacks
        self._phase = _Phase.WAITING
        self._deadline = context.clock()
        self._failures = 0
        self._attempt = 0
        self._last_reason = ""
        self._dialing: socket.socket | None = None
        self._connection: Connection | None = None

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent."""
        return self._phase is _Phase.CONNECTED

    @property
    def is_full(self) -> bool:
        """Whether the peer has the whole window still to read."""
        return self._connection is not None and self._connection.is_full

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be written."""
        return 0 if self._connection is None else self._connection.queued_bytes

    def send(self, message: Mapping[str, object]) -> bool:
        """Sends a message; False when not connected or the window has no room for it."""
        connection = self._connection
        if connection is None or self._phase is not _Phase.CONNECTED or connection.is_full:
            return False
        return connection.send(encode(message))

    def tick(self, now: float) -> None:
        """Begins the next try, or gives up one that takes too long."""
        if now < self._deadline:
            return
        if self._phase is _Phase.WAITING:
            self._start()
        elif self._phase is _Phase.CONNECTING:
            self._retry("no answer to dialing")
        elif self._phase is _Phase.GREETING:
            self._retry("no answer to the hello")

    def close(self) -> None:
        """Ends the link; no callback is made."""
        self._drop_socket()
        self._phase = _Phase.CLOSED

    def _start(self) -> None:
        self._attempt += 1
        attempt = self._attempt
        try:
            address = parse(self.address)
        except AddressError as error:
            self._retry(str(error))
            return
        self._phase = _Phase.RESOLVING

        def resolved(endpoints: list[Endpoint], reason: str) -> None:
            # An answer that comes after the link was closed or began anew is nobody's.
            if self._phase is _Phase.RESOLVING and self._attempt == attempt:
                if endpoints:
                    self._connect(endpoints[attempt % len(endpoints)])
                else:
                    self._retry(reason)

        self._resolver.resolve(address, resolved)

    def _connect(self, endpoint: Endpoint) -> None:
        dialing = None
        try:
            dialing = socket.socket(endpoint.family, socket.SOCK_STREAM)
            dialing.setblocking(False)
            set_options(dialing)
            dialing.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNACKNOWLEDGED_TIMEOUT_S * 1000)
            )
            result = dialing.connect_ex(endpoint.sockaddr)
        except OSError as error:
            if dialing is not None:
                dialing.close()
            self._retry(str(error))
            return
        self._dialing = dialing
        if result not in (0, errno.EINPROGRESS):
            self._retry(os.strerror(result))
            return
        self._phase = _Phase.CONNECTING
        self._deadline = self._context.clock() + DIAL_TIMEOUT_S
        self._context.poller.subscribe(dialing.fileno(), self._on_dialed, WRITE)

    def _on_dialed(self, descriptor: int, _mask: int) -> None:
        dialed, self._dialing = self._dialing, None
        if dialed is None:
            return
        self._context.poller.unsubscribe(descriptor)
        error = dialed.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error or is_connected_to_itself(dialed):
            dialed.close()
            self._retry(os.strerror(error) if error else "nobody listens there")
            return
        self._connection = Connection(
            dialed,
            self._context.poller,
            self._on_payload,
            self._retry,
            payload_bytes_max=HELLO_BYTES_MAX,
        )
        self._phase = _Phase.GREETING
        self._deadline = self._context.clock() + HELLO_TIMEOUT_S
        hello = msgspec.structs.replace(self._context.me, purpose="raft", target_name=self.name)
        self._connection.send(encode_hello(hello))

    def _on_payload(self, payload: bytes) -> None:
        if self._phase is not _Phase.GREETING:
            self._retry("it sent on a link that is ours to send on")
            return
        try:
            reply = decode_reply(payload)
        except WireError as error:
            self._retry(str(error))
            return
        reply = _check(reply, self.name, self.uuid, self._context.me.cluster_id)
        if not reply.ok:
            self._retry(f"{reply.code}: {reply.text}")
            self._callbacks.on_refused(self.name, reply)
            return
        self._phase = _Phase.CONNECTED
        self._failures = 0
        self._last_reason = ""
        self._callbacks.on_connected(self.name)

    def _retry(self, reason: str) -> None:
        """Waits for the next try; a reason is reported when it is another than the last one."""
        was_connected = self._phase is _Phase.CONNECTED
        self._drop_socket()
        backoff_s = BACKOFF_MIN_S * 2 ** min(self._failures, _BACKOFF_DOUBLINGS_MAX)
        self._failures += 1
        self._phase = _Phase.WAITING
        jitter = self._context.random.uniform(0.5, 1.0)
        self._deadline = self._context.clock() + min(backoff_s, BACKOFF_MAX_S) * jitter
        if reason != self._last_reason:
            self._last_reason = reason
            self._context.report(f"link to {self.name} at {self.address}: {reason}; trying again")
        if was_connected:
            self._callbacks.on_disconnected(self.name)

    def _drop_socket(self) -> None:
        if self._dialing is not None:
            self._context.poller.unsubscribe(self._dialing.fileno())
            self._dialing.close()
            self._dialing = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _check(reply: HelloReply, name: str, uuid: str, cluster_id: str) -> HelloReply:
    """The reply, or a refusal of this node's own when another than the one meant has answered."""
    if not reply.ok:
        return reply
    if reply.name != name:
        return refused(reply, "wrong-name", f"node {reply.name!r} answered instead of {name!r}")
    if uuid and reply.uuid != uuid:
        text = f"{name!r} answered with a disk that is not the one its cluster knows"
        return refused(reply, "wrong-uuid", text)
    if reply.cluster_id not in ("", cluster_id):
        text = f"{name!r} is of another cluster, {reply.cluster_id!r}"
        return refused(reply, "wrong-cluster", text)
    return reply
