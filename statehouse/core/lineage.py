"""Owns the agents during an apply: who was written to, who is a fork of whom, what a key inherits.

A fork holds only what was written to it. A key it has not written reads as its parent's did at the
point of the fork, and the parent's as its own parent's; so the versions of a key go on from there.
That point may lie in what the same apply has done and no row tells yet: the answer must not depend
on how groups share an apply, so what this apply has put is looked through before what is stored.

It must not know why an agent is asked for, nor what a mark is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core import codec, limits
from statehouse.core.codec import AgentFacts
from statehouse.core.invariants import InvariantViolation
from statehouse.core.keys import (
    PLACE_BYTES,
    Table,
    names,
    namespace_of,
    record_key,
    record_place,
    terminated,
    u64,
)

if TYPE_CHECKING:
    from statehouse.core.codec import Latest
    from statehouse.core.view import Put, View

Ancestry = tuple[tuple[bytes, int], ...]
"""The keys of an agent's ancestors, the parent first, each with the last commit_ts seen of it."""


class Agents:
    """The agents as they are after what one apply has done so far."""

    def __init__(self, view: View, puts: list[Put]) -> None:
        """puts: what the apply has changed; it grows."""
        self._view = view
        self._stored_through = view.head().commit_ts
        self._puts = puts
        self._facts: dict[bytes, AgentFacts | None] = {}
        self._ancestries: dict[bytes, Ancestry] = {}
        self._inherited: dict[bytes, Latest | None] = {}
        self._made: dict[bytes, list[Latest]] = {}
        self._looked_through = 0

    def facts(self, agent: bytes) -> AgentFacts | None:
        """What is known of an agent by its key; None: it was never written to."""
        try:
            return self._facts[agent]
        except KeyError:
            row = self._view.get(Table.AGENTS, agent)
            facts = None if row is None else codec.decode_agent(row)
            self._facts[agent] = facts
            return facts

    def add(self, agent: bytes, commit_ts: int) -> None:
        """Lists an agent that was never written to before this commit."""
        self._facts[agent] = AgentFacts(commit_ts)
        self._puts.append((Table.AGENTS, agent, codec.encode_agent(commit_ts)))

    def add_fork(
        self, agent: bytes, agent_id: str, commit_ts: int, parent_id: str, point: int
    ) -> None:
        """Lists an agent that begins as its parent was at the point."""
        self._facts[agent] = AgentFacts(commit_ts, parent_id, point)
        row = codec.encode_fork_agent(commit_ts, parent_id, point)
        parent = namespace_of(agent) + terminated(parent_id)
        self._puts.append((Table.AGENTS, agent, row))
        self._puts.append((Table.FORKS, parent + u64(commit_ts), agent_id.encode()))

    def ancestry(self, agent: bytes) -> Ancestry:
        """Whom the agent is forked from; nobody, when it is not, or was never written to."""
        known = self._ancestries.get(agent)
        if known is not None:
            return known
        facts = self.facts(agent)
        if facts is None:
            return ()
        found: list[tuple[bytes, int]] = []
        namespace = namespace_of(agent)
        bound = facts.point
        while facts is not None and facts.parent_id is not None:
            ancestor = namespace + terminated(facts.parent_id)
            bound = min(bound, facts.point)
            found.append((ancestor, bound))
            facts = self.facts(ancestor)
            if facts is None or len(found) > limits.FORK_DEPTH_MAX:
                raise InvariantViolation(f"the fork {names(agent)} comes from no agent")
        self._ancestries[agent] = tuple(found)
        return self._ancestries[agent]

    def inherited(self, agent: bytes, key: bytes) -> Latest | None:
        """The last version of a key that the agent itself has not written; None: there is none.

        key: with the agent's as its beginning.
        """
        facts = self.facts(agent)
        if facts is None or facts.parent_id is None:
            return None
        if key not in self._inherited:
            name = key[len(agent) :]
            found = None
            for ancestor, bound in self.ancestry(agent):
                found = self._version_at(ancestor + name, bound)
                if found is not None:
                    break
            self._inherited[key] = found
        return self._inherited[key]

    def _version_at(self, key: bytes, at: int) -> Latest | None:
        if at > self._stored_through:
            for made in reversed(self._made_now(key)):
                if made[1] <= at:
                    return made
        found = self._view.first(Table.RECORDS, record_key(key, at))
        if found is None or not found[0].startswith(key):
            return None
        commit_ts, version = record_place(found[0])
        kind, committed_at_us = codec.decode_record_header(found[1])
        return version, commit_ts, kind, committed_at_us

    def _made_now(self, key: bytes) -> list[Latest]:
        """The versions of a key that this apply has made, the oldest first."""
        puts = self._puts
        for place in range(self._looked_through, len(puts)):
            table, row_key, row = puts[place]
            if table == Table.RECORDS:
                commit_ts, version = record_place(row_key)
                kind, committed_at_us = codec.decode_record_header(row)
                made = self._made.setdefault(row_key[:-PLACE_BYTES], [])
                made.append((version, commit_ts, kind, committed_at_us))
        self._looked_through = len(puts)
        return self._made.get(key, [])
