"""Owns where an agent's state comes from: its own rows, and those of the agents it is a fork of.

Reading an agent means looking at levels: the agent itself, then its parent up to the point of the
fork, then the parent's parent up to the lesser of both points, and so on; the nearest level that
has a version of a key tells it. No two levels hold a commit in common, and what a nearer one holds
is later. It must not know what is read on a level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from statehouse.core import codec, limits
from statehouse.core.keys import Table, agent_key, number_of
from statehouse.core.model import ForkRow
from statehouse.storage.faults import RowLost

if TYPE_CHECKING:
    from statehouse.core.codec import AgentFacts
    from statehouse.storage.rows import Rows


class Level(NamedTuple):
    """An agent whose rows tell a part of the state, up to one commit_ts."""

    agent_id: str
    agent: bytes
    """Its key."""
    through: int


class Lineage:
    """The agents and forks made up to the commit_ts `last`; remembers what it was asked."""

    def __init__(self, rows: Rows, last: int) -> None:
        self._rows = rows
        self._last = last
        self._ancestors: dict[tuple[str, str], tuple[Level, ...]] = {}

    def levels(self, namespace: str, agent_id: str, at: int) -> list[Level]:
        """Where the state of the agent at `at` is found, the nearest first."""
        own = Level(agent_id, agent_key(namespace, agent_id), at)
        return [own, *self.ancestors(namespace, agent_id, at)]

    def ancestors(self, namespace: str, agent_id: str, at: int) -> list[Level]:
        """The levels beyond the agent itself; none when it is no fork."""
        known = self._ancestors.get((namespace, agent_id))
        if known is None:
            known = self._found_ancestors(namespace, agent_id)
            self._ancestors[namespace, agent_id] = known
        return [
            level if level.through <= at else Level(level.agent_id, level.agent, at)
            for level in known
        ]

    def ancestry(self, namespace: str, agent_id: str) -> tuple[ForkRow, ...]:
        """The agent's own fork, then its parent's, up to an agent that is no fork."""
        found: list[ForkRow] = []
        facts = self._facts(agent_key(namespace, agent_id))
        while facts is not None and facts.parent_id is not None:
            found.append(ForkRow(agent_id, facts.parent_id, facts.point, facts.first_commit_ts))
            agent_id = facts.parent_id
            facts = self._facts(agent_key(namespace, agent_id))
            if facts is None or len(found) > limits.FORK_DEPTH_MAX:
                raise RowLost(f"agent {agent_id!r}, which was forked, is not in the database")
        return tuple(found)

    def forks(self, namespace: str, agent_id: str, limit: int) -> tuple[ForkRow, ...]:
        """The first forks of the agent, the oldest first."""
        found: list[ForkRow] = []
        agent = agent_key(namespace, agent_id)
        for key, row in self._rows.forward(Table.FORKS, agent, agent):
            forked_at = number_of(key)
            if forked_at > self._last or len(found) == limit:
                break
            fork_id = row.decode()
            facts = self._facts(agent_key(namespace, fork_id))
            if facts is None:
                raise RowLost(f"agent {fork_id!r}, a fork, is not in the database")
            found.append(ForkRow(fork_id, agent_id, facts.point, forked_at))
        return tuple(found)

    def _facts(self, agent: bytes) -> AgentFacts | None:
        row = self._rows.get(Table.AGENTS, agent)
        facts = None if row is None else codec.decode_agent(row)
        return facts if facts is not None and facts.first_commit_ts <= self._last else None

    def _found_ancestors(self, namespace: str, agent_id: str) -> tuple[Level, ...]:
        through = self._last
        levels = []
        for fork in self.ancestry(namespace, agent_id):
            through = min(through, fork.commit_ts)
            parent = agent_key(namespace, fork.parent_id)
            levels.append(Level(fork.parent_id, parent, through))
        return tuple(levels)
