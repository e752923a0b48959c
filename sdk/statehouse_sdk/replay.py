"""Owns the reading of events as one unbroken history: a replay, and a watch that goes on live.

It remembers the last commit_ts it handed out and asks on from there: no gap, no repeat. What it
resumes from is only what it has seen in events, or what a message without events says is empty.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from statehouse_proto.v2 import common_pb2 as common
from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import convert, history
from statehouse_sdk.models import Progress
from statehouse_sdk.streams import read_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from statehouse_sdk.models import ReplayEvent
    from statehouse_sdk.plans import Telling
    from statehouse_sdk.session import Session


class _Reading:
    """What has been handed out of one replay."""

    def __init__(self, request: state.ReplayRequest, *, progress: bool) -> None:
        self._request = request
        self._progress = progress
        self._through = 0
        self._handed_out = 0

    def rest(self) -> state.ReplayRequest | None:
        """The request for what is still to come; None if a limit is reached."""
        rest = state.ReplayRequest()
        rest.CopyFrom(self._request)
        if self._through:
            rest.start.commit_ts = self._through + 1
            rest.last = 0
        if self._request.limit:
            rest.limit = self._request.limit - self._handed_out
            if rest.limit == 0:
                return None
        return rest

    def news_of(self, response: state.ReplayResponse) -> Iterable[Any] | None:
        """The events of a message that were not seen before, and how far all is told."""
        news = [event for event in response.events if event.commit_ts > self._through]
        if news:
            self._through = news[-1].commit_ts
            self._handed_out += len(news)
            told = self._told(news)
            through = Progress(max(self._through, response.served_at))
            return chain(told, (through,)) if self._progress else told
        if response.events or not self._tells_emptiness():
            return None
        self._through = max(self._through, response.served_at)
        return (Progress(self._through),) if self._progress else None

    def _told(self, news: Iterable[state.Event]) -> Iterator[ReplayEvent]:
        """Turned into what users hold one by one, as they are asked for."""
        request, event_of = self._request, convert.event_of
        namespace, agent_id = request.namespace, request.agent_id
        with_proof = request.with_proof
        for event in news:
            yield event_of(event, namespace, agent_id, with_proof)

    def _tells_emptiness(self) -> bool:
        # Before the first event of "the last N", emptiness up to here says nothing of those N.
        return self._request.follow and (self._through > 0 or self._request.last == 0)


def events(session: Session, request: state.ReplayRequest, *, progress: bool = False) -> Telling:
    """Tells each event of a replay, a ReplayEvent, in commit order; `progress`: marks between.

    Raises when nothing answers for the client's timeout. A replay that is resumed after a failure
    ends at what is committed by then, or where its end was set.
    """
    stale = request.consistency == common.CONSISTENCY_STALE
    # A label may move while its history is read.
    yield from history.settle(session, request, ("start", "end"))
    reading = _Reading(request, progress=progress)
    yield from read_on(session, "Replay", reading, stale=stale, follow=request.follow)


def watch(session: Session, request: state.ReplayRequest, *, progress: bool) -> Telling:
    """Tells each event as it is committed: from the request's start, else from now on."""
    if not request.HasField("start"):
        now = yield from history.now(session, request.namespace)
        request.start.commit_ts = now.commit_ts + 1
    yield from events(session, request, progress=progress)
