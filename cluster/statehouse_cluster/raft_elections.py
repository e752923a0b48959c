"""Owns who may campaign and who may be voted for: PreVote, one vote a voter, a leader heard just
now is not deposed, leadership is handed over on order.

A layer of the adapter; it must not know the log's content or clients' requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from statehouse_cluster import guards
from statehouse_cluster.membership import majority
from statehouse_cluster.raft_state import FOLLOWER, NEVER, RaftState

if TYPE_CHECKING:
    from pysyncobj.node import Node

    from statehouse_cluster.raft_transport import Message


_VOTES_SHARE: Final = 0.4
"""How long a candidate waits for votes, at most, as a share of the least election timeout."""

_DOUBLINGS_MAX: Final = 8


class Elections(RaftState):
    """The library's elections, behind gates."""

    def __init__(self, **parts: Any) -> None:
        self._votes = guards.VoteBox()
        self._prevote = guards.PreVote()
        self._heard_at = NEVER
        self._campaigns = 0
        """How often this node campaigned since a leader was heard."""
        self._campaigns_now = False
        super().__init__(**parts)

    def peer_closed(self, name: str) -> None:
        """A peer's end closed its link: if it led, its process is gone; campaign soon."""
        if name != self.leader_name() or self.is_leader():
            return
        self._heard_at = NEVER
        self._SyncObj__raftLeader = None
        soon = self._now() + self._random.uniform(0.05, self._timing.hasten_max_s)
        self._SyncObj__raftElectionDeadline = min(self._SyncObj__raftElectionDeadline, soon)

    def _SyncObj__generateRaftTimeout(self) -> float:
        """How long a leader's silence is borne, or by a candidate that of the voters.

        That there is no leader is known to a candidate: when votes are split, as between two that
        noticed it in the same moment, the next try need not wait as long. It waits twice as long
        with each, for voters that are far away.
        """
        silence_s = self._random.uniform(self._timing.election_min_s, self._timing.election_max_s)
        if not self._campaigns_now:
            return silence_s
        self._campaigns_now = False
        doublings = min(self._campaigns, _DOUBLINGS_MAX)
        votes_s: float = _VOTES_SHARE * self._timing.election_min_s * 2**doublings
        self._campaigns += 1
        return min(silence_s, votes_s * self._random.uniform(0.5, 1.0))

    def _SyncObj__connectedToAnyone(self) -> bool:
        """The library asks this last, when the election deadline has passed: the PreVote gate."""
        names = self._configuration.names
        if self.removed or self.name not in names:
            return False
        next_term = self.term() + 1
        if self._forced_term == next_term:
            self._campaigns_now = True
            return True
        if not super()._SyncObj__connectedToAnyone():
            return False
        if self._prevote.granted_by_majority(next_term, names, self.name):
            self._prevote.reset()
            self._campaigns_now = True
            return True
        if self._prevote.should_ask(next_term, self._now(), self._timing.prevote_retry_s):
            last_term, last_index = self.log.last_position
            for name in sorted(names - {self.name}):
                self._tell(
                    name,
                    {
                        "type": "x_prevote",
                        "next": next_term,
                        "last_log_index": last_index,
                        "last_log_term": last_term,
                    },
                )
        return False

    def _hear_leader(self) -> None:
        self._heard_at = self._now()
        self._campaigns = 0

    def _leader_is_fresh(self) -> bool:
        if self.is_leader():
            return True
        heard_lately = self._now() < self._heard_at + self._timing.election_min_s
        return self._SyncObj__raftLeader is not None and heard_lately

    def _step_down(self, term: int) -> None:
        self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None

    def _on_prevote(self, node: Node, message: Message) -> None:
        asked = message["last_log_term"], message["last_log_index"]
        if (
            message["next"] > self.term()
            and not self._leader_is_fresh()
            and guards.log_is_at_least(asked, self.log.last_position)
        ):
            self._tell(node.id, {"type": "x_prevote_ok", "next": message["next"]})
        elif message["x_term"] < self.term():
            self._tell(node.id, {"type": "x_reject"})

    def _on_prevote_ok(self, node: Node, message: Message) -> None:
        self._prevote.grant(message["next"], node.id)

    def _on_request_vote(self, node: Node, message: Message) -> None:
        # A leader that was heard just now is not deposed, unless it asked for it itself.
        if message["x_transfer"] or not self._leader_is_fresh():
            self._pass_on(node, message)

    def _on_vote(self, node: Node, message: Message) -> None:
        is_member = node in self._SyncObj__otherNodes
        if self._votes.admit(message["term"], self.term(), node.id, is_member):
            self._pass_on(node, message)

    def _on_timeout_now(self, node: Node, message: Message) -> None:
        if message["term"] != self.term() or node != self._SyncObj__raftLeader:
            return
        # The leader says it again until it gives up: a node that cannot reach the voters yet, as
        # when it has just been added, would only depose it.
        names = self._configuration.names
        reached = {name for name in names if self.is_connected(name)}
        if len(reached) >= majority(len(names)):
            # Once, for the very next term, and without asking: the leader stands back.
            self._forced_term = self.term() + 1
            self._SyncObj__raftElectionDeadline = NEVER
