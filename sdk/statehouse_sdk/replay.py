"""Owns the reading of history as one unbroken stream, whatever happens to nodes and connections.

It remembers the last commit_ts it handed out and asks on from there: no gap, no repeat. What it
resumes from is only what it has seen in events, or what a message without events says is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from statehouse_proto.v2 import common_pb2 as common
from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import convert
from statehouse_sdk.faults import CallFailed
from statehouse_sdk.plans import Next, Open, Tell
from statehouse_sdk.session import STREAM_QUIET_S, Session

if TYPE_CHECKING:
    from statehouse_sdk.plans import Telling

FOLLOW_QUIET_S: Final = 15.0
"""A followed stream that is quiet for so long is opened anew: its node may have lost the lead."""


@dataclass(slots=True)
class _Progress:
    """What has been handed out of one replay, and the request for the rest."""

    request: state.ReplayRequest
    through: int = 0
    handed_out: int = 0

    def rest(self) -> state.ReplayRequest | None:
        """The request for what is still to come; None if a limit is reached."""
        rest = state.ReplayRequest()
        rest.CopyFrom(self.request)
        if self.through:
            rest.start.commit_ts = self.through + 1
            rest.last = 0
        if self.request.limit:
            rest.limit = self.request.limit - self.handed_out
            if rest.limit == 0:
                return None
        return rest

    def news_of(self, response: state.ReplayResponse) -> list[state.Event]:
        """The events of a message that were not seen before; from now on they count as seen."""
        news = [event for event in response.events if event.commit_ts > self.through]
        if news:
            self.through = news[-1].commit_ts
            self.handed_out += len(news)
        elif not response.events and self._tells_emptiness():
            self.through = max(self.through, response.served_at)
        return news

    def _tells_emptiness(self) -> bool:
        # Before the first event of "the last N", emptiness up to here says nothing of those N.
        return self.request.follow and (self.through > 0 or self.request.last == 0)


def events(session: Session, request: state.ReplayRequest) -> Telling:
    """Tells each event of a replay, a ReplayEvent, in commit order.

    Raises when nothing answers for the client's timeout. A replay that is resumed after a failure
    ends at what is committed by then.
    """
    stale = request.consistency == common.CONSISTENCY_STALE
    told = partial(convert.event_of, namespace=request.namespace, agent_id=request.agent_id)
    progress = _Progress(request)
    attempts = session.attempts("Replay", session.deadline_s())
    while (rest := progress.rest()) is not None:
        address = yield from session.choose(attempts, leader=not stale)
        answered = False
        try:
            quiet_s = FOLLOW_QUIET_S if request.follow else STREAM_QUIET_S
            stream = yield Open("Replay", address, rest, quiet_s)
            try:
                while (response := (yield Next(stream))) is not None:
                    if not answered:
                        session.succeeded(address, as_leader=not stale)
                        answered = True
                    yield from session.keep_up(address)
                    # Turned into what users hold one by one, as they are asked for.
                    yield Tell(map(told, progress.news_of(response)))
            finally:
                stream.close()
        except CallFailed as failure:
            session.failed(address, failure)
            if answered:
                # It went well until now: the time to find the next node starts here.
                attempts = session.attempts("Replay", session.deadline_s())
            if not _was_only_quiet(request, answered, failure):
                yield from session.pause_or_raise(attempts, failure)
        else:
            if not request.follow:
                return
            session.succeeded(address, as_leader=not stale)


def _was_only_quiet(request: state.ReplayRequest, answered: bool, failure: CallFailed) -> bool:
    return request.follow and answered and failure.fault.stalled
