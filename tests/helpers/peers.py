"""Nodes that are nothing but their peer links, on real loopback sockets, several in one thread.

A `Peer` records what its links tell it; `until` runs the pollers and timers of all peers given
until a condition holds. It knows no Raft.
"""

from __future__ import annotations

import contextlib
import socket
import time
from random import Random
from typing import TYPE_CHECKING

from statehouse_cluster.hello import Hello, HelloReply, decode_reply, encode_hello, judge
from statehouse_cluster.interfaces import Member
from statehouse_cluster.links import PeerLinks
from statehouse_cluster.poller import Poller
from statehouse_cluster.wire import FrameReader, frame

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 10.0


class Peer:
    """One node; it knows the members it is given, and answers hellos as a member of them."""

    def __init__(self, name: str, *, uuid: str = "", cluster_id: str = "c1", port: int = 0) -> None:
        self.name = name
        self.uuid = uuid or f"uuid-{name}"
        self.cluster_id = cluster_id
        self.members: tuple[Member, ...] = tuple(
            Member(known, f"uuid-{known}", "", "") for known in ("a", "b", "c")
        )
        self.poller = Poller()
        self.connected: list[str] = []
        self.disconnected: list[str] = []
        self.refusals: list[tuple[str, str]] = []
        self.messages: list[tuple[str, dict[str, object]]] = []
        self.closed_by: list[str] = []
        self.fetchers: list[tuple[socket.socket, Hello]] = []
        self.reports: list[str] = []
        self.react: Callable[[str, dict[str, object]], None] = lambda name, message: None
        self.ahead_s = 0.0
        """Added to the clock, so that a test need not wait for a timer."""
        self.links = PeerLinks(
            self.hello(),
            self.poller,
            lambda: time.monotonic() + self.ahead_s,
            Random(7),
            self,
            self.reports.append,
        )
        self.port = self.links.listen("127.0.0.1", port)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def hello(self, **changes: str) -> Hello:
        fields = {"purpose": "raft", "name": self.name, "uuid": self.uuid}
        fields |= {"cluster_id": self.cluster_id, "peer_address": "", "client_address": ""}
        return Hello(**(fields | changes))

    def dial(self, other: Peer) -> None:
        self.links.dial(other.name, other.address)

    def turn(self, wait_s: float = 0.002) -> None:
        self.poller.poll(wait_s)
        self.links.tick()

    def close(self) -> None:
        self.links.close()
        self.poller.close()
        for connection, _ in self.fetchers:
            connection.close()

    # What the links ask and tell.

    def admit(self, hello: Hello) -> HelloReply:
        me = HelloReply(
            ok=True,
            code="",
            text="",
            name=self.name,
            uuid=self.uuid,
            cluster_id=self.cluster_id,
            peer_address="",
            client_address="",
            state="member",
            members=self.members,
        )
        return judge(hello, me, self.members)

    def on_connected(self, name: str) -> None:
        self.connected.append(name)

    def on_disconnected(self, name: str) -> None:
        self.disconnected.append(name)

    def on_refused(self, name: str, reply: HelloReply) -> None:
        self.refusals.append((name, reply.code))

    def on_message(self, name: str, message: dict[str, object]) -> None:
        self.messages.append((name, message))
        self.react(name, message)

    def on_peer_closed(self, name: str) -> None:
        self.closed_by.append(name)

    def on_snapshot_request(self, connection: socket.socket, hello: Hello) -> None:
        self.fetchers.append((connection, hello))


def until(
    condition: Callable[[], object], *peers: Peer, timeout_s: float = DEADLINE_S, what: str = "it"
) -> None:
    """Runs the peers until the condition holds; AssertionError when the deadline passes."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s:g} s"
        for peer in peers:
            peer.turn()


def raw_link(
    peer: Peer, hello: Hello, *others: Peer, extra: bytes = b""
) -> tuple[socket.socket, HelloReply | None]:
    """A plain socket that said a hello to the peer, and the reply; None if it was closed instead.

    The socket is non-blocking. `extra` is sent in one piece with the hello.
    """
    connection = socket.create_connection(("127.0.0.1", peer.port))
    connection.sendall(frame(encode_hello(hello)) + extra)
    connection.setblocking(False)
    reader = FrameReader()
    replies: list[bytes] = []
    ended: list[bool] = []

    def answered() -> bool:
        with contextlib.suppress(BlockingIOError):
            data = connection.recv(65536)
            replies.extend(reader.feed(data))
            ended.extend([True] if not data else [])
        return bool(replies or ended)

    until(answered, peer, *others, what="a reply to the hello")
    return connection, decode_reply(replies[0]) if replies else None


def is_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed the (non-blocking) connection."""
    try:
        return connection.recv(65536) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def linked(first: Peer, second: Peer) -> None:
    """Connects two peers in both directions."""
    first.dial(second)
    second.dial(first)
    until(
        lambda: second.name in first.links.connected and first.name in second.links.connected,
        first,
        second,
        what="connecting",
    )
