"""A consensus of one node without a log: what is proposed is applied at once.

It stands where `statehouse_cluster.consensus.Consensus` stands, for tests of the node and its
services above a real state store. A test may take its leadership away, hold its answers back, or
let it lose them after it applied, as a leader does that dies.
"""

from __future__ import annotations

import dataclasses

from statehouse_cluster.interfaces import (
    AddProgress,
    Entry,
    Member,
    MembershipRefused,
    MemberStatus,
    NotLeader,
    Outcome,
    OutcomeUnknown,
    Position,
    Role,
    Status,
)


class LoneConsensus:
    """Made by the node as the real one is; `last` is the one made last."""

    last: LoneConsensus

    def __init__(self, settings, machine, *, deliver, on_status, on_fatal, report):
        LoneConsensus.last = self
        self.machine = machine
        self.deliver = deliver
        self.on_status = on_status
        self.on_fatal = on_fatal
        self.index = machine.position().index
        self.lose_answers = 0
        self.refuse_proposals = 0
        self.confirms_reads = True
        self.hold = False
        self.held: list[Outcome] = []
        self.stopped = False
        self.proposed = 0
        self.barriers = 0
        self.me = Member(settings.name, "uuid-1", "127.0.0.1:1", settings.client_address)
        self.other = Member("n2", "uuid-2", "127.0.0.1:2", "127.0.0.1:22")
        self._status = Status(
            name=settings.name,
            uuid="uuid-1",
            cluster_id="",
            role=Role.JOINER,
            term=0,
            leader=None,
            ready=False,
            members=(),
            log_first_index=1,
            log_last_index=self.index,
            commit_index=self.index,
            applied_index=self.index,
        )

    # -- What the node calls

    def start(self):
        self.lead()

    def stop(self, *, hand_over, timeout_s):
        self.stopped = True

    def status(self):
        return self._status

    def propose(self, command, ticket):
        self.proposed += 1
        if not self._status.ready or self.refuse_proposals:
            self.refuse_proposals = max(0, self.refuse_proposals - 1)
            self._end(Outcome(ticket, error=NotLeader()))
            return
        self.index += 1
        payload = self.machine.group([command])
        entry = Entry(self.index, 1, payload)
        ((answer,),) = self.machine.apply([entry], Position(self.index, 1), None)
        if self.lose_answers:
            self.lose_answers -= 1
            self._end(Outcome(ticket, error=OutcomeUnknown()))
        else:
            self._end(Outcome(ticket, result=answer))

    def propose_all(self, proposals):
        for command, ticket in proposals:
            self.propose(command, ticket)

    def barrier(self, ticket):
        self.barriers += 1
        if self._status.ready and self.confirms_reads:
            self._end(Outcome(ticket, result=self.index))
        else:
            self._end(Outcome(ticket, error=NotLeader()))

    def add_member(self, peer_address, progress):
        if peer_address.endswith(":9"):
            raise MembershipRefused(f"no node answers at {peer_address}")
        for phase in ("snapshot", "catching up", "voting"):
            progress(AddProgress(phase, 1, 2, 3, self.other))
        return self.other

    def remove_member(self, name):
        if name != self.other.name:
            raise MembershipRefused(f"{name} is no member")

    def transfer(self, name):
        self.follow(self.other)
        return self.other

    # -- What a test does

    def lead(self):
        self.tell(cluster_id="c1", role=Role.LEADER, term=1, leader=self.me, ready=True)

    def follow(self, leader):
        self.tell(cluster_id="c1", role=Role.FOLLOWER, term=2, leader=leader, ready=False)

    def tell(self, **changes):
        members = (MemberStatus(self.me, True, True, 0), MemberStatus(self.other, True, True, 0))
        self._status = dataclasses.replace(self._status, members=members, **changes)
        self.on_status(self._status)

    def let_go(self):
        self.hold = False
        held, self.held = self.held, []
        self.deliver(held)

    def _end(self, outcome):
        if self.hold:
            self.held.append(outcome)
        else:
            self.deliver([outcome])
