"""Owns the connections to peers: one dialed to each, to send; one accepted of each, to receive.

All of it runs on the raft thread, inside `Poller.poll` and `tick`; nothing blocks and no input
raises into the loop: a connection that misbehaves is closed with a line of report. `send` never
calls back. Frames of one connection arrive in order or not at all; across connections of a peer
there is no order, but an older connection is closed before the first frame of a newer one is handed
on. Must not know Raft: messages pass through as wire.py describes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from statehouse_cluster.addresses import Resolver
from statehouse_cluster.incoming import IncomingCallbacks, IncomingLinks, open_listener
from statehouse_cluster.outgoing import LinkContext, OutgoingCallbacks, OutgoingLink
from statehouse_cluster.probe import ProbeFailed, probe

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from random import Random

    from statehouse_cluster.hello import Hello
    from statehouse_cluster.poller import Poller

__all__ = ["LinkCallbacks", "PeerLinks", "ProbeFailed", "open_listener", "probe"]

LINGER_S: Final = 1.0
"""How long `linger` waits for the peer to take what is queued."""

REPORTS_MAX: Final = 20
"""Lines of report in one second; what is beyond is counted, so that noise cannot fill a disk."""


class LinkCallbacks(OutgoingCallbacks, IncomingCallbacks, Protocol):
    """What the owner of the links must answer, all on the raft thread and without blocking."""


class PeerLinks:
    """The links of one node. `me` is what it says of itself; purpose and target are filled in."""

    def __init__(
        self,
        me: Hello,
        poller: Poller,
        clock: Callable[[], float],
        random: Random,
        callbacks: LinkCallbacks,
        report: Callable[[str], None],
    ) -> None:
        self._context = LinkContext(
            me=me, poller=poller, clock=clock, random=random, report=_Throttle(report, clock)
        )
        self._callbacks = callbacks
        self._resolver = Resolver(poller)
        self._incoming = IncomingLinks(self._context, callbacks)
        self._outgoing: dict[str, OutgoingLink] = {}
        self._lingering: dict[OutgoingLink, float] = {}
        self._listener: socket.socket | None = None

    @property
    def me(self) -> Hello:
        """What new connections say of this node."""
        return self._context.me

    @me.setter
    def me(self, me: Hello) -> None:
        self._context.me = me

    @property
    def connected(self) -> frozenset[str]:
        """The peers that messages can be sent to."""
        return frozenset(name for name, link in self._outgoing.items() if link.is_connected)

    @property
    def heard(self) -> frozenset[str]:
        """The peers that have a live connection to this node."""
        return self._incoming.names

    def listen(self, host: str, port: int) -> int:
        """Accepts peers at an address of its own; returns the port, picked by the kernel for 0."""
        self._listener = open_listener(host, port)
        self.serve(self._listener)
        return int(self._listener.getsockname()[1])

    def serve(self, listener: socket.socket) -> None:
        """Accepts peers from a socket of `open_listener`, which stays the caller's to close."""
        self._incoming.serve(listener)

    def dial(self, name: str, address: str, uuid: str = "") -> None:
        """Keeps a link to a peer from now on; nothing changes if it has this one already.

        A peer that answers with another name, or with another uuid unless that is empty, is
        refused by this node: `on_refused` tells.
        """
        link = self._outgoing.get(name)
        if link is not None:
            if (link.address, link.uuid) == (address, uuid):
                return
            link.close()
        self._outgoing[name] = OutgoingLink(
            name, address, uuid, self._context, self._resolver, self._callbacks
        )

    def drop(self, name: str) -> None:
        """Ends both links with a peer and stops dialing; no callback is made."""
        link = self._outgoing.pop(name, None)
        if link is not None:
            link.close()
        self._incoming.drop(name)

    def linger(self, name: str) -> None:
        """As `drop`, but what is queued for the peer has LINGER_S to leave."""
        link = self._outgoing.pop(name, None)
        if link is not None:
            self._lingering[link] = self._context.clock() + LINGER_S
        self._incoming.drop(name)

    def send(self, name: str, message: Mapping[str, object]) -> bool:
        """Sends or queues a message; False, and nothing is sent, if not connected or no room.

        WireError if the message is none of wire.py's: an error of the caller.
        """
        link = self._outgoing.get(name)
        return link is not None and link.send(message)

    def is_full(self, name: str) -> bool:
        """Whether a peer has its whole window still to read."""
        link = self._outgoing.get(name)
        return link is not None and link.is_full

    def tick(self) -> None:
        """Runs the timers; call it on the raft thread, about every 10 ms."""
        now = self._context.clock()
        for link in list(self._outgoing.values()):
            # A callback may have dropped it in this very round.
            if self._outgoing.get(link.name) is link:
                link.tick(now)
        for link, deadline in list(self._lingering.items()):
            if not link.is_connected or not link.queued_bytes or now >= deadline:
                link.close()
                self._lingering.pop(link, None)
        self._incoming.tick(now)

    def close(self) -> None:
        """Ends everything; no callback is made. Nothing may be called after it."""
        for link in [*self._outgoing.values(), *self._lingering]:
            link.close()
        self._outgoing.clear()
        self._lingering.clear()
        self._incoming.close()
        self._resolver.close()
        if self._listener is not None:
            self._listener.close()


class _Throttle:
    """Passes REPORTS_MAX lines a second on and counts the others."""

    def __init__(self, report: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._report = report
        self._clock = clock
        self._second_began = clock()
        self._lines = 0

    def __call__(self, text: str) -> None:
        now = self._clock()
        if now - self._second_began >= 1.0:
            if self._lines > REPORTS_MAX:
                self._report(f"{self._lines - REPORTS_MAX} more lines about peers were left out")
            self._second_began = now
            self._lines = 0
        self._lines += 1
        if self._lines <= REPORTS_MAX:
            self._report(text)
