"""Owns the questions to the service for history: plans from a request to what users hold.

What is short is collected whole from one attempt, so that it speaks for one commit_ts; the versions
of a key are read on as a stream, pinned to the commit_ts at which the first answer was served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statehouse_proto.v2 import common_pb2 as common
from statehouse_proto.v2 import history_pb2 as wire

from statehouse_sdk import convert_history, requests_history
from statehouse_sdk.faults import CallFailed
from statehouse_sdk.plans import Next, Open, Tell
from statehouse_sdk.session import STREAM_QUIET_S
from statehouse_sdk.streams import read_on

if TYPE_CHECKING:
    from collections.abc import Iterable

    from statehouse_sdk.diffing import Diff
    from statehouse_sdk.history_models import (
        Cursor,
        Explanation,
        Head,
        KeyBlame,
        KeyVersion,
        Label,
        Lineage,
    )
    from statehouse_sdk.plans import Plan, Telling
    from statehouse_sdk.session import Session


# -- Points


def resolve(
    session: Session, request: wire.ResolveRequest, address: str | None = None
) -> Plan[Head]:
    """The commit that a point stands for, and its place in the chain; as that node tells it."""
    response: wire.ResolveResponse
    if address is not None:
        response = yield from session.ask("Resolve", address, request, session.timeout_s)
    else:
        response = yield from session.unary("Resolve", request, stale=_is_stale(request))
    return convert_history.head_of(response)


def now(session: Session, namespace: str) -> Plan[Head]:
    """The last commit."""
    return resolve(session, requests_history.resolve(namespace, None, None))


def settle(session: Session, request: Any, fields: tuple[str, ...]) -> Plan[None]:
    """Puts the commit_ts in the place of each label: it may move while the answer is read."""
    for field in fields:
        point: common.Point = getattr(request, field)
        if point.WhichOneof("point") != "label":
            continue
        question = wire.ResolveRequest(
            namespace=request.namespace,
            agent_id=request.agent_id,
            at=point,
            consistency=request.consistency,
        )
        found = yield from resolve(session, question)
        point.commit_ts = found.commit_ts


# -- What was, and when


class _Versions:
    """What has been handed out of one key's versions; they count up without gap."""

    def __init__(self, request: wire.VersionsRequest) -> None:
        self._request = request
        self._last: wire.VersionedRecord | None = None
        self._alike = 0
        """Versions handed out that were made by the same commit as the last one."""
        self._handed_out = 0
        self._pinned_at: int | None = None

    def rest(self) -> wire.VersionsRequest | None:
        rest = wire.VersionsRequest()
        rest.CopyFrom(self._request)
        if self._last is None:
            self._pinned_at = None
            return rest
        # The commit of the last one is asked for again: it may have made more versions.
        bound = rest.end if self._request.newest_first else rest.start
        bound.commit_ts = self._last.record.commit_ts
        if self._request.limit:
            if self._handed_out == self._request.limit:
                return None
            rest.limit = self._request.limit - self._handed_out + self._alike
        return rest

    def news_of(self, response: wire.VersionsResponse) -> Iterable[KeyVersion] | None:
        if self._pinned_at is None:
            self._pinned_at = response.served_at
        news = [version for version in response.versions if self._is_new(version.record)]
        if not news:
            return None
        for version in news:
            same = self._last and self._last.record.commit_ts == version.record.commit_ts
            self._alike = self._alike + 1 if same else 1
            self._last = version
        self._handed_out += len(news)
        return map(convert_history.version_of, news)

    def _is_new(self, record: Any) -> bool:
        if self._pinned_at is not None and record.commit_ts > self._pinned_at:
            return False
        if self._last is None:
            return True
        last: int = self._last.record.version
        return bool(record.version < last if self._request.newest_first else record.version > last)


def versions(session: Session, request: wire.VersionsRequest) -> Telling:
    """Tells each version of a key, a KeyVersion; those made meanwhile are not among them."""
    yield from settle(session, request, ("start", "end"))
    yield from read_on(session, "Versions", _Versions(request), stale=_is_stale(request))


def diff(session: Session, request: wire.DiffRequest) -> Plan[Diff]:
    """What differs between two points, or two agents."""
    responses = yield from _collect(session, "Diff", request)
    return convert_history.diff_of(request, responses)


# -- Why


def blame(session: Session, request: wire.BlameRequest) -> Plan[list[KeyBlame]]:
    """Who set each key, in bytewise order."""
    responses = yield from _collect(session, "Blame", request)
    return [convert_history.key_blame_of(key) for response in responses for key in response.keys]


def explain(session: Session, request: wire.ExplainRequest) -> Plan[Explanation]:
    """What led to a value."""
    responses = yield from _collect(session, "Explain", request)
    return convert_history.explanation_of(request, responses)


# -- Marks


def labels(session: Session, request: wire.ListLabelsRequest) -> Plan[list[Label]]:
    """The labels of an agent, in bytewise order."""
    responses = yield from _collect(session, "ListLabels", request)
    return [convert_history.label_of(label) for answer in responses for label in answer.labels]


def lineage(session: Session, request: wire.LineageRequest) -> Plan[Lineage]:
    """Where an agent comes from, and its forks."""
    response: wire.LineageResponse = yield from session.unary(
        "Lineage", request, stale=_is_stale(request)
    )
    return convert_history.lineage_of(request.agent_id, response)


def cursor(session: Session, request: wire.GetCursorRequest) -> Plan[wire.Cursor]:
    """One cursor, as the wire tells it: one that does not exist has a version, too."""
    response: wire.GetCursorResponse = yield from session.unary("GetCursor", request)
    return response.cursor


def cursors(session: Session, request: wire.ListCursorsRequest) -> Plan[list[Cursor]]:
    """The cursors of a namespace, in bytewise order of their names."""
    responses = yield from _collect(session, "ListCursors", request)
    return [convert_history.cursor_of(cursor) for answer in responses for cursor in answer.cursors]


# -- Whether it is so


def verify(session: Session, request: wire.VerifyRequest, address: str | None) -> Telling:
    """Tells how far one node is with checking its own record, a Verification now and then.

    It is not asked on elsewhere: another node would begin anew, with another record.
    """
    attempts = session.attempts("Verify")
    node = address or (yield from session.choose(attempts, leader=False))
    try:
        stream = yield Open("Verify", node, request, STREAM_QUIET_S)
        try:
            while (response := (yield Next(stream))) is not None:
                yield Tell((convert_history.verification_of(response, node),))
        finally:
            stream.close()
    except CallFailed as failure:
        if address is None:
            session.failed(node, failure)
        raise failure.fault.error from None


def _collect(session: Session, name: str, request: Any) -> Plan[list[Any]]:
    return session.collect(name, request, stale=_is_stale(request))


def _is_stale(request: Any) -> bool:
    return bool(request.consistency == common.CONSISTENCY_STALE)
