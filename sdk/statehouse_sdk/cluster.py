"""Owns the operator's calls: the status of nodes, members added, removed, given the lead.

All are plans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_proto.v2 import cluster_pb2 as cluster

from statehouse_sdk import convert
from statehouse_sdk.cluster_models import Leader, Member, NodeStatus
from statehouse_sdk.errors import ConnectionError, StatehouseError, UnavailableError
from statehouse_sdk.faults import CallFailed
from statehouse_sdk.plans import Next, Open, Tell
from statehouse_sdk.retry import ATTEMPT_TIMEOUT_S

if TYPE_CHECKING:
    from statehouse_sdk.plans import Plan, Telling
    from statehouse_sdk.session import Session


def status(session: Session, address: str | None) -> Plan[NodeStatus]:
    """The status of the node at this address, or of any node."""
    if address is not None:
        timeout_s = min(2 * ATTEMPT_TIMEOUT_S, session.timeout_s)
        told = yield from session.ask("Status", address, cluster.StatusRequest(), timeout_s)
        return convert.status_of(told, address)

    def ask(node: str, timeout_s: float) -> Plan[NodeStatus]:
        told = yield from session.call("Status", cluster.StatusRequest(), node, timeout_s)
        return convert.status_of(told, node)

    attempts = session.attempts("Status")
    found = yield from session.drive(attempts, ask, leader=False)
    session.learn([member.client_address for member in found.members])
    return found


def health(session: Session) -> Plan[str]:
    """ "ok" if a node is serving and knows a leader; each known node is asked once."""
    told: list[str] = []
    timeout_s = min(ATTEMPT_TIMEOUT_S, session.timeout_s)
    for address in session.addresses():
        try:
            answer = yield from session.ask("Status", address, cluster.StatusRequest(), timeout_s)
        except UnavailableError as error:
            told.append(str(error))
            continue
        found = convert.status_of(answer, address)
        session.learn([member.client_address for member in found.members])
        if found.lifecycle == "serving" and found.leader_name:
            return "ok"
        told.append(f"{address} is {found.lifecycle} and knows {found.leader_name or 'no leader'}")
    raise ConnectionError("; ".join(told))


def add_member(session: Session, peer_address: str) -> Telling:
    """Tells progress until the node at this peer address votes."""
    request = cluster.AddMemberRequest(peer_address=peer_address)
    attempts = session.attempts("AddMember")
    while True:
        address = yield from session.choose(attempts, leader=True)
        begun = False
        try:
            stream = yield Open("AddMember", address, request, None)
            try:
                while (message := (yield Next(stream))) is not None:
                    begun = True
                    yield Tell((convert.progress_of(message),))
            finally:
                stream.close()
            return
        except CallFailed as failure:
            session.failed(address, failure)
            if begun:
                raise _interrupted(failure) from None
            yield from session.pause_or_raise(attempts, failure)


def remove_member(session: Session, name: str) -> Plan[list[Member]]:
    """Removes a member; returns those that remain."""
    request = cluster.RemoveMemberRequest(name=name)
    response: cluster.RemoveMemberResponse = yield from session.unary("RemoveMember", request)
    return [convert.member_of(member) for member in response.members]


def transfer_leadership(session: Session, name: str | None) -> Plan[Leader]:
    """Gives the lead to that member, or to the one that is furthest."""
    request = cluster.TransferLeadershipRequest(name=name or "")
    response: cluster.TransferLeadershipResponse = yield from session.unary(
        "TransferLeadership", request
    )
    return Leader(response.leader_name, response.leader_address, response.term)


def _interrupted(failure: CallFailed) -> StatehouseError:
    error = failure.fault.error
    if not isinstance(error, UnavailableError):
        return error
    return UnavailableError(
        f"the addition was interrupted and may still go on: look at the cluster's status ({error})"
    )
