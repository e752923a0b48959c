"""Owns a replay: its range, its tail, and how following goes on as events are committed.

A replay reads some messages at a time, with iterators of their own that begin right after the last
commit_ts told: so there is neither gap nor repeat, however many commits share a pulse, and while a
slow reader is waited for, only those messages wait. A follower holds no view meanwhile either. What
is asked of a wide range is walked in windows, so that a reader whose events are rare hears how far
the search has come.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

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
        """Whether most of what is looked at is told: an agent's events are listed."""
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
    # The first events come soon; of many, the more are read together the less each costs.
    at_once = limits.CHUNK_ROWS_MAX
    while start <= end:
        found = await _next(scope, view, start, end, min(left or at_once, at_once))
        if not found.messages and clock() - told_at_s >= _MARK_INTERVAL_S:
            found.messages.append(replay_response([], found.through))
        for message in found.messages:
            yield message
            told_at_s, told_through = clock(), found.through
        if limit and found.events == left:
            return
        left -= found.events if limit else 0
        start = found.through + 1
        at_once = min(2 * at_once, limits.READ_AHEAD_EVENTS_MAX)
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
        messages: list[bytes] = []
        try:
            async with asyncio.timeout_at(told_at_s + interval_s):
                await backend.grown(through, stale=stale)
        except TimeoutError:
            pass
        else:
            # What is applied is committed: no barrier is needed to tell it.
            view = await backend.view(stale=True)
            try:
                at_once = limits.CHUNK_ROWS_MAX
                found = await _next(scope, view, through + 1, view.commit_ts, at_once)
            finally:
                view.close()
            messages, through = found.messages, found.through
        if not messages and clock() >= told_at_s + interval_s:
            messages.append(replay_response([], through))
        for message in messages:
            yield message
            told_through, told_at_s = through, clock()


class _Found(NamedTuple):
    """Events as they go out, so many of them, and through which commit_ts none is left out."""

    messages: list[bytes]
    events: int
    through: int


async def _next(scope: _Scope, view: View, start: int, end: int, at_once: int) -> _Found:
    """What is read together: at most so many events."""
    # A window costs a seek and a message: those of an agent must not grow with all others' history.
    window_end = end if scope.finds_at_once else min(end, start + _WINDOW_COMMITS - 1)
    # Not by chunks.py: a replay knows what its events take only when it has written them.
    messages: list[bytes] = []
    fields: list[bytes] = []
    count = size_bytes = told_bytes = through = 0
    for event in scope.events(view, start, window_end, at_once):
        if event is None:
            await asyncio.sleep(0)
            # All that was read ahead is told; to begin once more is not worth what is left of it.
            if told_bytes + size_bytes >= limits.READ_AHEAD_BYTES_MAX // 2:
                break
            continue
        field = event_field(event)
        fields.append(field)
        size_bytes += len(field)
        count += 1
        through = event.body.commit_ts
        if size_bytes >= limits.CHUNK_BYTES_MAX or len(fields) >= limits.CHUNK_ROWS_MAX:
            messages.append(replay_response(fields, through))
            fields.clear()
            told_bytes += size_bytes
            size_bytes = 0
            await asyncio.sleep(0)
        if count == at_once or told_bytes >= limits.READ_AHEAD_BYTES_MAX:
            break
    if fields:
        messages.append(replay_response(fields, through))
    await asyncio.sleep(0)
    return _Found(messages, count, through if count else window_end)


def _invalid(message: str) -> Failure:
    return Failure(Reason.INVALID_ARGUMENT, message)
