"""Owns the making of requests to the service for history, checked before anything is sent; pure.

As requests.py does for state: both clients make theirs here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_proto.v2 import history_pb2 as history

from statehouse_sdk import convert
from statehouse_sdk.errors import InvalidRequestError
from statehouse_sdk.history_models import Head

if TYPE_CHECKING:
    from statehouse_sdk.models import At


def resolve(
    namespace: str, agent_id: str | None, at: At | None, *, stale: bool = False
) -> history.ResolveRequest:
    """The commit that a point stands for; a label needs the agent it belongs to."""
    if isinstance(at, str) and agent_id is None:
        raise InvalidRequestError(
            f"label {at!r:.60} belongs to an agent; say whose it is with agent_id="
        )
    return history.ResolveRequest(
        namespace=namespace,
        agent_id="" if agent_id is None else convert.checked_name(agent_id, "agent_id"),
        at=convert.point(at),
        consistency=convert.consistency(stale),
    )


def versions(
    namespace: str,
    agent_id: str,
    key: str,
    start_ts: At | None,
    end_ts: At | None,
    *,
    newest_first: bool,
    limit: int | None,
    stale: bool,
) -> history.VersionsRequest:
    """The versions of a key within two points, both inclusive."""
    return history.VersionsRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        key=convert.checked_name(key, "key"),
        start=convert.point(start_ts or None, "start_ts"),
        end=convert.point(end_ts, "end_ts"),
        newest_first=newest_first,
        limit=convert.checked_number(limit or 0, "limit"),
        consistency=convert.consistency(stale),
    )


def blame(
    namespace: str, agent_id: str, at: At | None, prefix: str, *, fields: bool, stale: bool
) -> history.BlameRequest:
    """Who set the keys of an agent."""
    return history.BlameRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        prefix=convert.checked_name(prefix, "prefix", empty=True),
        at=convert.point(at),
        fields=fields,
        consistency=convert.consistency(stale),
    )


def explain(
    namespace: str,
    agent_id: str,
    key: str,
    at: At | None,
    version: int | None,
    limit: int,
    *,
    stale: bool,
) -> history.ExplainRequest:
    """What led to a key's value, or to one version of it."""
    if version is not None and at is not None:
        raise InvalidRequestError("give at or version, not both")
    if version is not None and convert.checked_number(version, "version") == 0:
        raise InvalidRequestError("version is 0, which never was; versions count from 1")
    if convert.checked_number(limit, "limit") == 0:
        raise InvalidRequestError("limit is 0; an explanation holds one commit at least")
    return history.ExplainRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        key=convert.checked_name(key, "key"),
        at=convert.point(at),
        version=version or 0,
        limit=limit,
        consistency=convert.consistency(stale),
    )


def diff(
    namespace: str,
    agent_id: str,
    a: At | None,
    b: At | None,
    other: str | None,
    prefix: str,
    *,
    stale: bool,
) -> history.DiffRequest:
    """What differs between two points, or two agents."""
    return history.DiffRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        a=convert.point(a, "a"),
        other_agent_id="" if other is None else convert.checked_name(other, "other"),
        b=convert.point(b, "b"),
        prefix=convert.checked_name(prefix, "prefix", empty=True),
        consistency=convert.consistency(stale),
    )


def labels(namespace: str, agent_id: str, *, stale: bool) -> history.ListLabelsRequest:
    """The labels of an agent."""
    return history.ListLabelsRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        consistency=convert.consistency(stale),
    )


def lineage(namespace: str, agent_id: str, *, stale: bool = False) -> history.LineageRequest:
    """Where an agent comes from."""
    return history.LineageRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        consistency=convert.consistency(stale),
    )


def cursor(namespace: str, name: str) -> history.GetCursorRequest:
    """One cursor."""
    return history.GetCursorRequest(namespace=namespace, name=convert.checked_name(name, "name"))


def cursors(namespace: str, *, stale: bool) -> history.ListCursorsRequest:
    """The cursors of a namespace."""
    return history.ListCursorsRequest(namespace=namespace, consistency=convert.consistency(stale))


def verify(namespace: str, agent_id: str, after: int) -> history.VerifyRequest:
    """The whole record of a node, or the events of one agent."""
    convert.checked_number(after, "after")
    if not agent_id:
        return history.VerifyRequest(after=after)
    if after:
        raise InvalidRequestError(
            "an agent's events are checked from the first: leave out after, or the agent"
        )
    return history.VerifyRequest(
        namespace=namespace, agent_id=convert.checked_name(agent_id, "agent_id")
    )


def checked_head(head: object) -> Head:
    """`head` if it is one."""
    if not isinstance(head, Head) or len(head.chain_hash) != 32:
        raise InvalidRequestError(
            f"the head to go on from is {head!r:.80}; give a Head, as head() returned it"
        )
    return head
