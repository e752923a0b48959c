"""Owns a replay: its range, its tail, and how following goes on as events are committed.

A replay reads one message at a time, each with an iterator of its own that begins right after the
last commit_ts told: so there is neither gap nor repeat, however many commits share a pulse, and a
slow reader pins nothing of the store while it is waited for. A follower holds no view meanwhile
either. What is asked of a wide range is walked in windows, so that a reader whose events are rare
hears how far the search has come.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from statehouse.core import limits, validation
from statehouse.core.errors import Failure, Reason
from statehouse.rpc import chunks, points
from statehouse.rpc.event_bytes import event_field, replay_response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from statehouse_proto.v2 import state_pb2

    from statehouse.core.model import Event
    from statehouse.rpc.backend import Backend, View

_PROGRESS_INTERVAL_S = 5.0
"""A follower that sees nothing of its scope is told at least so often how far it is."""

_MARK_INTERVAL_S = 0.25
"""How often a reader is told, at most, that a stretch held nothing for it."""

_WINDOW_COMMITS = 16_384
"""How much of a range is searched for one message."""

_COUNT_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a replay tells of; without its bounds."""

    namespace: str | None
    agent_id: str | None
    prefix: str
    run_id: str
    caused_by: int
    with_proof: bool
    proof_only: bool

    @property
    def finds_at_once(self) -> bool:
        """Whether whatever is looked at is told: an agent's events are listed by themselves."""
        return bool(self.agent_id) and not (self.prefix or self.run_id or self.caused_by)

    def events(
        self, view: View, start: int, end: int, at_once: int, *, newest_first: bool = False
    ) -> Iterator[Event | None]:
        """at_once: how many are looked at before others get their turn."""
        if self.proof_only:
            return view.links(start, end)
        return view.events(
            self.namespace,
            self.agent_id,
            start,
            end,
            newest_first,
            prefix=self.prefix,
            run_id=self.run_id,
            caused_by=self.caused_by,
            with_proof=self.with_proof,
            read_ahead=at_once,
        )


async def replay(
    backend: Backend, request: state_pb2.ReplayRequest, *, stale: bool
) -> AsyncGenerator[bytes, None]:
    """The events asked for, in bounded ReplayResponses; the last tells the end of the range."""
    scope = _checked(request)
    view = await backend.view(stale=stale)
    try:
        start, end = _range(request, view)
        if request.follow and not stale:
            # A follower resumes after what it has; what is further on, this cluster never told.
            points.check_reached(start - 1, view)
        if request.last:
            async for found in _start_of_last(scope, view, start, end, request.last):
                if found is None:
                    yield replay_response([], start - 1)
                else:
                    start = found
        async for message in _stretch(scope, view, start, end, request.limit):
            yield message
    finally:
        view.close()
    if not request.follow:
        return
    async for message in _follow(backend, scope, max(start - 1, end), stale=stale):
        yield message


def _checked(request: state_pb2.ReplayRequest) -> _Scope:
    if request.agent_id:
        validation.check_scope(request.namespace, request.agent_id, request.prefix)
    elif request.namespace:
        validation.check_namespace(request.namespace)
    if request.prefix:
        validation.check_name(request.prefix, "prefix")
    _check_filters(request)
    if request.last and request.limit:
        raise _invalid("last and limit exclude each other: leave out one")
    return _Scope(
        request.namespace or None,
        request.agent_id or None,
        request.prefix,
        request.run_id,
        request.caused_by,
        request.with_proof,
        request.proof_only,
    )


def _check_filters(request: state_pb2.ReplayRequest) -> None:
    if request.run_id and request.caused_by:
        raise _invalid("run_id and caused_by exclude each other: leave out one")
    if request.run_id and not request.namespace:
        raise _invalid("a run's events need the namespace: name it")
    narrowed = request.namespace or request.prefix or request.caused_by or request.last
    if request.proof_only and (narrowed or request.follow):
        raise _invalid(
            "proof_only tells of everything: leave out the namespace, the agent, prefix, run_id, "
            "caused_by, last and follow"
        )
    if not request.follow:
        return
    if request.HasField("end") or request.limit:
        raise _invalid("follow goes on for ever: leave out end and limit")
    if request.run_id or request.caused_by:
        raise _invalid("a run, or what a commit caused, is not followed: leave out follow")


def _range(request: state_pb2.ReplayRequest, view: View) -> tuple[int, int]:
    asked = points.Asked(request.namespace, request.agent_id)
    start = points.range_start(request.start, view, asked) if request.HasField("start") else 1
    end = points.range_end(request.end, view, asked) if request.HasField("end") else view.commit_ts
    return start, end


async def _start_of_last(
    scope: _Scope, view: View, start: int, end: int, count: int
) -> AsyncGenerator[int | None, None]:
    """Where the last `count` events of the range begin, if there are so many; keeps none of them.

    None, now and then: the search goes on.
    """
    clock = asyncio.get_running_loop().time
    seen, told_at_s = 0, clock()
    for event in scope.events(view, start, end, _COUNT_ROWS_AT_ONCE, newest_first=True):
        seen += event is not None
        if event is not None and seen == count:
            yield event.commit_ts
            return
        if event is None or seen % _COUNT_ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
            if clock() - told_at_s >= chunks.QUIET_S:
                yield None
                told_at_s = clock()


async def _stretch(
    scope: _Scope, view: View, start: int, end: int, limit: int
) -> AsyncGenerator[bytes, None]:
    """The events of [start, end], at most `limit`; tells `end` at last when all of it was sent."""
    clock = asyncio.get_running_loop().time
    told_at_s, told_through, left = clock(), -1, limit
    while start <= end:
        events, through = await _next(scope, view, start, end, left)
        if events or clock() - told_at_s >= _MARK_INTERVAL_S:
            yield replay_response(events, through)
            told_at_s, told_through = clock(), through
        if limit and len(events) == left:
            return
        left -= len(events) if limit else 0
        start = through + 1
    if told_through != end:
        yield replay_response([], end)


async def _follow(
    backend: Backend, scope: _Scope, through: int, *, stale: bool
) -> AsyncGenerator[bytes, None]:
    """Whatever is committed after `through`, without an end."""
    clock = asyncio.get_running_loop().time
    told_through, told_at_s = through, clock()
    while True:
        interval_s = _MARK_INTERVAL_S if through > told_through else _PROGRESS_INTERVAL_S
        events: list[bytes] = []
        try:
            async with asyncio.timeout_at(told_at_s + interval_s):
                await backend.grown(through, stale=stale)
        except TimeoutError:
            pass
        else:
            # What is applied is committed: no barrier is needed to tell it.
            view = await backend.view(stale=True)
            try:
                events, through = await _next(scope, view, through + 1, view.commit_ts, 0)
            finally:
                view.close()
        if events or clock() >= told_at_s + interval_s:
            yield replay_response(events, through)
            told_through, told_at_s = through, clock()


async def _next(
    scope: _Scope, view: View, start: int, end: int, limit: int
) -> tuple[list[bytes], int]:
    """What fits into one message, and the commit_ts through which it leaves nothing out."""
    # A window costs a seek and a message: those of an agent must not grow with all others' history.
    window_end = end if scope.finds_at_once else min(end, start + _WINDOW_COMMITS - 1)
    events_max = min(limit or limits.CHUNK_ROWS_MAX, limits.CHUNK_ROWS_MAX)
    # Not by chunks.py: a replay knows what its events take only when it has written them.
    told: list[bytes] = []
    size_bytes = through = 0
    for event in scope.events(view, start, window_end, events_max):
        if event is None:
            await asyncio.sleep(0)
            continue
        field = event_field(event)
        told.append(field)
        through = event.commit_ts
        size_bytes += len(field)
        if len(told) == events_max or size_bytes >= limits.CHUNK_BYTES_MAX:
            break
    if told:
        return told, through
    await asyncio.sleep(0)
    return told, window_end


def _invalid(message: str) -> Failure:
    return Failure(Reason.INVALID_ARGUMENT, message)
