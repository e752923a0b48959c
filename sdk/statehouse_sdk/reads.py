"""Owns the reads of one moment: plans from a request to its results; history is replay.py's.

A stream is collected whole from one attempt, so that everything in it speaks for one commit_ts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statehouse_proto.v2 import common_pb2 as common
from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import convert
from statehouse_sdk.errors import TooLargeError

if TYPE_CHECKING:
    from statehouse_sdk.models import StateResult
    from statehouse_sdk.plans import Plan
    from statehouse_sdk.session import Session
    from statehouse_sdk.straight import Straight


def get(session: Session, request: state.GetRequest) -> Plan[StateResult]:
    """One key."""
    response: state.GetResponse = yield from session.unary("Get", request, stale=_is_stale(request))
    return convert.result_of(response.record, response.served_at, request.key)


def get_straight(session: Session, place: bytes) -> Straight | None:
    """The straight way of `get_now`; None: there is something to decide first."""
    straight = session.straight("Get")
    if straight is not None:
        straight.request = place
    return straight


def get_now(
    session: Session, place: bytes, key: str, tried: Straight | None = None
) -> Plan[StateResult]:
    """One key of that name as it is now; `place`: its three names, see commit_bytes.py.

    Its names are a whole GetRequest, written already: the most frequent read needs no message.
    tried: the first attempt was made already, and failed.
    """
    response: state.GetResponse = yield from session.unary("Get", place, tried=tried)
    return convert.result_of(response.record, response.served_at, key)


def get_many(session: Session, request: state.GetManyRequest) -> Plan[list[StateResult]]:
    """Several keys at one commit_ts, one result for each, in order.

    Records that exceed one message are asked for in halves, the second at the first's commit_ts.
    """
    try:
        response: state.GetManyResponse = yield from session.unary(
            "GetMany", request, stale=_is_stale(request)
        )
    except TooLargeError as error:
        if error.limit_name != "message_bytes_max" or len(request.keys) == 1:
            raise
        return (yield from _get_halves(session, request))
    return [
        convert.result_of(record, response.served_at, key)
        for key, record in zip(request.keys, response.records, strict=True)
    ]


def list_keys(session: Session, request: state.ListKeysRequest) -> Plan[list[str]]:
    """The live keys of one agent."""
    responses: list[state.ListKeysResponse] = yield from _collect(session, "ListKeys", request)
    return [key for response in responses for key in response.keys]


def scan(session: Session, request: state.ScanRequest) -> Plan[tuple[list[StateResult], int]]:
    """The live records of one agent, and the commit_ts they speak for."""
    responses: list[state.ScanResponse] = yield from _collect(session, "Scan", request)
    results = [
        convert.result_of(record, response.served_at)
        for response in responses
        for record in response.records
    ]
    return results, responses[0].served_at if responses else 0


def list_agents(session: Session, request: state.ListAgentsRequest) -> Plan[list[str]]:
    """The agents of a namespace."""
    responses: list[state.ListAgentsResponse] = yield from _collect(session, "ListAgents", request)
    return [agent.agent_id for response in responses for agent in response.agents]


def list_namespaces(session: Session, request: state.ListNamespacesRequest) -> Plan[list[str]]:
    """All namespaces."""
    responses: list[state.ListNamespacesResponse] = yield from _collect(
        session, "ListNamespaces", request
    )
    return [name for response in responses for name in response.namespaces]


def _get_halves(session: Session, request: state.GetManyRequest) -> Plan[list[StateResult]]:
    middle = len(request.keys) // 2
    halves = []
    for keys in (request.keys[:middle], request.keys[middle:]):
        half = state.GetManyRequest()
        half.CopyFrom(request)
        del half.keys[:]
        half.keys.extend(keys)
        halves.append(half)
    first = yield from get_many(session, halves[0])
    halves[1].at.commit_ts = first[0].served_at
    # Another node may not have come as far as the one that served the first half.
    halves[1].consistency = common.CONSISTENCY_LINEARIZABLE
    return first + (yield from get_many(session, halves[1]))


def _collect(session: Session, name: str, request: Any) -> Plan[list[Any]]:
    return session.collect(name, request, stale=_is_stale(request))


def _is_stale(request: Any) -> bool:
    return bool(request.consistency == common.CONSISTENCY_STALE)
