"""Owns a replay: its range, its tail, and how following goes on as events are committed.

Each stretch is read from one pinned view. A follower's next stretch starts right after the last
commit_ts of the one before, so there is neither gap nor repeat, however many commits share a pulse.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from statehouse.core import validation
from statehouse.core.errors import Failure, Reason
from statehouse.rpc import chunks, points
from statehouse.rpc.event_bytes import event_field, replay_response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from statehouse_proto.v2 import state_pb2

    from statehouse.rpc.backend import Backend, View

_PROGRESS_INTERVAL_S = 5.0
"""A follower that sees nothing of its scope is told at least so often how far it is."""

_COUNT_ROWS_AT_ONCE = 256

_Row = tuple[int, bytes]
"""The commit_ts of an event, and the event as a field of a ReplayResponse."""


@dataclass(frozen=True, slots=True)
class _Scope:
    namespace: str | None
    agent_id: str | None

    def rows(self, view: View, start: int, end: int) -> Iterator[_Row]:
        for event in view.events(self.namespace, self.agent_id, start, end):
            yield event.commit_ts, event_field(event)


async def replay(
    backend: Backend, request: state_pb2.ReplayRequest, *, stale: bool
) -> AsyncGenerator[bytes, None]:
    """The events asked for, in bounded ReplayResponses; the last tells the end of the range."""
    scope = _checked(request)
    view = await backend.view(stale=stale)
    try:
        start, end = await _range(scope, request, view)
        async for message in _stretch(scope, view, start, end, request.limit):
            yield message
    finally:
        view.close()
    if not request.follow:
        return
    async for message in _follow(backend, scope, max(start, end + 1), stale=stale):
        yield message


def _checked(request: state_pb2.ReplayRequest) -> _Scope:
    if request.agent_id:
        validation.check_scope(request.namespace, request.agent_id, "")
    elif request.namespace:
        validation.check_namespace(request.namespace)
    if request.follow and (request.HasField("end") or request.limit):
        raise Failure(Reason.INVALID_ARGUMENT, "follow goes on for ever: leave out end and limit")
    if request.last and request.limit:
        raise Failure(Reason.INVALID_ARGUMENT, "last and limit exclude each other: leave out one")
    return _Scope(request.namespace or None, request.agent_id or None)


async def _range(scope: _Scope, request: state_pb2.ReplayRequest, view: View) -> tuple[int, int]:
    start = points.range_start(request.start, view) if request.HasField("start") else 1
    end = points.range_end(request.end, view) if request.HasField("end") else view.commit_ts
    if request.last:
        start = await _start_of_last(scope, view, start, end, request.last)
    return start, end


async def _start_of_last(scope: _Scope, view: View, start: int, end: int, count: int) -> int:
    """Where the last `count` events of the range begin; counts without keeping any."""
    newest_first = view.events(scope.namespace, scope.agent_id, start, end, newest_first=True)
    for seen, event in enumerate(newest_first, 1):
        if seen == count:
            return event.commit_ts
        if seen % _COUNT_ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return start


async def _stretch(
    scope: _Scope, view: View, start: int, end: int, limit: int = 0
) -> AsyncGenerator[bytes, None]:
    """The events of [start, end], at most `limit`; tells `end` at last when all of it was sent."""
    sent = 0
    async for rows in chunks.chunked(scope.rows(view, start, end), _row_bytes):
        told = rows if not limit else rows[: limit - sent]
        sent += len(told)
        yield _response(told)
        if limit and sent >= limit:
            return
    yield replay_response([], end)


async def _follow(
    backend: Backend, scope: _Scope, start: int, *, stale: bool
) -> AsyncGenerator[bytes, None]:
    clock = asyncio.get_running_loop().time
    told_at_s = clock()
    while True:
        if clock() - told_at_s >= _PROGRESS_INTERVAL_S:
            yield replay_response([], start - 1)
            told_at_s = clock()
        try:
            async with asyncio.timeout_at(told_at_s + _PROGRESS_INTERVAL_S):
                await backend.grown(start - 1, stale=stale)
        except TimeoutError:
            continue
        # What is applied is committed: no barrier is needed to tell it.
        view = await backend.view(stale=True)
        try:
            end = view.commit_ts
            async for rows in chunks.chunked(scope.rows(view, start, end), _row_bytes):
                yield _response(rows)
                told_at_s = clock()
            start = max(start, end + 1)
        finally:
            view.close()


def _row_bytes(row: _Row) -> int:
    return len(row[1])


def _response(rows: list[_Row]) -> bytes:
    return replay_response([encoded for _, encoded in rows], rows[-1][0])
