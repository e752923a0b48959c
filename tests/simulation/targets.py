"""Whom a fault strikes: the leader more often than others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.node import SimulatedNode
    from tests.simulation.world import World


class Targets:
    """The nodes of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random

    @property
    def names(self) -> list[str]:
        return sorted(self._world.nodes)

    def up(self) -> list[SimulatedNode]:
        return [node for node in self._world.nodes.values() if node.is_up]

    def some_node(self) -> SimulatedNode | None:
        up = self.up()
        leader = self.leader()
        if leader is not None and self._random.random() < 0.4:
            return leader
        return self._random.choice(up) if up else None

    def leader(self) -> SimulatedNode | None:
        """Of those who believe to lead, mostly the right one."""
        leading = [
            node for node in self.up() if node.engine is not None and node.engine.is_leader()
        ]
        if leading and self._random.random() < 0.1:
            return self._random.choice(leading)
        return max(leading, key=lambda node: node.engine.term() if node.engine else 0, default=None)
