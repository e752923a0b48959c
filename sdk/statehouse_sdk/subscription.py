"""Owns a named reader: where it stands, durably, and what it is handed from there on.

The cursor is a mark in the namespace, moved by commits that demand the version this reader knows.
So two readers of one name notice each other: the slower one's next acknowledgement fails. Events
are handed out at least once; together with what a transaction writes, exactly once.

`Reader` holds and decides all of it; what waits is a plan of it, carried out by `Subscription` in a
thread and by `AsyncSubscription` (async_subscription.py) on an event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from statehouse_sdk import convert, history, replay, requests, requests_history
from statehouse_sdk.errors import (
    ConflictError,
    InvalidRequestError,
    OutcomeUnknownError,
    StatehouseError,
    TransactionAbortedError,
)
from statehouse_sdk.models import CursorMark, ReplayEvent
from statehouse_sdk.transaction import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from statehouse_sdk.plans import Plan, Telling
    from statehouse_sdk.session import Session
    from statehouse_sdk.time_travel import TimeTravel


class Reader:
    """A place in history under a name, and what moves it."""

    def __init__(self, namespace: str, name: str, agent_id: str, prefix: str) -> None:
        self.namespace = namespace
        self.name = convert.checked_name(name, "name")
        self.agent_id = convert.checked_name(agent_id, "agent_id", empty=True)
        self.prefix = convert.checked_name(prefix, "prefix", empty=True)
        self.position = 0
        """Everything in scope up to this commit_ts is acknowledged."""
        self.version = 0
        """How often the cursor was moved, as far as this reader knows."""
        self.closed = False
        self._in_doubt: Buffer | None = None

    def acknowledgement_of(self, event: ReplayEvent | int) -> int | None:
        """The position that acknowledges an event; None: it is acknowledged already."""
        self._check_open()
        position = event.commit_ts if isinstance(event, ReplayEvent) else event
        convert.checked_number(position, "the commit_ts to acknowledge")
        return position if position > self.position else None

    def mark_at(self, position: int) -> CursorMark:
        """The mark that says so."""
        return CursorMark(self.name, position, self.agent_id, self.prefix)

    def acknowledged(self, position: int, version: int) -> None:
        """The cursor was moved there, by a commit of this reader."""
        if version > self.version:
            self.position, self.version = position, version

    def __repr__(self) -> str:
        scope = f"{self.agent_id or 'all agents'} {self.prefix}".strip()
        return f"<{type(self).__name__} {self.name!r} of {scope}: through {self.position}>"

    def _beginning(self, session: Session, start: int | None) -> Plan[Self]:
        """Takes the cursor where it stands; one that does not exist is made, once."""
        if start is not None:
            convert.checked_number(start, "start")
        question = requests_history.cursor(self.namespace, self.name)
        while True:
            found = yield from history.cursor(session, question)
            if found.exists:
                self._check_scope(found.agent_id, found.prefix)
                self.position, self.version = found.through, found.version
                return self
            position = start
            if position is None:
                position = (yield from history.now(session, self.namespace)).commit_ts
            try:
                yield from self._moving(session, position, found.version)
                return self
            except ConflictError:
                continue

    def _acknowledging(self, session: Session, event: ReplayEvent | int) -> Plan[int]:
        if self._in_doubt is not None:
            # Whether it moved decides which version is asked for next; the same op id tells.
            yield from self._sending(session, self._in_doubt)
        position = self.acknowledgement_of(event)
        if position is not None:
            yield from self._moving(session, position, self.version)
        return self.position

    def _moving(self, session: Session, position: int, version: int) -> Plan[None]:
        tx = Buffer(self.namespace, None, None)
        self.version = version
        tx._acknowledge(self, self.mark_at(position))
        yield from self._sending(session, tx)

    def _sending(self, session: Session, tx: Buffer) -> Plan[None]:
        self._in_doubt = None
        try:
            yield from tx._committing(session)
        except TransactionAbortedError as error:
            raise (error.cause or error) from None
        except OutcomeUnknownError as error:
            self._in_doubt = tx
            raise OutcomeUnknownError(
                f"cursor {self.name!r} may or may not have moved; acknowledge again to learn it"
                f" ({error})"
            ) from None

    def _following(self, session: Session) -> Telling:
        self._check_open()
        request = requests.watch(
            self.namespace, self.agent_id, self.prefix, self.position, stale=False
        )
        return replay.watch(session, request, progress=True)

    def _check_scope(self, agent_id: str, prefix: str) -> None:
        if (agent_id, prefix) != (self.agent_id, self.prefix):
            raise InvalidRequestError(
                f"cursor {self.name!r} follows agent {agent_id!r}, prefix {prefix!r}, not agent"
                f" {self.agent_id!r}, prefix {self.prefix!r}; take another name, or delete it"
            )

    def _check_open(self) -> None:
        if self.closed:
            raise StatehouseError(f"subscription {self.name!r} is closed; subscribe anew")


class Subscription(Reader):
    """A durable reader of events, made by `Statehouse.subscribe`.

    Iterate over it, and `ack` what is done: after a restart it goes on behind the last
    acknowledged. ``with``, or `close`, ends it; the cursor stays.
    """

    def __init__(
        self, client: TimeTravel, namespace: str, name: str, agent_id: str, prefix: str
    ) -> None:
        super().__init__(namespace, name, agent_id, prefix)
        self._client = client

    def __iter__(self) -> Iterator[ReplayEvent]:
        """The events behind the position, as they are committed; without an end until `close`."""
        session = self._client._session_here()
        for told in session.iterate(self._following(session)):
            if self.closed:
                return
            if isinstance(told, ReplayEvent):
                yield told

    def ack(self, event: ReplayEvent | int) -> int:
        """Everything up to this event, or commit_ts, is done with; returns the position.

        What is acknowledged already stays so. Raises CursorMovedError when another reader of the
        same name has moved the cursor: this one is over.
        """
        session = self._client._session_here()
        return session.run(self._acknowledging(session, event))

    def close(self) -> None:
        """Ends the iteration, from another thread within seconds; the cursor stays."""
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
