"""Owns what peers open to this node: the listener, the hello of each connection, one link a name.

Nothing but replies to hellos is ever sent on an accepted connection. A connection is a guest until
its hello was taken; guests are few and have little time. The newest taken connection of a name
closes the one before it, so that no late frame of an older connection is ever handed on. Must not
know what messages mean, nor who may connect: `admit` says that.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Final, Protocol

from statehouse_cluster.addresses import Address, look_up
from statehouse_cluster.connection import Connection, set_options
from statehouse_cluster.hello import (
    HELLO_BYTES_MAX,
    Hello,
    HelloReply,
    decode_hello,
    encode_reply,
)
from statehouse_cluster.outgoing import HELLO_TIMEOUT_S, LinkContext
from statehouse_cluster.poller import READ
from statehouse_cluster.wire import FRAME_BYTES_MAX, WireError, decode

GUESTS_MAX: Final = 64
"""Connections that have not completed their hello; one more closes the oldest."""

ACCEPTS_MAX: Final = 16
"""Connections accepted for one readiness of the listener."""

ACCEPT_PAUSE_S: Final = 0.1
"""How long the listener rests after an accept failed for want of descriptors or memory."""

_BACKLOG: Final = 128
_SCARCE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class IncomingCallbacks(Protocol):
    """What accepted connections tell and ask; always from within a poll."""

    def admit(self, hello: Hello) -> HelloReply:
        """Decides about a hello of any purpose; the reply of a refusal is sent, too."""

    def on_message(self, name: str, message: dict[str, object]) -> None:
        """A message of an admitted peer."""

    def on_peer_closed(self, name: str) -> None:
        """The peer's connection to us ended, and no newer one stands in for it."""

    def on_snapshot_request(self, connection: socket.socket, hello: Hello) -> None:
        """An admitted fetcher's socket, its reply sent; blocking, and the owner's from here on."""


@dataclass(eq=False)
class _Guest:
    connection: Connection
    address: str
    deadline: float
    answered: bool = False
    """Its hello was refused or a probe: it has its reply and should close."""


def open_listener(host: str, port: int) -> socket.socket:
    """A non-blocking listening socket; port 0 lets the kernel pick. OSError if it cannot be."""
    endpoint = look_up(Address(host, port))[0]
    listener = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(endpoint.sockaddr)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class IncomingLinks:
    """All accepted connections of a node."""

    def __init__(self, context: LinkContext, callbacks: IncomingCallbacks) -> None:
        self._context = context
        self._callbacks = callbacks
        self._listener: socket.socket | None = None
        self._resume_at: float | None = None
        self._guests: dict[_Guest, None] = {}
        """Oldest first."""
        self._links: dict[str, Connection] = {}

    @property
    def names(self) -> frozenset[str]:
        """The peers with a live connection to this node."""
        return frozenset(self._links)

    @property
    def guest_count(self) -> int:
        """Connections whose hello was not taken."""
        return len(self._guests)

    def serve(self, listener: socket.socket) -> None:
        """Accepts from a non-blocking listening socket, which stays the caller's to close."""
        self._listener = listener
        self._context.poller.subscribe(listener.fileno(), self._on_acceptable, READ)

    def drop(self, name: str) -> None:
        """Closes a peer's connection, if it has one; no callback is made."""
        connection = self._links.pop(name, None)
        if connection is not None:
            connection.close()

    def tick(self, now: float) -> None:
        """Ends guests that take too long; lets a paused listener go on."""
        for guest in [guest for guest in self._guests if guest.deadline <= now]:
            reason = "" if guest.answered else "no hello in time"
            self._dismiss(guest, reason)
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            if self._listener is not None:
                self.serve(self._listener)

    def close(self) -> None:
        """Ends all accepted connections and stops accepting; no callback is made."""
        if self._listener is not None:
            self._context.poller.unsubscribe(self._listener.fileno())
            self._listener = None
        for guest in list(self._guests):
            self._dismiss(guest, "")
        for name in list(self._links):
            self.drop(name)

    def _on_acceptable(self, descriptor: int, _mask: int) -> None:
        for _ in range(ACCEPTS_MAX):
            if self._listener is None:
                return
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _SCARCE:
                    continue  # That connection failed, not the listener.
                # It would be ready again at once: rest, so that the others go on.
                self._context.poller.unsubscribe(descriptor)
                self._resume_at = self._context.clock() + ACCEPT_PAUSE_S
                self._context.report(f"a connection cannot be accepted: {error}; trying again")
                return
            self._welcome(accepted, f"{address[0]}:{address[1]}")

    def _welcome(self, accepted: socket.socket, address: str) -> None:
        try:
            accepted.setblocking(False)
            set_options(accepted)
        except OSError:
            accepted.close()  # It is gone already.
            return
        if len(self._guests) >= GUESTS_MAX:
            self._dismiss(next(iter(self._guests)), "too many connections without a hello")
        connection = Connection(
            accepted,
            self._context.poller,
            lambda payload: self._on_hello(guest, payload),
            lambda reason: self._dismiss(guest, "" if guest.answered else reason),
            payload_bytes_max=HELLO_BYTES_MAX,
        )
        guest = _Guest(connection, address, self._context.clock() + HELLO_TIMEOUT_S)
        self._guests[guest] = None

    def _dismiss(self, guest: _Guest, reason: str) -> None:
        self._guests.pop(guest, None)
        guest.connection.close()
        if reason:
            self._context.report(f"connection from {guest.address}: {reason}; closed")

    def _on_hello(self, guest: _Guest, payload: bytes) -> None:
        if guest.answered or not guest.connection.is_between_frames:
            self._dismiss(guest, "it went on without waiting for the reply to its hello")
            return
        try:
            hello = decode_hello(payload)
        except WireError as error:
            self._dismiss(guest, str(error))
            return
        reply = self._callbacks.admit(hello)
        if not guest.connection.send(encode_reply(reply)):
            self._dismiss(guest, "the reply to its hello could not be sent")
        elif not reply.ok or hello.purpose == "probe":
            guest.answered = True
            if not reply.ok:
                who = f"{hello.name} at {guest.address}"
                self._context.report(f"connection of {who} refused: {reply.code}: {reply.text}")
        elif hello.purpose == "raft":
            self._take(guest, hello.name)
        else:
            self._hand_over(guest, hello)

    def _take(self, guest: _Guest, name: str) -> None:
        del self._guests[guest]
        self.drop(name)
        connection = guest.connection
        connection.allow_payloads(FRAME_BYTES_MAX)
        connection.rebind(
            lambda payload: self._on_payload(name, connection, payload),
            lambda reason: self._on_end(name, connection, reason),
        )
        self._links[name] = connection

    def _hand_over(self, guest: _Guest, hello: Hello) -> None:
        if guest.connection.queued_bytes:
            self._dismiss(guest, "the reply to its hello could not be sent")
            return
        del self._guests[guest]
        connection = guest.connection.detach()
        connection.setblocking(True)
        self._callbacks.on_snapshot_request(connection, hello)

    def _on_payload(self, name: str, connection: Connection, payload: bytes) -> None:
        try:
            message = decode(payload)
        except WireError as error:
            connection.fail(str(error))
            return
        self._callbacks.on_message(name, message)

    def _on_end(self, name: str, connection: Connection, reason: str) -> None:
        if self._links.get(name) is connection:
            del self._links[name]
            self._context.report(f"link from {name}: {reason}")
            self._callbacks.on_peer_closed(name)
