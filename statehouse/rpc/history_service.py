"""Owns statehouse.v2.HistoryService: each method from request to response, over one pinned view.

Thin, as the service for state is: judge, find what the points stand for, hand the rows on in
bounded messages. Each answer tells the commit_ts it speaks for.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from statehouse_proto.v2 import history_pb2

from statehouse.core import limits, validation
from statehouse.core.errors import Failure, LimitExceeded, Reason
from statehouse.rpc import chunks, convert_history, points
from statehouse.rpc.point_reads import is_stale
from statehouse.rpc.points import Asked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from statehouse_proto.v2 import common_pb2

    from statehouse.core.model import CursorRow, LabelRow
    from statehouse.rpc.backend import Backend, View

_FORKS_TOLD = 1000
_EXPLAINED_DEFAULT = 1000


class HistoryService:
    """The native service for history."""

    def __init__(self, backend: Backend, now_us: points.NowUs) -> None:
        self._backend = backend
        self._now_us = now_us

    # -- Points

    async def resolve(self, request: history_pb2.ResolveRequest) -> history_pb2.ResolveResponse:
        if request.agent_id:
            validation.check_scope(request.namespace, request.agent_id, "")
        elif request.namespace:
            validation.check_namespace(request.namespace)
        async with self._view(request.consistency) as view:
            asked = Asked(request.namespace, request.agent_id)
            at = self._at(view, request.at if request.HasField("at") else None, asked)
            event = view.event(at)
            return history_pb2.ResolveResponse(
                commit_ts=at,
                committed_at_us=0 if event is None else event.committed_at_us,
                chain_hash=view.chain_hash_at(at),
                served_at=view.commit_ts,
            )

    async def list_labels(
        self, request: history_pb2.ListLabelsRequest
    ) -> AsyncGenerator[history_pb2.ListLabelsResponse, None]:
        validation.check_scope(request.namespace, request.agent_id, "")
        async with self._view(request.consistency) as view:
            rows = view.labels(request.namespace, request.agent_id)
            async for labels in chunks.pages(rows, _label_bytes):
                yield history_pb2.ListLabelsResponse(
                    labels=[convert_history.label_to_wire(row) for row in labels],
                    served_at=view.commit_ts,
                )

    # -- What was, and when

    async def versions(
        self, request: history_pb2.VersionsRequest
    ) -> AsyncGenerator[history_pb2.VersionsResponse, None]:
        names = request.namespace, request.agent_id, request.key
        validation.check_names(*names)
        async with self._view(request.consistency) as view:
            asked = Asked(request.namespace, request.agent_id)
            start, end = 1, view.commit_ts
            if request.HasField("start"):
                start = points.range_start(request.start, view, asked)
            if request.HasField("end"):
                end = points.range_end(request.end, view, asked)
            rows = view.versions(*names, start, end, request.newest_first)
            first = chunks.at_most(rows, request.limit)
            async for versions in chunks.pages(first, convert_history.version_bytes):
                yield history_pb2.VersionsResponse(
                    versions=[convert_history.version_to_wire(row) for row in versions],
                    served_at=view.commit_ts,
                )

    async def diff(
        self, request: history_pb2.DiffRequest
    ) -> AsyncGenerator[history_pb2.DiffResponse, None]:
        other = request.other_agent_id or request.agent_id
        validation.check_scope(request.namespace, request.agent_id, request.prefix)
        validation.check_scope(request.namespace, other, "")
        async with self._view(request.consistency) as view:
            point_a = request.a if request.HasField("a") else None
            point_b = request.b if request.HasField("b") else None
            a = self._at(view, point_a, Asked(request.namespace, request.agent_id))
            b = self._at(view, point_b, Asked(request.namespace, other))
            rows = view.diff(request.namespace, request.agent_id, a, other, b, request.prefix)
            async for keys in chunks.pages(rows, convert_history.diff_bytes):
                yield history_pb2.DiffResponse(
                    keys=[convert_history.diff_to_wire(row) for row in keys],
                    a=a,
                    b=b,
                    served_at=view.commit_ts,
                )

    # -- Why

    async def blame(
        self, request: history_pb2.BlameRequest
    ) -> AsyncGenerator[history_pb2.BlameResponse, None]:
        names = request.namespace, request.agent_id
        validation.check_scope(*names, request.prefix)
        async with self._view(request.consistency) as view:
            at = self._at(view, request.at if request.HasField("at") else None, Asked(*names))
            rows = view.blame(*names, request.prefix, at, request.fields)
            async for keys in chunks.pages(rows, convert_history.key_blame_bytes):
                yield history_pb2.BlameResponse(
                    keys=[convert_history.key_blame_to_wire(row) for row in keys], served_at=at
                )

    async def explain(
        self, request: history_pb2.ExplainRequest
    ) -> AsyncGenerator[history_pb2.ExplainResponse, None]:
        names = request.namespace, request.agent_id, request.key
        validation.check_names(*names)
        if request.version and request.HasField("at"):
            raise Failure(Reason.INVALID_ARGUMENT, "version and at exclude each other")
        limit = _explained_limit(request.limit)
        async with self._view(request.consistency) as view:
            point = request.at if request.HasField("at") else None
            at = self._at(view, point, Asked(request.namespace, request.agent_id))
            # One more than is told says whether there are more.
            rows = view.explain(*names, at, request.version, limit + 1)
            left = limit
            async for commits in chunks.pages(rows, convert_history.explained_bytes):
                told = commits[:left]
                left -= len(told)
                yield history_pb2.ExplainResponse(
                    commits=[convert_history.explained_to_wire(row) for row in told],
                    truncated=len(told) < len(commits),
                    served_at=at,
                )

    # -- What if

    async def lineage(self, request: history_pb2.LineageRequest) -> history_pb2.LineageResponse:
        names = request.namespace, request.agent_id
        validation.check_scope(*names, "")
        async with self._view(request.consistency) as view:
            ancestry, forks = view.lineage(*names), view.forks(*names, _FORKS_TOLD)
            return history_pb2.LineageResponse(
                ancestry=[convert_history.fork_to_wire(row) for row in ancestry],
                forks=[convert_history.fork_to_wire(row) for row in forks],
                served_at=view.commit_ts,
            )

    # -- Named readers

    async def get_cursor(
        self, request: history_pb2.GetCursorRequest
    ) -> history_pb2.GetCursorResponse:
        validation.check_namespace(request.namespace)
        validation.check_name(request.name, "name")
        async with self._view(request.consistency) as view:
            row = view.cursor(request.namespace, request.name)
            return history_pb2.GetCursorResponse(
                cursor=convert_history.cursor_to_wire(request.name, row), served_at=view.commit_ts
            )

    async def list_cursors(
        self, request: history_pb2.ListCursorsRequest
    ) -> AsyncGenerator[history_pb2.ListCursorsResponse, None]:
        validation.check_namespace(request.namespace)
        async with self._view(request.consistency) as view:
            rows = view.cursors(request.namespace)
            async for cursors in chunks.pages(rows, _cursor_bytes):
                yield history_pb2.ListCursorsResponse(
                    cursors=[convert_history.cursor_to_wire(row.name, row) for row in cursors],
                    served_at=view.commit_ts,
                )

    # -- Whether it is so

    async def verify(
        self, request: history_pb2.VerifyRequest
    ) -> AsyncGenerator[history_pb2.VerifyResponse, None]:
        _check_verify(request)
        view = await self._backend.view(stale=True)
        try:
            points.check_reached(request.after, view)
            names = request.namespace or None, request.agent_id or None
            for row in view.verify(request.after, *names):
                if row is None:
                    await asyncio.sleep(0)
                else:
                    yield convert_history.verified_to_wire(row)
        finally:
            view.close()

    # -- How

    @asynccontextmanager
    async def _view(self, consistency: int) -> AsyncGenerator[View, None]:
        view = await self._backend.view(stale=is_stale(consistency))
        try:
            yield view
        finally:
            view.close()

    def _at(self, view: View, point: common_pb2.Point | None, asked: Asked) -> int:
        """The commit_ts of a point; None is the view's own."""
        if point is None:
            return view.commit_ts
        return points.state_at(point, view, self._now_us, asked)


def _check_verify(request: history_pb2.VerifyRequest) -> None:
    if not request.agent_id:
        if request.namespace:
            raise Failure(
                Reason.INVALID_ARGUMENT,
                "agent_id is empty; name an agent of the namespace, or leave out both for all",
            )
        return
    validation.check_scope(request.namespace, request.agent_id, "")
    if request.after:
        raise Failure(
            Reason.INVALID_ARGUMENT,
            "after and an agent exclude each other: an agent's events are checked from the first",
        )


def _explained_limit(asked: int) -> int:
    if asked > limits.EXPLAIN_COMMITS_MAX:
        raise Failure(
            Reason.TOO_LARGE,
            f"limit is {asked}, above explain_commits_max = {limits.EXPLAIN_COMMITS_MAX}; ask for "
            "fewer, and go on from one of them",
            limit=LimitExceeded("explain_commits_max", limits.EXPLAIN_COMMITS_MAX, asked),
        )
    return asked or _EXPLAINED_DEFAULT


def _label_bytes(row: LabelRow) -> int:
    return len(row.name)


def _cursor_bytes(row: CursorRow) -> int:
    return len(row.name) + len(row.agent_id) + len(row.prefix)
