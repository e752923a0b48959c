"""Owns what a leader does for its callers: groups of commands, linearizable reads, membership
changes, handing over, and the end of each of them.

A layer of the adapter; it must not know what commands mean or where they come from.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from statehouse_cluster import membership
from statehouse_cluster.interfaces import (
    Entry,
    Member,
    MembershipBusy,
    MembershipRefused,
    NotLeader,
    Outcome,
    OutcomeUnknown,
    Overloaded,
    Position,
    Ticket,
)
from statehouse_cluster.membership import Change
from statehouse_cluster.raft_log import APPLICATION, MEMBERSHIP, SafetyViolation
from statehouse_cluster.raft_replication import Replication
from statehouse_cluster.raft_state import FOLLOWER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


_Proposal = tuple[bytes, Ticket]
"""A command, and whom its outcome is for."""


class _Pending(NamedTuple):
    term: int
    tickets: list[Ticket]


class _ChangeRequest(NamedTuple):
    change: Change
    member: Member
    ticket: Ticket


class _Transfer(NamedTuple):
    target: str
    ticket: Ticket
    give_up_at: float


class Leadership(Replication):
    """Requests in, outcomes out."""

    def __init__(self, **parts: Any) -> None:
        self._proposals: deque[_Proposal] = deque()
        self._change: _ChangeRequest | None = None
        self._pending: dict[int, _Pending] = {}
        self._pending_tickets = 0
        self._outcomes: list[Outcome] = []
        self._transfer: _Transfer | None = None
        self.before_flush: Callable[[], None] = lambda: None
        """Called before a leader waits for its disk; may take outcomes."""
        super().__init__(**parts)

    # -- Requests

    def propose(self, command: bytes, ticket: Ticket) -> None:
        """Queues a command; its outcome is one of machine.apply's results, or an error."""
        self.propose_all([(command, ticket)])

    def propose_all(self, proposals: list[_Proposal]) -> None:
        """As `propose`, for several, in order."""
        room = 0
        refusal: type[Exception] = NotLeader
        if self.is_leader():
            waiting = len(self._proposals) + self._pending_tickets
            room, refusal = max(0, self._bounds.queue_commands_max - waiting), Overloaded
        self._proposals.extend(proposals[:room])
        for _, ticket in proposals[room:]:
            self._fail(ticket, refusal())

    def read(self, tickets: list[Ticket]) -> None:
        """Queues linearizable reads; each outcome is the applied index it may be served at."""
        if self.is_leader():
            self._reads.arrive(tickets)
        else:
            for ticket in tickets:
                self._fail(ticket, NotLeader())

    def change(self, change: Change, member: Member, ticket: Ticket) -> None:
        """Queues a membership change; its outcome is None once it is committed and applied."""
        if not self.is_leader():
            self._fail(ticket, NotLeader())
        elif self._change is not None:
            self._fail(ticket, MembershipBusy("another membership change is under way"))
        else:
            self._change = _ChangeRequest(change, member, ticket)

    def transfer(self, target: str | None, ticket: Ticket) -> None:
        """Hands leadership over; the outcome is the target's name when it was told to campaign."""
        if not self.is_leader():
            return self._fail(ticket, NotLeader())
        if self._transfer is not None:
            return self._fail(ticket, MembershipBusy("a leadership transfer is under way"))
        others = self._configuration.names - {self.name}
        able = {name for name in others if self.is_connected(name)}
        if target is not None and target not in able:
            why = (
                f"{target} is not connected to {self.name}; nothing was transferred: try again"
                if target in others
                else f"{target} is none of the other members; nothing was transferred"
            )
            return self._fail(ticket, MembershipRefused(why))
        if not able:
            return self._fail(
                ticket, MembershipRefused("no other member is connected; nothing was transferred")
            )
        chosen = target or max(sorted(able), key=self.match_index)
        self._transfer = _Transfer(chosen, ticket, self._now() + self._timing.transfer_s)
        return None

    def add_learner(self, member: Member) -> None:
        """Starts replicating to a node that does not vote; leader only."""
        node = self._node(member.name)
        self._learners[member.name] = member
        self._SyncObj__readonlyNodes.add(node)
        self._SyncObj__raftNextIndex[node] = self.log.last_index + 1
        self._SyncObj__raftMatchIndex[node] = 0
        self._SyncObj__lastResponseTime[node] = self._now()
        self._links.dial(member.name, member.peer_address)

    def drop_learner(self, name: str) -> None:
        """Stops it again; nothing happens when the node is a member by now."""
        if self._learners.pop(name, None) is None:
            return
        node = self._node(name)
        self._SyncObj__readonlyNodes.discard(node)
        if name not in self._configuration.names:
            self._SyncObj__raftNextIndex.pop(node, None)
            self._SyncObj__raftMatchIndex.pop(node, None)
            self._forget_link(name)

    def take_outcomes(self) -> list[Outcome]:
        ended, self._outcomes = self._outcomes, []
        return ended

    def has_work(self) -> bool:
        """Whether the next round should not wait for events."""
        if self.commit_index() > self.applied_index():
            return True
        if not self.is_leader():
            return False
        # Nobody answers a lone voter: what it has synced is committed in its next round.
        alone = not self._SyncObj__otherNodes and self.log.last_index > self.commit_index()
        return alone or (bool(self._proposals) and self._may_append())

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        self._outcomes.append(Outcome(ticket, error=error))

    def _abandon(self) -> None:
        """Ends everything that only a leader could have finished."""
        for pending in self._pending.values():
            for ticket in pending.tickets:
                self._fail(ticket, OutcomeUnknown())
        self._pending, self._pending_tickets = {}, 0
        unsent = [ticket for _, ticket in self._proposals]
        self._proposals.clear()
        for ticket in (*unsent, *self._reads.drain()):
            self._fail(ticket, NotLeader())
        if self._change is not None:
            self._fail(self._change.ticket, NotLeader())
            self._change = None
        if self._transfer is not None:
            self._end_transfer(self._transfer.target)
        for name in list(self._learners):
            self.drop_learner(name)

    # -- Proposing

    def _may_append(self) -> bool:
        in_flight = self.log.last_index - self.commit_index()
        return in_flight < self._bounds.entries_in_flight_max and self._transfer is None

    def _checkCommandsToApply(self) -> None:
        if not self.is_leader():
            return
        before = self.log.last_index
        self._append_change()
        while self._proposals and self._may_append():
            self._append_group()
        if self.log.last_index > before:
            # The followers write while this node does: nothing counts before its own flush.
            self._SyncObj__sendAppendEntries()
            # What has ended need not sit through the flush of what comes next.
            self.before_flush()
            self.log.flush()
        # Before the wait, not after it: a read that is here already should not sit through one.
        self._serve_reads()

    def _append_group(self) -> None:
        commands: list[bytes] = []
        tickets: list[Ticket] = []
        size = 0
        while self._proposals and len(commands) < self._bounds.group_commands_max:
            size += len(self._proposals[0][0])
            if commands and size > self._bounds.group_bytes_max:
                break
            command, ticket = self._proposals.popleft()
            commands.append(command)
            tickets.append(ticket)
        self._append(APPLICATION + self.machine.group(commands), tickets)

    def _append(self, payload: bytes, tickets: list[Ticket]) -> None:
        index = self.log.last_index + 1
        self.log.add(payload, index, self.term())
        self._pending[index] = _Pending(self.term(), tickets)
        self._pending_tickets += len(tickets)

    # -- Membership

    def _append_change(self) -> None:
        request, self._change = self._change, None
        if request is None:
            return
        if not self._change_is_free():
            self._fail(
                request.ticket,
                MembershipBusy("an earlier membership change is not committed yet; try again"),
            )
            return
        reached = [n for n in self._known_names() if self.is_connected(n)]
        why = membership.refusal(
            self._configuration, request.change, request.member, self.name, reached
        )
        if why:
            self._fail(request.ticket, MembershipRefused(why))
            return
        self._count_change(request.change, request.member.name)
        payload = membership.encode_change(request.change, request.member)
        self._append(MEMBERSHIP + payload, [request.ticket])
        self._refresh_configuration()

    def _change_is_free(self) -> bool:
        """One change at a time, and only by a leader that has committed in its own term."""
        return self.is_ready() and not self.log.changes_above(self.applied_index())

    def _count_change(self, change: Change, name: str) -> None:
        """Lets the library count the new voters at once; a learner keeps what it has shown."""
        node = self._node(name)
        learned = self._learners.pop(name, None) is not None
        known = self._SyncObj__raftNextIndex.get(node), self._SyncObj__raftMatchIndex.get(node)
        self._SyncObj__readonlyNodes.discard(node)
        self._SyncObj__doChangeCluster((change.value, name))
        if learned and change is Change.ADD:
            self._SyncObj__raftNextIndex[node], self._SyncObj__raftMatchIndex[node] = known

    def _SyncObj__changeCluster(self, request: object) -> bool:
        raise SafetyViolation("membership changes come through the adapter only")

    # -- Applying

    def _SyncObj__applyLogEntries(self) -> bool:
        commit, applied = self.commit_index(), self.applied_index()
        if commit <= applied:
            return False
        if commit > self.log.last_index or applied < self.log.first_index:
            raise SafetyViolation(
                f"entries {applied + 1} to {commit} are committed, but the log holds "
                f"{self.log.first_index} to {self.log.last_index}"
            )
        stop = min(commit, applied + self._bounds.apply_entries_max)
        entries = list(self.log.journal.view(applied + 1, stop + 1))
        application = [
            Entry(e.index, e.term, e.payload[1:]) for e in entries if e.payload[:1] == APPLICATION
        ]
        changes = [e.payload[1:] for e in entries if e.payload[:1] == MEMBERSHIP]
        base = membership.fold(self._base, changes)
        first_time = not self.machine.configuration()
        blob = membership.encode_configuration(base) if changes or first_time else None
        last = Position(entries[-1].index, entries[-1].term)
        results = self.machine.apply(application, last, blob)
        self._SyncObj__raftLastApplied = last.index
        self._base = base
        self._settle(entries, dict(zip((e.index for e in application), results, strict=True)))
        if changes:
            self._after_changes(changes)
        if self.is_leader():
            self._tell_commit_soon()
        return False

    def _tell_commit_soon(self) -> None:
        """Followers learn of a commit with the next append, or with a heartbeat that comes early.

        A message for it alone would double the rounds of every node for each lone commit.
        """
        due = self._now() + self._timing.commit_notice_s
        self._SyncObj__newAppendEntriesTime = min(self._SyncObj__newAppendEntriesTime, due)

    def _settle(self, entries: Iterable[Any], results: dict[int, Any]) -> None:
        for entry in entries:
            pending = self._pending.pop(entry.index, None)
            if pending is None:
                continue
            self._pending_tickets -= len(pending.tickets)
            if pending.term != entry.term:
                # The slot went to another leader's entry: ours is in no log that counts.
                for ticket in pending.tickets:
                    self._fail(ticket, NotLeader())
                continue
            answers = results.get(entry.index, [None] * len(pending.tickets))
            self._outcomes.extend(
                Outcome(ticket, answer)
                for ticket, answer in zip(pending.tickets, answers, strict=True)
            )

    def _after_changes(self, changes: list[bytes]) -> None:
        """Committed changes count for good: a removed node is told, by everyone who can."""
        for payload in changes:
            change, member = membership.decode_change(payload)
            if change is not Change.REMOVE:
                continue
            if member.name == self.name:
                self.mark_removed()
            else:
                self._forget_link(member.name, {"type": "x_removed"})
        self._refresh_configuration()

    def mark_stopped(self) -> None:
        """No round follows: whoever still waits gets the answer a lost leadership would give."""
        self._abandon()

    def mark_removed(self) -> None:
        """This node was removed: it neither votes, campaigns nor serves from now on."""
        if self.removed:
            return
        self.removed = True
        self._abandon()
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None

    # -- Reading and handing over

    def _serve_reads(self) -> None:
        if not self._reads or not self.is_leader():
            return
        if self.is_ready() and self._reads.start_round(self.commit_index()):
            self._SyncObj__sendAppendEntries()
        others = [node.id for node in self._SyncObj__otherNodes]
        applied = self.applied_index()
        self._outcomes.extend(
            Outcome(ticket, applied) for ticket in self._reads.served(others, applied)
        )

    def _push_transfer(self) -> None:
        transfer = self._transfer
        if transfer is None:
            return
        if not self.is_leader():
            self._end_transfer(transfer.target)
        elif self._now() > transfer.give_up_at:
            self._transfer = None
            why = f"{transfer.target} did not take over in {self._timing.transfer_s} s; try again"
            self._fail(transfer.ticket, MembershipRefused(why))
        elif self.match_index(transfer.target) == self.log.last_index:
            self._tell(transfer.target, {"type": "x_timeout_now", "term": self.term()})

    def _end_transfer(self, target: str) -> None:
        if self._transfer is not None:
            self._outcomes.append(Outcome(self._transfer.ticket, target))
            self._transfer = None
