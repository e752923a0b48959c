"""Owns the commits that record marks by themselves: labels, forks, and the end of cursors.

Each is one transaction, sent as every other. What it is refused for is raised as it is: there is no
transaction of the user's that could fail around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_sdk import convert, history, requests_history
from statehouse_sdk.errors import (
    InvalidRequestError,
    LabelNotFoundError,
    NotFoundError,
    OutcomeUnknownError,
    TransactionAbortedError,
)
from statehouse_sdk.history_models import ForkPoint
from statehouse_sdk.models import CursorMark, ForkMark, LabelMark
from statehouse_sdk.transaction import Buffer

if TYPE_CHECKING:
    from statehouse_sdk.models import At
    from statehouse_sdk.plans import Plan
    from statehouse_sdk.session import Session


def set_label(
    session: Session,
    namespace: str,
    agent_id: str,
    name: str,
    at: At | None,
    metadata: bytes | None,
) -> Plan[int]:
    """The commit_ts that the label names from now on."""
    convert.checked_own_label(name)
    point = yield from history.resolve(session, requests_history.resolve(namespace, agent_id, at))
    if point.commit_ts == 0:
        raise InvalidRequestError(
            f"label {name!r} would name the empty beginning; commit something first, or name a"
            " point from commit_ts 1 on"
        )
    tx = Buffer(namespace, None, metadata)
    tx.label(agent_id, name, point.commit_ts)
    yield from committed(session, tx, f"label {name!r}", "set it again: that does no harm")
    return point.commit_ts


def delete_label(
    session: Session,
    namespace: str,
    agent_id: str,
    name: str,
    metadata: bytes | None,
) -> Plan[int]:
    """The commit_ts of the deletion; LabelNotFoundError if there is no such label."""
    tx = Buffer(namespace, None, metadata)
    tx._mark(agent_id, LabelMark(convert.checked_name(name, "label"), 0))
    try:
        return (yield from committed(session, tx, f"the deletion of label {name!r}", "look at it"))
    except NotFoundError as error:
        raise LabelNotFoundError(str(error)) from None


def fork(
    session: Session,
    namespace: str,
    agent_id: str,
    new_agent_id: str,
    at: At | None,
    metadata: bytes | None,
) -> Plan[ForkPoint]:
    """Where the new agent begins."""
    convert.checked_name(new_agent_id, "new_agent_id")
    point = yield from history.resolve(session, requests_history.resolve(namespace, agent_id, at))
    tx = Buffer(namespace, None, metadata)
    tx._mark(new_agent_id, ForkMark(agent_id, point.commit_ts))
    what = f"the fork {new_agent_id!r} of {agent_id!r}"
    forked_at = yield from committed(session, tx, what, f"look at lineage({new_agent_id!r})")
    return ForkPoint(new_agent_id, agent_id, point.commit_ts, forked_at)


def delete_cursor(session: Session, namespace: str, name: str, metadata: bytes | None) -> Plan[int]:
    """The commit_ts of the deletion; NotFoundError if there is no such cursor."""
    found = yield from history.cursor(session, requests_history.cursor(namespace, name))
    if not found.exists:
        raise NotFoundError(
            f"namespace {namespace!r} has no cursor {name!r}; cursors() lists those it has"
        )
    tx = Buffer(namespace, None, metadata)
    tx._mark("", CursorMark(name, 0, deleted=True), if_version=found.version)
    return (yield from committed(session, tx, f"the deletion of cursor {name!r}", "look at it"))


def committed(session: Session, tx: Buffer, what: str, advice: str) -> Plan[int]:
    """Commits a transaction that the user does not hold; what it is refused for is raised."""
    try:
        return (yield from tx._committing(session))
    except TransactionAbortedError as error:
        raise (error.cause or error) from None
    except OutcomeUnknownError as error:
        raise OutcomeUnknownError(f"{what} may or may not be done; {advice} ({error})") from None
