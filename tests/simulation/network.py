"""The network between simulated nodes, in two moods.

*Connections*, as TCP: one dialed to each peer, to send on. Messages of a connection arrive in order
or, when it breaks, not at all; they may be slow or held back for seconds (clogged), in one
direction only. Across connections of a pair there is no order: what is under way in one that the
sender gave up may arrive long after what it sent on the next. *Adversarial*: links are always
there, and a message may be lost, doubled, overtaken or arrive many seconds later, through restarts
of either end. Real networks are of the first kind; the second must do no harm either.

Every message travels as the bytes of wire.py. Everything random comes from one generator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from statehouse_cluster.wire import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.simulation.node import SimulatedNode
    from tests.simulation.options import Options
    from tests.simulation.world import World

Pair = tuple[str, str]
"""Who sends, who receives."""

_UNDERWAY_MAX = 3000
"""Messages under way in the adversarial mood; more are lost."""

_FORGOTTEN_S = 3.5
"""A machine that says nothing more is given up by its peers' machines after so long at most."""


@dataclass(eq=False)
class Connection:
    """One dialed connection; `waiting` are messages held back in it."""

    pair: Pair
    life: int
    """Of the receiver's process: a later one knows nothing of this connection."""
    is_open: bool = True
    is_orphan: bool = False
    """The sender has given it up; what is under way still arrives."""
    arrives_at: float = 0.0
    underway: int = 0
    waiting: list[bytes] = field(default_factory=list)


class Network:
    """All links of all nodes."""

    def __init__(self, world: World, options: Options) -> None:
        self._world = world
        self._random = world.random
        self._options = options
        self.adversarial = options.adversarial
        self.delay_s = options.delay_s
        self.blocked: set[Pair] = set()
        """Nothing gets through."""
        self.clogged: set[Pair] = set()
        """Nothing gets through for now, but nothing is lost."""
        self.slow_s: dict[Pair, float] = {}
        """A message takes up to so much longer."""
        self.hidden: set[str] = set()
        """Nodes that users cannot reach."""
        self._connections: dict[Pair, Connection] = {}
        self._dialing: dict[Pair, float] = {}
        self._underway = 0

    def links_of(self, node: SimulatedNode) -> SimulatedLinks:
        return SimulatedLinks(self, node)

    # -- What nodes do

    def dial(self, node: SimulatedNode, name: str) -> None:
        """Tries at once, and again and again while the link is wanted."""
        pair = (node.name, name)
        connection = self._connections.get(pair)
        if pair in self._dialing or (connection is not None and connection.is_open):
            return
        self._dial_after(node, name, 2 * self._delay_s())

    def hang_up(self, name: str, peer: str) -> None:
        """Both ends: what `name` dialed, and what it accepted of the peer."""
        self._dialing.pop((name, peer), None)
        self._close((name, peer), tell_sender=False, tell_receiver=True)
        self._close((peer, name), tell_sender=True, tell_receiver=False)

    def hang_up_slowly(self, node: SimulatedNode, peer: str) -> None:
        """What is under way has a second to arrive."""
        self._dialing.pop((node.name, peer), None)
        self._close((peer, node.name), tell_sender=True, tell_receiver=False)

        def finish() -> None:
            if node.is_up and peer not in node.wanted:
                self.hang_up(node.name, peer)

        self._world.at(self._world.now + 1.0, finish)

    def send(self, node: SimulatedNode, name: str, payload: bytes) -> bool:
        pair = (node.name, name)
        if self.adversarial:
            return self._send_wildly(pair, payload, node.lag_s)
        connection = self._connections.get(pair)
        if connection is None or not connection.is_open:
            return False
        if self.is_full(pair):
            self._world.mark("window was full")
            return False
        connection.underway += 1
        if pair in self.clogged:
            connection.waiting.append(payload)
        else:
            self._travel(connection, payload, node.lag_s)
        return True

    def is_full(self, pair: Pair) -> bool:
        if self.adversarial:
            return self._random.random() < 0.02
        connection = self._connections.get(pair)
        return connection is not None and connection.underway >= self._options.window

    # -- What happens to it

    def process_ended(self, name: str) -> None:
        """Its sockets are closed by its machine; the peers notice soon."""
        for pair in self._ends(name):
            self._close(pair, tell_sender=pair[1] == name, tell_receiver=pair[0] == name)

    def machine_lost(self, name: str) -> None:
        """Nobody closes its sockets: each peer finds out for itself, some time."""
        for pair in self._ends(name):
            connection = self._connections[pair]
            if pair[0] == name:
                del self._connections[pair]
                connection.is_open = False
            after_s = self._random.uniform(0.0, _FORGOTTEN_S)
            self._world.at(self._world.now + after_s, lambda lost=connection: self._forget(lost))

    def _ends(self, name: str) -> list[Pair]:
        for pair in [pair for pair in self._dialing if pair[0] == name]:
            del self._dialing[pair]
        return [pair for pair in self._connections if name in pair]

    def _forget(self, lost: Connection) -> None:
        if self._connections.get(lost.pair) is lost:
            self._close(lost.pair, tell_sender=True, tell_receiver=False)
        elif lost.pair not in self._connections:
            receiver = self._world.nodes[lost.pair[1]]
            if receiver.is_up and receiver.life == lost.life:
                receiver.notice(("closed", lost.pair[0]))

    def break_connection(self, pair: Pair) -> None:
        """What is under way in it is lost; both ends notice."""
        self._close(pair, tell_sender=True, tell_receiver=self._random.random() < 0.5)

    def orphan_connection(self, pair: Pair) -> None:
        """The sender gives it up and dials anew; what is under way comes late, behind newer."""
        connection = self._connections.get(pair)
        if connection is None or self.adversarial:
            return
        connection.is_orphan = True
        self._close(pair, tell_sender=True, tell_receiver=False)
        late_s = self._random.uniform(0.1, _FORGOTTEN_S)
        for payload in connection.waiting:
            self._travel(connection, payload, late_s)
        connection.waiting = []

    def block(self, pairs: Iterable[Pair]) -> None:
        """A partition; some connections break at once, others only seem slow."""
        self.blocked |= set(pairs)
        for pair in sorted(pairs):
            if self._random.random() < 0.5:
                self.break_connection(pair)

    def unblock(self, pairs: Iterable[Pair]) -> None:
        self.blocked -= set(pairs)
        for pair in sorted(pairs):
            connection = self._connections.get(pair)
            if connection is not None and connection.waiting and self._random.random() < 0.5:
                # It was silent for too long: the machines gave it up.
                self.break_connection(pair)
            self._release(pair)

    def clog(self, pairs: Iterable[Pair]) -> None:
        self.clogged |= set(pairs)

    def unclog(self, pairs: Iterable[Pair]) -> None:
        self.clogged -= set(pairs)
        for pair in sorted(pairs):
            self._release(pair)

    def heal(self) -> None:
        """No more faults from here on."""
        self.adversarial = False
        self.delay_s = (0.0005, 0.005)
        self.slow_s.clear()
        self.hidden.clear()
        self.unblock(set(self.blocked))
        self.unclog(set(self.clogged))

    # -- Inside

    def _delay_s(self) -> float:
        return self._random.uniform(*self.delay_s)

    def _dial_after(self, node: SimulatedNode, name: str, delay_s: float) -> None:
        pair = (node.name, name)
        due = self._dialing[pair] = self._world.now + delay_s
        self._world.at(due, lambda: self._try(node, name, due))

    def _try(self, node: SimulatedNode, name: str, due: float) -> None:
        pair = (node.name, name)
        if self._dialing.get(pair) != due:
            return
        peer = self._world.nodes.get(name)
        closed = {pair, pair[::-1]} & (self.blocked | self.clogged) and not self.adversarial
        if peer is None or not peer.is_up or closed or peer.paused or not peer.greet(node):
            self._dial_after(node, name, self._random.uniform(0.05, 0.5))
            return
        del self._dialing[pair]
        # One that the peer's machine has not given up yet is replaced by the new one.
        self._connections[pair] = Connection(pair, peer.life)
        node.notice(("up", name))

    def _close(self, pair: Pair, *, tell_sender: bool, tell_receiver: bool) -> None:
        connection = self._connections.pop(pair, None)
        if connection is None or not connection.is_open:
            return
        connection.is_open = False
        sender, receiver = (self._world.nodes[name] for name in pair)
        if tell_sender and sender.is_up:
            sender.notice(("down", pair[1]))
            if pair[1] in sender.wanted:
                self._dial_after(sender, pair[1], self._random.uniform(0.01, 0.2))
        if tell_receiver and receiver.is_up and receiver.life == connection.life:
            receiver.notice(("closed", pair[0]))

    def _travel(self, connection: Connection, payload: bytes, after_s: float = 0.0) -> None:
        delay_s = after_s + self._delay_s()
        if connection.pair in self.slow_s:
            delay_s += self._random.uniform(0.0, self.slow_s[connection.pair])
        arrives_at = max(connection.arrives_at, self._world.now + delay_s)
        connection.arrives_at = arrives_at
        self._world.at(arrives_at, lambda: self._arrive(connection, payload))

    def _arrive(self, connection: Connection, payload: bytes) -> None:
        pair = connection.pair
        receiver = self._world.nodes[pair[1]]
        if receiver.life != connection.life or not (connection.is_open or connection.is_orphan):
            return
        if connection.is_orphan:
            if pair not in self.clogged and pair not in self.blocked:
                self._world.mark("overtaken by a newer connection")
                receiver.take(pair[0], payload)
            return
        if pair in self.clogged or pair in self.blocked or connection.waiting:
            connection.waiting.append(payload)
            return
        connection.underway -= 1
        receiver.take(pair[0], payload)

    def _release(self, pair: Pair) -> None:
        connection = self._connections.get(pair)
        if connection is None or pair in self.blocked or pair in self.clogged:
            return
        waiting, connection.waiting = connection.waiting, []
        for payload in waiting:
            self._travel(connection, payload)

    def _send_wildly(self, pair: Pair, payload: bytes, after_s: float) -> bool:
        chance = self._random.random
        if self._underway >= _UNDERWAY_MAX or chance() < self._options.lost:
            return chance() < 0.9
        copies = 2 if chance() < self._options.doubled else 1
        for _ in range(copies):
            self._underway += 1
            at = self._world.now + after_s + self._wild_delay_s()
            if pair in self.slow_s:
                at += self._random.uniform(0.0, self.slow_s[pair])
            self._world.at(at, lambda: self._arrive_wildly(pair, payload))
        return True

    def _wild_delay_s(self) -> float:
        if self._random.random() < self._options.late:
            return self._random.uniform(0.1, self._options.late_s)
        if self._random.random() < 0.2:
            return self._random.uniform(0.01, 0.1)
        return self._random.uniform(0.0005, 0.01)

    def _arrive_wildly(self, pair: Pair, payload: bytes) -> None:
        self._underway -= 1
        receiver = self._world.nodes[pair[1]]
        if pair in self.blocked or pair in self.clogged:
            if self._random.random() < 0.5:
                self._underway += 1
                at = self._world.now + self._random.uniform(0.1, 3.0)
                self._world.at(at, lambda: self._arrive_wildly(pair, payload))
            return
        if receiver.is_up:
            receiver.take(pair[0], payload)


class SimulatedLinks:
    """`raft_transport.Links` of one node, for one life of its process."""

    def __init__(self, network: Network, node: SimulatedNode) -> None:
        self._network = network
        self._node = node

    def send(self, name: str, message: Mapping[str, object]) -> bool:
        payload = encode(message)
        self._node.sending(name, message)
        return self._network.send(self._node, name, payload)

    def is_full(self, name: str) -> bool:
        return self._network.is_full((self._node.name, name))

    def dial(self, name: str, address: str) -> None:
        self._node.wanted.add(name)
        self._network.dial(self._node, name)

    def drop(self, name: str) -> None:
        self._node.wanted.discard(name)
        self._network.hang_up(self._node.name, name)

    def linger(self, name: str) -> None:
        self._node.wanted.discard(name)
        self._network.hang_up_slowly(self._node, name)
