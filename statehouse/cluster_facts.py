"""Owns the translation of what consensus tells into the node's own words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_cluster.interfaces import (
    AddProgress,
    Member,
    MembershipBusy,
    MembershipRefused,
    MemberStatus,
    OutcomeUnknown,
    Overloaded,
    Role,
    Status,
)

from statehouse.core.errors import Failure, LeaderHint, Reason
from statehouse.lifecycle import Event
from statehouse.node_status import AddStep, MemberFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

_REASONS: Mapping[type[Exception], tuple[Reason, str]] = {
    Overloaded: (Reason.OVERLOADED, "the leader's queue is full; nothing was written: try again"),
    OutcomeUnknown: (
        Reason.OUTCOME_UNKNOWN,
        "leadership was lost on the way; it may or may not be done: repeat it to learn which",
    ),
    TimeoutError: (
        Reason.OUTCOME_UNKNOWN,
        "consensus did not answer in time; it may or may not be done: look at the status",
    ),
    MembershipBusy: (
        Reason.MEMBERSHIP_BUSY,
        "another change of the members is under way; try again later",
    ),
    MembershipRefused: (Reason.MEMBERSHIP_REFUSED, "the change cannot be made"),
}


def failure_of(error: Exception) -> Failure | None:
    """The refusal for an error of consensus; None for one that is a fault, or is NotLeader."""
    for kind, (reason, text) in _REASONS.items():
        if isinstance(error, kind):
            return Failure(reason, str(error) or text)
    return None


def event_of(status: Status, *, joins: bool) -> Event:
    """What a status says of the node's life; `joins`: it was started to join a cluster."""
    if status.role is Role.REMOVED:
        return Event.REMOVED
    if not status.cluster_id:
        return Event.JOINS if joins else Event.FORMS
    return Event.JOINS if status.role is Role.JOINER else Event.VOTES


def hint_of(leader: Member | None, term: int) -> LeaderHint | None:
    """Where clients find the leader."""
    return None if leader is None else LeaderHint(leader.name, leader.client_address, term)


def member_facts(told: MemberStatus) -> MemberFacts:
    member = told.member
    return MemberFacts(
        name=member.name,
        node_uuid=member.uuid,
        peer_address=member.peer_address,
        client_address=member.client_address,
        voter=told.voter,
        connected=told.connected,
        match_index=told.match_index,
    )


def add_step(told: AddProgress) -> AddStep:
    voting = told.phase == "voting"
    return AddStep(
        phase=told.phase,
        bytes_sent=told.bytes_sent,
        bytes_total=told.bytes_total,
        entries_behind=told.entries_behind,
        member=member_facts(MemberStatus(told.member, voting, True, 0)),
    )
