"""Snapshots between simulated nodes: made, offered and fetched over virtual time, never damaged.

It answers `raft_state.Snapshots` as the real desk does. What the real one fetches over a connection
takes a while here, and fails when the leader is gone, cannot be reached or has another snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from statehouse_cluster.interfaces import Offer, Position

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulation.node import SimulatedNode
    from tests.simulation.world import World

_IDLE_S = 6.0


class Fetched(NamedTuple):
    """A snapshot ready to install."""

    directory: Path
    position: Position


@dataclass
class _Outgoing:
    offer: Offer
    ready_at: float
    used_at: float


@dataclass
class _Incoming:
    leader: str
    offer: Offer
    done_at: float


class SimulatedDesk:
    """The snapshots of one node, for one life of its process."""

    def __init__(self, world: World, node: SimulatedNode) -> None:
        self._world = world
        self._node = node
        self.outgoing: _Outgoing | None = None
        self._incoming: _Incoming | None = None

    def offer_for(self, name: str, least: int) -> Offer | None:
        if self.outgoing is None or self.outgoing.offer.position.index < least:
            self.outgoing = self._make()
        self.outgoing.used_at = self._world.now
        return self.outgoing.offer if self._world.now >= self.outgoing.ready_at else None

    def pinned_index(self) -> int | None:
        return self.outgoing.offer.position.index if self.outgoing else None

    def offered(self, leader: str, offer: Offer) -> None:
        current = self._incoming
        if current is not None and (current.leader, current.offer) == (leader, offer):
            return
        done_at = self._world.now + self._world.random.uniform(0.01, 2.0)
        self._incoming = _Incoming(leader, offer, done_at)
        self._world.mark("snapshot fetched again" if current else "snapshot fetched")

    def take_fetched(self) -> Fetched | None:
        incoming = self._incoming
        if incoming is None or self._world.now < incoming.done_at:
            return None
        self._incoming = None
        leader = self._world.nodes[incoming.leader]
        pairs = {(leader.name, self._node.name), (self._node.name, leader.name)}
        if not leader.is_up or pairs & (self._world.network.blocked | self._world.network.clogged):
            self._world.mark("snapshot fetch failed")
            return None
        served = leader.desk.outgoing
        if served is None or served.offer != incoming.offer:
            self._world.mark("snapshot gone while fetched")
            return None
        served.used_at = self._world.now
        return Fetched(self._world.directory_of(incoming.offer), incoming.offer.position)

    def next_alarm(self) -> float:
        """When a fetch will have ended."""
        return self._incoming.done_at if self._incoming else float("inf")

    def tick(self) -> None:
        outgoing = self.outgoing
        if outgoing is not None and self._world.now > outgoing.used_at + _IDLE_S:
            self.outgoing = None

    def _make(self) -> _Outgoing:
        position = self._node.machine.position()
        self._world.snapshot_count += 1
        offer = Offer(f"{self._node.name}-{self._world.snapshot_count}", position)
        self._node.machine.checkpoint(self._world.directory_of(offer))
        ready_at = self._world.now + self._world.random.uniform(0.0, 0.2)
        return _Outgoing(offer, ready_at, self._world.now)
