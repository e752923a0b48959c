"""Owns what a user holds between begin and commit: buffered operations, what was read, the end.

Nothing is sent before commit but reads. What was read is checked at commit, so a transaction is
serializable: it commits as if it had run alone at its commit_ts, or raises ConflictError. One
transaction belongs to one thread and one process at a time; a client may have many.

`Buffer` holds and decides all of it; what waits, reads and the commit, is a plan of it, carried out
by `Transaction` in a thread and by `AsyncTransaction` (async_transaction.py) on an event loop.
"""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import commit_bytes, convert, convert_marks, process, reads, txn_ids, values
from statehouse_sdk.commits import PendingCommit
from statehouse_sdk.errors import (
    ConflictError,
    CursorMovedError,
    InvalidRequestError,
    OutcomeUnknownError,
    StatehouseError,
    TooLargeError,
    TransactionAbortedError,
    TransactionError,
    TransactionExpiredError,
    TransactionFinishedError,
    UnavailableError,
)
from statehouse_sdk.limits import (
    TRANSACTION_BYTES_MAX,
    TRANSACTION_OPERATIONS_MAX,
    TRANSACTION_PRECONDITIONS_MAX,
)
from statehouse_sdk.models import CursorMark, LabelMark, StateResult

if TYPE_CHECKING:
    from types import TracebackType

    from statehouse_sdk.client import Statehouse
    from statehouse_sdk.models import Mark, ReplayEvent
    from statehouse_sdk.plans import Plan
    from statehouse_sdk.session import Session
    from statehouse_sdk.straight import Straight
    from statehouse_sdk.subscription import Reader
    from statehouse_sdk.values import Encoded

Place = bytes
"""A key: its three names, as they are sent."""


class _State(Enum):
    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"
    EXPIRED = "expired"


# Each look at a member through its class costs a few of the lookups of a commit.
_OPEN, _COMMITTED, _ABORTED = _State.OPEN, _State.COMMITTED, _State.ABORTED


class Buffer:
    """What one transaction holds, and what may be done with it."""

    # What a new transaction does not have yet lies in the class: it costs none of them anything.
    commit_ts: int | None = None
    """The logical time of the commit; None until then."""
    committed_at_us: int | None = None
    """The wall clock of the commit, microseconds since 1970 UTC; None until then."""
    _state = _OPEN
    _expires_s: float | None = None
    _pending: PendingCommit | None = None
    _acknowledged: tuple[tuple[int, Reader, CursorMark], ...] = ()

    def __init__(self, namespace: str, timeout_ms: int | None, metadata: bytes | None) -> None:
        self.txn_id = txn_ids.new()
        """Shown in replays."""
        self.versions: list[int] = []
        """The version each operation made, in order; empty until the commit."""
        self.namespace = namespace
        self._pid = process.current
        if timeout_ms is not None:
            timeout_s = convert.checked_number(timeout_ms, "timeout_ms") / 1000
            self._expires_s = time.monotonic() + timeout_s
        self._operations: list[bytes] = []
        self._preconditions: list[bytes] = []
        self._metadata = metadata
        self._written: dict[Place, Encoded | None] = {}
        self._read: dict[Place, StateResult] = {}

    def write(
        self,
        agent_id: str,
        key: str,
        value: Any,
        *,
        if_version: int | None = None,
        if_absent: bool = False,
        if_unchanged_since: int | None = None,
        namespace: str | None = None,
    ) -> None:
        """Writes a value; it is encoded now, so changing the object later changes nothing.

        The ``if_`` conditions speak of the key as it is before this transaction: see `require`.
        Raises InvalidValueError, TooLargeError; the transaction stays usable.
        """
        self._check_usable()
        place = commit_bytes.place(namespace or self.namespace, agent_id, key)
        self._buffer(place, values.encode(value), if_version, if_absent, if_unchanged_since)

    def delete(
        self,
        agent_id: str,
        key: str,
        *,
        if_version: int | None = None,
        if_absent: bool = False,
        if_unchanged_since: int | None = None,
        namespace: str | None = None,
    ) -> None:
        """Deletes a key: leaves a tombstone with a version of its own, even if it never existed."""
        self._check_usable()
        place = self._place(agent_id, key, namespace)
        self._buffer(place, None, if_version, if_absent, if_unchanged_since)

    def require(
        self,
        agent_id: str,
        key: str,
        *,
        version: int | None = None,
        absent: bool = False,
        unchanged_since: int | None = None,
        namespace: str | None = None,
    ) -> None:
        """Demands, of the key as it is before this transaction, one of:

        its version (0: never written); that it holds no value (never written, or deleted); that no
        commit after a commit_ts touched it. If it does not hold at commit, ConflictError tells.
        """
        self._check_usable()
        place = self._place(agent_id, key, namespace)
        if not self._demand(place, version, absent, unchanged_since):
            raise InvalidRequestError("require() needs version, absent or unchanged_since")

    def label(self, agent_id: str, name: str, at: int, *, namespace: str | None = None) -> None:
        """Sets a label of the agent to a commit_ts that was reached before this transaction."""
        self._check_usable()
        if not isinstance(at, int) or isinstance(at, bool) or at < 1:
            raise InvalidRequestError(
                f"at is {at!r:.60}; in a transaction a label is set to a commit_ts from 1: resolve"
                " other points first, as_of(...).commit_ts"
            )
        mark = LabelMark(convert.checked_own_label(name), convert.checked_number(at, "at"))
        self._mark(agent_id, mark, namespace=namespace)

    def acknowledge(self, subscription: Reader, event: ReplayEvent | int) -> None:
        """Acknowledges, with this commit, everything up to an event of a subscription.

        What the transaction writes and the acknowledgement happen together or not at all: so the
        effect of each event is there exactly once. Raises CursorMovedError at the commit when
        another reader of that name was faster.
        """
        self._check_usable()
        position = subscription.acknowledgement_of(event)
        if position is None:
            return
        self._acknowledge(subscription, subscription.mark_at(position))

    def abort(self) -> None:
        """Drops everything; a second abort does nothing.

        Raises TransactionFinishedError after a commit, OutcomeUnknownError when a commit was sent
        whose outcome is unknown: that cannot be taken back.
        """
        if self._state is _COMMITTED:
            raise TransactionFinishedError(
                f"transaction {self.txn_id} is committed and cannot be aborted"
            )
        if self._is_in_doubt():
            raise OutcomeUnknownError(
                f"transaction {self.txn_id} was sent and may be committed; call commit() again to"
                " learn it"
            )
        if self._state is _OPEN:
            self._end(_ABORTED)

    def _may_go_on(self) -> bool:
        """Whether it was neither committed nor aborted; its outcome may be in doubt."""
        return self._state is not _COMMITTED and self._state is not _ABORTED

    def _reading(
        self, session: Session, agent_id: str, key: str, namespace: str | None
    ) -> Plan[StateResult]:
        self._check_usable()
        place = self._place(agent_id, key, namespace)
        if place in self._written:
            written = self._written[place]
            if written is None:
                return StateResult(None, 0, 0, False, key)
            return StateResult(values.decode(*written), 0, 0, True, key)
        if place not in self._read:
            result = yield from reads.get_now(session, place, key)
            self._require(commit_bytes.expects_version(place, result.version))
            self._read[place] = result
        return self._read[place]

    def _straight(self, session: Session) -> Straight | None:
        """The straight way of the first `commit()`; None: there is something to decide first."""
        if self._pending is not None:
            return None
        self._check_usable()
        pending = self._pending = PendingCommit(session, self._fields())
        return pending.straight()

    def _committing(self, session: Session, tried: Straight | None = None) -> Plan[int]:
        if self._is_in_doubt():
            self._check_process()
        else:
            self._check_usable()
        pending = self._pending
        if pending is None:
            pending = self._pending = PendingCommit(session, self._fields())
        try:
            response = yield from pending.send(tried)
        except TransactionError as error:
            if not _may_be_sent_again(error):
                self._end(_ABORTED)
            self._check_cursors(error)
            raise
        return self._committed(response)

    def _committed(self, response: state.CommitResponse) -> int:
        """Notes what was committed, and that it was."""
        self.commit_ts = response.commit_ts
        self.committed_at_us = response.committed_at_us
        self.versions = response.versions[:]
        self._end(_COMMITTED)
        for index, subscription, mark in self._acknowledged:
            subscription.acknowledged(mark.position, self.versions[index])
        return response.commit_ts

    def _check_cursors(self, error: TransactionError) -> None:
        """Raises CursorMovedError if it was the cursor of a subscription that had moved."""
        if not isinstance(error, ConflictError):
            return
        moved = {conflict.key for conflict in error.conflicts if not conflict.agent_id}
        for _, _, mark in self._acknowledged:
            if convert_marks.conflict_key(mark) in moved:
                raise CursorMovedError(
                    f"nothing was committed: another reader has moved the cursor {mark.name!r};"
                    " subscribe anew to go on from where it stands",
                    error.conflicts,
                ) from None

    def _left_by_error(self) -> None:
        """A block was left by an exception: what was not sent is dropped."""
        if self._may_go_on() and not self._is_in_doubt():
            self._end(_ABORTED)

    def __repr__(self) -> str:
        count = len(self._operations)
        return f"<{type(self).__name__} {self.txn_id}: {self._state.value}, {count} operations>"

    def _place(self, agent_id: str, key: str, namespace: str | None) -> Place:
        return commit_bytes.place(namespace or self.namespace, agent_id, key)

    def _buffer(
        self,
        place: Place,
        value: Encoded | None,
        if_version: int | None,
        if_absent: bool,
        if_unchanged_since: int | None,
    ) -> None:
        self._check_room()
        if if_version is not None or if_absent or if_unchanged_since is not None:
            self._demand(place, if_version, if_absent, if_unchanged_since)
        self._operations.append(commit_bytes.operation(place, value))
        self._written[place] = value

    def _mark(
        self,
        agent_id: str,
        mark: Mark,
        *,
        if_version: int | None = None,
        namespace: str | None = None,
    ) -> None:
        """Records a mark; of a cursor the agent is empty."""
        self._check_room()
        message = state.Operation(
            namespace=convert.checked_name(namespace or self.namespace, "namespace"),
            agent_id=convert.checked_name(agent_id, "agent_id", empty=isinstance(mark, CursorMark)),
            mark=convert_marks.mark_message(mark, if_version),
        )
        self._operations.append(commit_bytes.mark(message.SerializeToString()))

    def _acknowledge(self, subscription: Reader, mark: CursorMark) -> None:
        self._mark("", mark, if_version=subscription.version, namespace=subscription.namespace)
        self._acknowledged += ((len(self._operations) - 1, subscription, mark),)

    def _check_room(self) -> None:
        if len(self._operations) >= TRANSACTION_OPERATIONS_MAX:
            raise _too_many("operations", TRANSACTION_OPERATIONS_MAX)

    def _demand(
        self, place: Place, version: int | None, absent: bool, unchanged_since: int | None
    ) -> bool:
        """Records the demands that are made; False if none is."""
        if version is not None:
            expected = convert.checked_number(version, "version")
            self._require(commit_bytes.expects_version(place, expected))
        if absent:
            self._require(commit_bytes.expects_absent(place))
        if unchanged_since is not None:
            since = convert.checked_number(unchanged_since, "unchanged_since")
            self._require(commit_bytes.expects_unchanged_since(place, since))
        return version is not None or absent or unchanged_since is not None

    def _require(self, precondition: bytes) -> None:
        if len(self._preconditions) >= TRANSACTION_PRECONDITIONS_MAX:
            raise _too_many("preconditions", TRANSACTION_PRECONDITIONS_MAX)
        self._preconditions.append(precondition)

    def _fields(self) -> list[bytes]:
        """All of the request but its op id; TransactionAbortedError when it is too large."""
        fields = [*self._operations, *self._preconditions, commit_bytes.txn_id(self.txn_id)]
        if self._metadata is not None:
            fields.append(commit_bytes.metadata(self._metadata))
        size = sum(map(len, fields))
        if size > TRANSACTION_BYTES_MAX:
            cause = TooLargeError(
                f"the transaction takes {size} bytes, and transaction_bytes_max is"
                f" {TRANSACTION_BYTES_MAX}; commit it in parts",
                "transaction_bytes_max",
                TRANSACTION_BYTES_MAX,
                size,
            )
            raise TransactionAbortedError(f"nothing was committed: {cause}", cause)
        return fields

    def _check_usable(self) -> None:
        if self._state is _OPEN and self._pending is None and self._expires_s is None:
            if process.current != self._pid:
                self._check_process()
            return
        self._check_process()
        if self._state in (_COMMITTED, _ABORTED):
            raise TransactionFinishedError(
                f"transaction {self.txn_id} is already {self._state.value}; begin a new one"
            )
        if self._is_in_doubt():
            raise OutcomeUnknownError(
                f"transaction {self.txn_id} was sent and may be committed; only commit() can follow"
            )
        expired = self._expires_s is not None and time.monotonic() >= self._expires_s
        if expired or self._state is _State.EXPIRED:
            self._end(_State.EXPIRED)
            raise TransactionExpiredError(
                f"transaction {self.txn_id} expired before its commit; nothing was written, begin a"
                " new one"
            )

    def _is_in_doubt(self) -> bool:
        """Whether it was sent, and may be committed without this object knowing."""
        if self._pending is None or self._state is _COMMITTED:
            return False
        return self._pending.uncertain

    def _check_process(self) -> None:
        if process.current != self._pid:
            raise TransactionError(
                f"transaction {self.txn_id} was begun by process {self._pid} and cannot be used"
                " after a fork; begin one in this process"
            )

    def _end(self, state: _State) -> None:
        self._state = state
        if self._pending is not None:
            self._pending.finish()


class Transaction(Buffer):
    """Writes, deletes, reads and preconditions that commit together or not at all.

    Made by `Statehouse.begin_transaction`. As a context manager it commits at a clean end and
    aborts, without hiding it, on an exception. Afterwards `commit_ts` and `versions` tell what was
    committed.
    """

    def __init__(
        self,
        client: Statehouse,
        namespace: str,
        timeout_ms: int | None,
        metadata: bytes | None,
    ) -> None:
        super().__init__(namespace, timeout_ms, metadata)
        self._client = client

    def get(self, agent_id: str, key: str, *, namespace: str | None = None) -> StateResult:
        """Reads a key: this transaction's own write, else what is committed.

        What is read from the cluster is checked at commit, and a second read of the key returns the
        first answer. An own write has version 0 and commit_ts 0, for it has none yet.
        """
        session = self._client._session_here()
        return session.run(self._reading(session, agent_id, key, namespace))

    def commit(self) -> int:
        """Commits, and returns the commit_ts.

        Raises ConflictError (nothing was written; begin anew), TransactionAbortedError (nothing was
        written; `cause` tells why, and after an UnavailableError the same object may be committed
        again), OutcomeUnknownError (commit the same object again to learn it).
        """
        session = self._client._session_here()
        straight = self._straight(session)
        if straight is not None:
            response = session.go_straight(straight)
            if response is not None:
                return self._committed(response)
        return session.run(self._committing(session, straight))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._left_by_error()
        elif self._may_go_on():
            self.commit()


def _may_be_sent_again(error: StatehouseError) -> bool:
    if isinstance(error, TransactionAbortedError):
        return isinstance(error.cause, UnavailableError)
    return isinstance(error, OutcomeUnknownError)


def _too_many(what: str, maximum: int) -> TooLargeError:
    return TooLargeError(
        f"one transaction holds at most {maximum} {what} (transaction_{what}_max); commit it in"
        " parts",
        f"transaction_{what}_max",
        maximum,
        maximum + 1,
    )
