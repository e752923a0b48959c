"""Owns how entries, acknowledgements and snapshot offers travel between a leader and its followers.

A layer of the adapter: a follower verifies before it appends, truncates only what conflicts and
acknowledges only what it verified and synced; a leader counts only answers of its own term. It must
not know clients' requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statehouse_cluster import guards
from statehouse_cluster.interfaces import Offer, Position
from statehouse_cluster.raft_elections import Elections
from statehouse_cluster.raft_log import SafetyViolation

if TYPE_CHECKING:
    from pathlib import Path

    from pysyncobj.node import Node

    from statehouse_cluster.raft_transport import Message


class Replication(Elections):
    """The library's append_entries, guarded on both sides."""

    def __init__(self, **parts: Any) -> None:
        self._echo = 0
        self._ack_override: int | None = None
        super().__init__(**parts)
        self._cut_above = self._bounds.journal_bytes_retained_max

    # -- Sending

    def _SyncObj__sendAppendEntries(self) -> None:
        """The library's sending, to those whom plain entries can help and whose window is open."""
        listening = self._SyncObj__connectedNodes
        base = self.log.first_index
        following = self._SyncObj__otherNodes | self._SyncObj__readonlyNodes
        behind = {n for n in following if self._SyncObj__raftNextIndex.get(n, 0) <= base}
        full = {n for n in following if self._links.is_full(n.id)}
        self._SyncObj__connectedNodes = listening - behind - full
        try:
            super()._SyncObj__sendAppendEntries()
        finally:
            self._SyncObj__connectedNodes = listening
        for node in sorted(behind & listening - full, key=lambda n: str(n.id)):
            offer = self._snapshots.offer_for(node.id, base)
            if offer is not None:
                self._tell(node.id, _offer_message(offer, self.term()))

    def _on_unsent(self, node: Node, message: Message) -> None:
        """The window is full or the link is gone: the library would go on as if it were sent."""
        if message["type"] == "append_entries":
            self._SyncObj__raftNextIndex[node] = message["prevLogIdx"] + 1
            # The set of this pass only: without the node in it the library ends its loop.
            self._SyncObj__connectedNodes.discard(node)

    def _SyncObj__sendNextNodeIdx(
        self,
        node: Node,
        reset: bool = False,
        nextNodeIdx: int | None = None,
        success: bool = False,
    ) -> None:
        if self._ack_override is not None:
            nextNodeIdx, reset, success = self._ack_override, False, True
        next_index = self.log.last_index + 1 if nextNodeIdx is None else nextNodeIdx
        if reset and not success:
            next_index = guards.conflict_hint(self.log, next_index, self.commit_index())
        self._transport.send(
            node,
            {
                "type": "next_node_idx",
                "next_node_idx": next_index,
                "reset": reset,
                "success": success,
                "x_round": self._echo,
            },
        )

    # -- Receiving

    def _on_answer(self, node: Node, message: Message) -> None:
        known = node in self._SyncObj__raftMatchIndex
        if not guards.ack_counts(message["x_term"], self.term(), self.is_leader(), known):
            return
        answer = dict(message)
        if answer["success"]:
            if answer["next_node_idx"] - 1 > self.log.last_index:
                raise SafetyViolation(
                    f"{node.id} acknowledged entry {answer['next_node_idx'] - 1}, but the log ends "
                    f"at {self.log.last_index}"
                )
        else:
            matched = self._SyncObj__raftMatchIndex[node]
            hint = guards.clamp_reset(answer["next_node_idx"], matched, self.log.last_index)
            answer["next_node_idx"] = hint
            # Only ever backwards: a late reset must not skip what was sent since.
            answer["reset"] = answer["reset"] and hint < self._SyncObj__raftNextIndex[node]
            if answer["reset"]:
                self._SyncObj__newAppendEntriesTime = 0.0
        if node in self._SyncObj__otherNodes:
            self._reads.echo(node.id, message["x_round"])
        reached = self._SyncObj__raftNextIndex[node]
        self._pass_on(node, answer)
        if answer["success"]:
            # The library goes back to what was acknowledged, and so sends all that is under way
            # once more with each answer. What is lost on the way comes back as a reset.
            self._SyncObj__raftNextIndex[node] = max(reached, answer["next_node_idx"])

    def _on_append(self, node: Node, message: Message) -> None:
        self._hear_leader()
        self._echo = message["x_round"]
        try:
            self._place(node, message)
        finally:
            self._echo, self._ack_override = 0, None

    def _follow(self, node: Node, term: int) -> None:
        """The library takes over term, leader and deadline; log and commit index stay."""
        adopt = {"type": "append_entries", "term": term, "commit_index": 0}
        self._pass_on(node, {**adopt, "serialized": None})

    def _place(self, node: Node, message: Message) -> None:
        previous, entries = message["prevLogIdx"], message["entries"]
        placed = guards.place_append(self.log, previous, message["prevLogTerm"], entries)
        if placed.verified is None:
            if previous is not None and self.log.first_index <= previous <= self._committed_floor():
                raise SafetyViolation(f"{node.id} contradicts committed entry {previous}")
            self._pass_on(node, {**message, "entries": []})
            return
        fresh = entries[placed.keep_from :]
        proven = fresh[-1][1] if fresh else placed.verified
        commit = guards.cap_commit(message["commit_index"], proven)
        if fresh and not self._base.members:
            raise SafetyViolation(
                f"{node.id} sends entries to a node that knows no members: a snapshot comes first"
            )
        if fresh:
            start = placed.verified
        else:
            # Nothing new: a message that cannot truncate, and an answer for what was verified.
            start = self.log.last_index
            self._ack_override = placed.verified + 1
        term = self.log.term_at(start)
        place = {"prevLogIdx": start, "prevLogTerm": term, "commit_index": commit}
        self._pass_on(node, {**message, **place, "entries": fresh})

    def _on_snapshot_offer(self, node: Node, message: Message) -> None:
        self._follow(node, message["term"])
        self._hear_leader()
        self._echo = message["x_round"]
        position = Position(message["snap_index"], message["snap_term"])
        try:
            if position.index <= self.applied_index():
                self._ack_override = position.index + 1
            else:
                self._snapshots.offered(node.id, Offer(message["snapshot_id"], position))
            self._SyncObj__sendNextNodeIdx(node)
        finally:
            self._echo, self._ack_override = 0, None

    # -- Snapshots

    def install(self, directory: Path, position: Position) -> bool:
        """Replaces the state by a fetched snapshot; False when it is not ahead of the state."""
        if position.index <= self.applied_index():
            return False
        self.machine.install(directory)
        # From here on the log may lag behind the state machine: a start would reset it, too.
        if self.log.holds(*position):
            self.log.cut_to(position.index)
        else:
            self.log.reset(*position)
        self._SyncObj__raftLastApplied = position.index
        self._SyncObj__raftCommitIndex = max(self.commit_index(), position.index)
        self._base = self._stored_configuration()
        others = self._base_with_log().names - {self.name}
        self._SyncObj__updateClusterConfiguration([self._node(other) for other in sorted(others)])
        self._refresh_configuration()
        return True

    def _SyncObj__tryLogCompaction(self) -> None:
        """Cuts the journal, never past what is durable in the state machine or pinned."""
        journal = self.log.journal
        if journal.bytes_retained <= self._cut_above:
            return
        target = min(self.applied_index(), (self.log.first_index + self.log.last_index) // 2)
        pinned = self._snapshots.pinned_index()
        if pinned is not None:
            target = min(target, pinned)
        if target > self.log.first_index:
            self.machine.sync()
            self.log.cut_to(target)
        limit = self._bounds.journal_bytes_retained_max
        self._cut_above = max(limit, journal.bytes_retained + limit // 4)

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:
        raise SafetyViolation("the library must not load a dump; snapshots are ours")


def _offer_message(offer: Offer, term: int) -> Message:
    return {
        "type": "x_snap_offer",
        "term": term,
        "snapshot_id": offer.snapshot_id,
        "snap_index": offer.position.index,
        "snap_term": offer.position.term,
    }
