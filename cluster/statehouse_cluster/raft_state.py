"""Owns what one node's Raft is at a moment: the library's fields under plain names, the
configuration in force and the links it asks for.

The lowest layer of the adapter (docs/decisions/0008). pysyncobj is the engine: its tick, its
elections, its commit rule; the layers above replace what is unsound in it. All of them run on the
raft thread only. It must not know elections, replication or proposals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pysyncobj.syncobj as library
from pysyncobj import SyncObj, SyncObjConf

from statehouse_cluster import membership
from statehouse_cluster.interfaces import Member, Offer, Role, StateMachine
from statehouse_cluster.raft_log import MEMBERSHIP, RaftLog, SafetyViolation
from statehouse_cluster.raft_nodes import Nodes
from statehouse_cluster.raft_transport import Links, Message, RaftTransport
from statehouse_cluster.reads import ReadIndex

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from pysyncobj.node import Node

    from statehouse_cluster.journal import Journal, LogEntry
    from statehouse_cluster.membership import Configuration
    from statehouse_cluster.settings import Bounds
    from statehouse_cluster.timing import Timing

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
Standing = tuple[object, ...]
NEVER = float("-inf")


class Snapshots(Protocol):
    """Who makes, serves and fetches snapshots; moves no byte on the raft thread."""

    def offer_for(self, name: str, least: int) -> Offer | None:
        """What to offer a follower whose entries are cut; None while it is being made.

        An older snapshot than `least`, the first index of the log, would leave a gap behind it.
        """

    def offered(self, leader: str, offer: Offer) -> None:
        """A leader offers; starts fetching, or goes on with what it fetches already."""

    def pinned_index(self) -> int | None:
        """The log above this index is still needed beside a snapshot in use."""


class RaftState(SyncObj):  # type: ignore[misc]  # pysyncobj has no types
    """The library's object, told who it is and given our log, transport and poller."""

    _SyncObj__connectedNodes: set[Node]
    _SyncObj__raftElectionDeadline: float

    def __init__(
        self,
        *,
        name: str,
        journal: Journal,
        machine: StateMachine,
        founding: Configuration,
        links: Links,
        poller: object,
        snapshots: Snapshots,
        timing: Timing,
        bounds: Bounds,
        randomness: random.Random,
    ) -> None:
        self.name = name
        self.machine = machine
        self.removed = False
        self._applied_at_start = machine.position().index
        self.log = RaftLog(journal, self._committed_floor)
        self._links = links
        self._snapshots = snapshots
        self._timing = timing
        self._bounds = bounds
        self._random = randomness
        self._node = Nodes().named
        self._transport = RaftTransport(links, self._node, self._stamp, self._on_unsent)
        self._founding = founding
        self._base = self._stored_configuration()
        self._configuration = self._base_with_log()
        self._seen_changes = self.log.changes_epoch
        self._learners: dict[str, Member] = {}
        self._guests: set[str] = set()
        self._reads = ReadIndex(0)
        self._forced_term = 0
        others = sorted(self._configuration.names - {name})
        super().__init__(
            self._node(name),
            [self._node(other) for other in others],
            conf=self._library_settings(),
            nodeClass=self._node,
            transport=self._transport,
        )
        self._poller = poller
        self._SyncObj__raftCommitIndex = self._applied_at_start
        self._SyncObj__raftLastApplied = self._applied_at_start
        self._SyncObj__needLoadDumpFile = False
        self._dial_members()

    def _library_settings(self) -> SyncObjConf:
        timing = self._timing
        return SyncObjConf(
            autoTick=False,
            dynamicMembershipChange=True,
            appendEntriesUseBatch=True,
            appendEntriesPeriod=timing.heartbeat_s,
            # Above the largest entry, so that the library never splits one.
            appendEntriesBatchSizeBytes=self._bounds.group_bytes_max * 2,
            raftMinTimeout=timing.election_min_s,
            raftMaxTimeout=timing.election_max_s,
            leaderFallbackTimeout=timing.leader_fallback_s,
            connectionTimeout=timing.leader_fallback_s,
            fullDumpFile=None,
            journalFile=None,
            useFork=False,
        )

    def _stored_configuration(self) -> Configuration:
        blob = self.machine.configuration()
        return membership.decode_configuration(blob) if blob else self._founding

    # The library's own journal never gets in: the constructor's assignment falls on this setter.
    _SyncObj__raftLog = property(lambda self: self.log, lambda self, value: None)

    # -- The state, in plain names

    def _now(self) -> float:
        return float(library.monotonicTime())

    def is_leader(self) -> bool:
        return bool(self._SyncObj__raftState == LEADER)

    def term(self) -> int:
        return int(self._SyncObj__raftCurrentTerm)

    def commit_index(self) -> int:
        return int(self._SyncObj__raftCommitIndex)

    def applied_index(self) -> int:
        return int(self._SyncObj__raftLastApplied)

    def is_ready(self) -> bool:
        """Leads, and has applied an entry of its own term: may read and change members."""
        return self.is_leader() and self.applied_index() >= self._SyncObj__noopIDx

    def leader_name(self) -> str | None:
        leader = self._SyncObj__raftLeader
        return None if leader is None else str(leader.id)

    def role(self) -> Role:
        if self.removed:
            return Role.REMOVED
        if self.is_leader():
            return Role.LEADER
        if self.name not in self._configuration.names:
            return Role.JOINER
        candidate = self._SyncObj__raftState == CANDIDATE
        return Role.CANDIDATE if candidate else Role.FOLLOWER

    def standing(self) -> Standing:
        """What others should hear of at once when it changes; it is asked in every round."""
        return (
            self._SyncObj__raftCurrentTerm,
            self._SyncObj__raftState,
            self._SyncObj__raftLeader,
            self.is_ready(),
            self._configuration,
            self.removed,
        )

    def match_index(self, name: str) -> int:
        if name == self.name:
            return self.log.last_index
        return (
            int(self._SyncObj__raftMatchIndex.get(self._node(name), 0)) if self.is_leader() else 0
        )

    def is_connected(self, name: str) -> bool:
        return name == self.name or self._node(name) in self._SyncObj__connectedNodes

    def _committed_floor(self) -> int:
        state: dict[str, int] = self.__dict__
        return max(
            state.get("_SyncObj__raftCommitIndex", 0),
            state.get("_SyncObj__raftLastApplied", 0),
            self._applied_at_start,
        )

    # -- The log, as the library asks for it many times a round

    def _SyncObj__getCurrentLogIndex(self) -> int:
        return self.log.last_index

    def _SyncObj__getCurrentLogTerm(self) -> int:
        return self.log.last_position[0]

    def _SyncObj__getPrevLogIndexTerm(self, nextNodeIndex: int) -> tuple[int | None, int | None]:
        previous = nextNodeIndex - 1
        if not self.log.first_index <= previous <= self.log.last_index:
            return None, None
        return previous, self.log.term_at(previous)

    def _SyncObj__getEntries(
        self, fromIDx: int | None, count: int | None = None, maxSizeBytes: int | None = None
    ) -> Sequence[LogEntry]:
        """From `fromIDx` on, until they reach `maxSizeBytes`; lazily where no size is told."""
        if fromIDx is None or fromIDx < self.log.first_index:
            return []
        stop = self.log.last_index + 1
        if count is not None:
            stop = min(stop, fromIDx + count)
        entries = self.log.journal.view(fromIDx, max(fromIDx, stop))
        return entries if maxSizeBytes is None else _up_to(entries, maxSizeBytes)

    # -- Configuration and links

    def configuration(self) -> Configuration:
        """The one in force: applied, and every change further up in the log."""
        return self._configuration

    def applied_configuration(self) -> Configuration:
        return self._base

    def learners(self) -> dict[str, Member]:
        return dict(self._learners)

    def link_up(self, name: str) -> None:
        self._transport.link_up(name)

    def link_down(self, name: str) -> None:
        self._transport.link_down(name)

    def greet(self, name: str, address: str) -> None:
        """A node this log does not know as a member dialed in; answers need a link back."""
        if name not in self._configuration.names and name not in self._learners:
            self._guests.add(name)
            self._links.dial(name, address)

    def _known_names(self) -> set[str]:
        return {self.name, *self._configuration.names, *self._base.names, *self._learners}

    def _base_with_log(self) -> Configuration:
        applied = self.__dict__.get("_SyncObj__raftLastApplied", self._applied_at_start)
        return membership.fold(self._base, self.log.changes_above(applied))

    def _refresh_configuration(self) -> None:
        """Follows the log: links to whom it names, none to whom it removed for good."""
        self._seen_changes = self.log.changes_epoch
        before = self._known_names()
        self._configuration = self._base_with_log()
        counted = {node.id for node in self._SyncObj__otherNodes}
        if counted != self._configuration.names - {self.name}:
            raise SafetyViolation(
                f"the library counts {sorted(counted)}, the log says "
                f"{sorted(self._configuration.names)}"
            )
        self._dial_members()
        for name in before - self._known_names():
            self._forget_link(name)

    def _dial_members(self) -> None:
        for member in self._configuration.members:
            if member.name != self.name:
                self._guests.discard(member.name)
                self._links.dial(member.name, member.peer_address)

    def _forget_link(self, name: str, last_word: Message | None = None) -> None:
        self._guests.discard(name)
        self._SyncObj__connectedNodes.discard(self._node(name))
        if last_word is None:
            self._links.drop(name)
        else:
            self._tell(name, last_word)
            self._links.linger(name)

    def _SyncObj__parseChangeClusterRequest(self, command: bytes) -> tuple[str, str] | None:
        if command[:1] != MEMBERSHIP:
            return None
        change, member = membership.decode_change(command[1:])
        return change.value, member.name

    # -- Messages

    def _stamp(self, message: Message) -> Message:
        """What every message carries: the sender's term; a leader's, the read round, too."""
        stamped = dict(message)
        stamped["x_term"] = self.term()
        if message["type"] in ("append_entries", "x_snap_offer"):
            stamped["x_round"] = self._reads.round
        elif message["type"] == "request_vote":
            stamped["x_transfer"] = self._forced_term == self.term()
        return stamped

    def _on_unsent(self, node: Node, message: Message) -> None:
        """A message the links did not take; most are said again anyway."""

    def _tell(self, name: str, message: Message) -> None:
        self._transport.send(self._node(name), message)

    def _pass_on(self, node: Node, message: Message) -> None:
        super()._SyncObj__onMessageReceived(node, message)


def _up_to(entries: Iterable[LogEntry], bytes_max: int) -> list[LogEntry]:
    taken: list[LogEntry] = []
    size_bytes = 0
    for entry in entries:
        taken.append(entry)
        size_bytes += len(entry.payload)
        if size_bytes >= bytes_max:
            break
    return taken
