"""Owns the reading of history as one unbroken stream, whatever happens to nodes and connections.

It remembers the last commit_ts it handed out and asks on from there: no gap, no repeat. What it
resumes from is only what it has seen in events, or what a message without events says is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk.faults import CallFailed
from statehouse_sdk.session import STREAM_QUIET_S, Session

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def events_of(self, response: state.ReplayResponse) -> Iterator[state.Event]:
        for event in response.events:
            if event.commit_ts <= self.through:
                continue
            self.through = event.commit_ts
            self.handed_out += 1
            yield event
        if not response.events and self._tells_emptiness():
            self.through = max(self.through, response.served_at)

    def _tells_emptiness(self) -> bool:
        # Before the first event of "the last N", emptiness up to here says nothing of those N.
        return self.request.follow and (self.through > 0 or self.request.last == 0)


def events(session: Session, request: state.ReplayRequest, *, stale: bool) -> Iterator[state.Event]:
    """The events of a replay in commit order. Raises when nothing answers for the client's timeout.

    A replay that is resumed after a failure ends at what is committed by then.
    """
    progress = _Progress(request)
    attempts = session.attempts("Replay", session.deadline_s())
    while (rest := progress.rest()) is not None:
        address = session.choose(attempts, leader=not stale)
        answered = False
        try:
            for response in _open(session, address, rest):
                if not answered:
                    session.succeeded(address, as_leader=not stale)
                    answered = True
                session.keep_up(address)
                yield from progress.events_of(response)
        except CallFailed as failure:
            session.failed(address, failure)
            if answered:
                # It went well until now: the time to find the next node starts here.
                attempts = session.attempts("Replay", session.deadline_s())
            if not _was_only_quiet(request, answered, failure):
                session.pause_or_raise(attempts, failure)
        else:
            if not request.follow:
                return
            session.succeeded(address, as_leader=not stale)


def _open(
    session: Session, address: str, request: state.ReplayRequest
) -> Iterator[state.ReplayResponse]:
    quiet_s = FOLLOW_QUIET_S if request.follow else STREAM_QUIET_S
    return session.open_stream("Replay", address, request, quiet_s)


def _was_only_quiet(request: state.ReplayRequest, answered: bool, failure: CallFailed) -> bool:
    return request.follow and answered and failure.fault.stalled
