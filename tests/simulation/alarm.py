"""When a node has to look up by itself, though nothing arrives: the deadlines of its engine.

The product's raft thread sleeps `poll_s` at most and finds most rounds empty; the simulation jumps
to the first round that is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statehouse_cluster.raft_adapter import Engine

NEVER = float("inf")
SLEEP_S_MAX = 1.0
"""A round that nobody needs, now and then, is harmless and finds a deadline missed here."""


def next_alarm(engine: Engine, now: float) -> float:
    """The moment from which on a round has something to do; never later than SLEEP_S_MAX."""
    return min(_deadline(engine, now), now + SLEEP_S_MAX)


def _deadline(engine: Engine, now: float) -> float:
    if engine.removed:
        return NEVER
    if engine.is_leader():
        # What else a leader minds, it minds with each heartbeat.
        return engine._SyncObj__newAppendEntriesTime
    if engine.name not in engine.configuration().names:
        return NEVER
    election = engine._SyncObj__raftElectionDeadline
    if election > now:
        return election
    if engine._forced_term == engine.term() + 1:
        return now
    # It may campaign, but its peers have not said that they would vote for it.
    again = engine._prevote._ask_again_at
    return again if again > now else now + engine._timing.prevote_retry_s
