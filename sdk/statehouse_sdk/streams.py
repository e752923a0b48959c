"""Owns the reading of a long stream as one, whatever happens to nodes and connections.

What is asked for next, and what is new in an answer, the caller says; this file asks on after a
failure, elsewhere if need be, until the stream ends or nothing answers for the client's timeout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from statehouse_sdk.faults import CallFailed
from statehouse_sdk.plans import Next, Open, Tell
from statehouse_sdk.session import STREAM_QUIET_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from statehouse_sdk.plans import Telling
    from statehouse_sdk.session import Session

FOLLOW_QUIET_S: Final = 15.0
"""A followed stream that is quiet for so long is opened anew: its node may have lost the lead."""


class Reading(Protocol):
    """What has been read of one stream, and how it goes on."""

    def rest(self) -> Any | None:
        """The request for what is still to come; None if that is nothing."""

    def news_of(self, response: Any) -> Iterable[Any] | None:
        """What a message tells that was not told before; from now on it counts as told."""


def read_on(
    session: Session, name: str, reading: Reading, *, stale: bool, follow: bool = False
) -> Telling:
    """Tells what is new in each message, to the end of the stream; `follow`: it has none.

    Raises when nothing answers for the client's timeout.
    """
    attempts = session.attempts(name)
    while (rest := reading.rest()) is not None:
        address = yield from session.choose(attempts, leader=not stale)
        answered = False
        try:
            stream = yield Open(name, address, rest, FOLLOW_QUIET_S if follow else STREAM_QUIET_S)
            try:
                while (response := (yield Next(stream))) is not None:
                    if not answered:
                        session.succeeded(address, as_leader=not stale)
                        answered = True
                    yield from session.keep_up(address)
                    news = reading.news_of(response)
                    if news is not None:
                        yield Tell(news)
            finally:
                stream.close()
        except CallFailed as failure:
            session.failed(address, failure)
            if answered:
                # It went well until now: the time to find the next node starts here.
                attempts = session.attempts(name)
            if not (follow and answered and failure.fault.stalled):
                yield from session.pause_or_raise(attempts, failure)
        else:
            if not follow:
                return
            session.succeeded(address, as_leader=not stale)
