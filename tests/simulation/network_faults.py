"""What befalls the network of a simulated cluster: one function a kind of fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.network import Pair
    from tests.simulation.targets import Targets
    from tests.simulation.world import World


class NetworkFaults:
    """Nothing here ends a process; everything is over when the world is healed."""

    def __init__(self, world: World, targets: Targets) -> None:
        self._world = world
        self._random = world.random
        self._network = world.network
        self._targets = targets
        self.kinds: dict[str, Callable[[], None]] = {
            "partition": self._partition,
            "one way": self._one_way,
            "isolated leader": self._isolated_leader,
            "leader cut off with a follower": self._cut_off_leader,
            "clog": self._clog,
            "slow links": self._slow_links,
            "flapping": self._flapping,
            "broken connections": self._broken_connections,
            "overtaking connections": self._overtaking_connections,
            "users cut off": self._users_cut_off,
        }

    # -- Cut

    def _partition(self) -> None:
        names = self._targets.names
        one_side = {name for name in names if self._random.random() < 0.5}
        self._block({(a, b) for a in names for b in names if (a in one_side) != (b in one_side)})

    def _one_way(self) -> None:
        """Somebody, often the leader, can be heard and does not hear, or hears and is not heard."""
        node = self._targets.some_node()
        if node is None:
            return
        others = [name for name in self._targets.names if name != node.name]
        heard = self._random.random() < 0.5
        self._block_all({(other, node.name) if heard else (node.name, other) for other in others})

    def _isolated_leader(self) -> None:
        leader = self._targets.leader()
        if leader is not None:
            others = set(self._world.nodes) - {leader.name}
            outward = {(leader.name, other) for other in others}
            self._block(outward | {(b, a) for a, b in outward})

    def _cut_off_leader(self) -> None:
        """It goes on taking writes that a minority holds and nobody may commit."""
        leader = self._targets.leader()
        if leader is None:
            return
        names = sorted(set(self._world.nodes) - {leader.name})
        inside = {leader.name, *self._random.sample(names, min(1, len(names)))}
        self._block(
            {
                (a, b)
                for a in (leader.name, *names)
                for b in (leader.name, *names)
                if (a in inside) != (b in inside)
            }
        )

    def _block(self, pairs: set[Pair]) -> None:
        """Now and then with holes."""
        if self._random.random() < 0.3:
            share = self._random.choice((0.5, 0.9))
            pairs = {pair for pair in sorted(pairs) if self._random.random() < share}
        self._block_all(pairs)

    def _block_all(self, pairs: set[Pair]) -> None:
        self._network.block(pairs)
        self._world.at(self._until(), lambda: self._network.unblock(pairs))

    # -- Slow

    def _clog(self) -> None:
        pairs = self._some_pairs(0.4)
        self._network.clog(pairs)
        self._world.at(self._until(), lambda: self._network.unclog(pairs))

    def _slow_links(self) -> None:
        pairs = self._some_pairs(0.5)
        most_s = self._random.choice((0.05, 0.2, 0.8))
        self._network.slow_s.update(dict.fromkeys(pairs, most_s))

        def mend() -> None:
            for pair in pairs:
                self._network.slow_s.pop(pair, None)

        self._world.at(self._until(), mend)

    # -- Broken

    def _flapping(self) -> None:
        """The links of one node come and go, too quickly for anybody to settle down."""
        node = self._targets.some_node()
        if node is None:
            return
        others = [name for name in self._targets.names if name != node.name]
        pairs = {(a, b) for o in others for a, b in ((node.name, o), (o, node.name))}
        self._flap(pairs, self._until())

    def _flap(self, pairs: set[Pair], until: float) -> None:
        if self._world.is_healed or self._world.now > until:
            return
        self._network.block(pairs)
        for pair in sorted(pairs):
            self._network.break_connection(pair)
        down_s, up_s = self._random.uniform(0.02, 0.3), self._random.uniform(0.05, 0.6)
        self._world.at(self._world.now + down_s, lambda: self._network.unblock(pairs))
        self._world.at(self._world.now + down_s + up_s, lambda: self._flap(pairs, until))

    def _broken_connections(self) -> None:
        for pair in self._some_pairs(0.3):
            self._network.break_connection(pair)

    def _overtaking_connections(self) -> None:
        for pair in self._some_pairs(0.5):
            self._network.orphan_connection(pair)

    def _users_cut_off(self) -> None:
        names = {name for name in self._targets.names if self._random.random() < 0.5}
        self._network.hidden |= names
        self._world.at(self._until(), lambda: self._network.hidden.difference_update(names))

    # -- Whom, and for how long

    def _some_pairs(self, share: float) -> list[Pair]:
        names = self._targets.names
        return [(a, b) for a in names for b in names if a != b and self._random.random() < share]

    def _until(self) -> float:
        return self._world.now + self._random.uniform(0.1, self._world.options.fault_s)
