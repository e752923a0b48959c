"""Owns the open transactions of the v1 protocol on one node: staged in memory until they commit.

Bounded in number, bytes and time; a sweep forgets what expired. It sends nothing and knows no
clock: seconds of any monotonic one are handed in.

A transaction whose commit was sent keeps its op id, so that a client which asks again after a lost
answer gets that answer, never a second commit.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from statehouse.core import limits
from statehouse.core.errors import Failure, LimitExceeded, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse.core.model import Operation
    from statehouse.rpc.v1_op_ids import OpId

_REMEMBERED_MAX = 4096
"""Ended transactions whose end is still known, the oldest forgotten first."""

_OPERATION_OVERHEAD_BYTES = 64
_CALL_TIME_S_MAX = limits.CALL_TIME_MS_MAX / 1000


@dataclass(slots=True)
class Staged:
    """One open transaction."""

    txn_id: str
    expires_at_s: float
    operations: list[Operation] = field(default_factory=list)
    bytes_staged: int = 0
    op_id: OpId | None = None
    """Set once its commit is sent: from then on it takes no more operations, and cannot expire."""
    outcome_unknown: bool = False
    """Whether an attempt to commit it ended without an answer."""


class Staging:
    """All v1 transactions of this node; not thread-safe, the event loop's own."""

    def __init__(self, on_swept: Callable[[Staged], None]) -> None:
        self._on_swept = on_swept
        self._open: dict[str, Staged] = {}
        self._ended: OrderedDict[str, int | None] = OrderedDict()
        """The commit_ts of each, None for one that expired."""
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def bytes_staged(self) -> int:
        return self._bytes

    def begin(self, timeout_ms: int, now_s: float) -> str:
        """A new transaction's id; its time runs from now."""
        if timeout_ms > limits.STAGED_TIME_MS_MAX:
            raise _too_large("staged_time_ms_max", limits.STAGED_TIME_MS_MAX, timeout_ms)
        if len(self._open) >= limits.OPEN_TRANSACTIONS_MAX:
            self.sweep(now_s)
        if len(self._open) >= limits.OPEN_TRANSACTIONS_MAX:
            raise Failure(
                Reason.OVERLOADED,
                f"{len(self._open)} transactions are open on this node, as many as it keeps; "
                "commit or abort some, or try again later",
            )
        txn_id = str(uuid.uuid4())
        self._open[txn_id] = Staged(txn_id, now_s + timeout_ms / 1000)
        return txn_id

    def find(self, txn_id: str, now_s: float) -> Staged:
        """An open transaction that is still in time."""
        staged = self._open.get(txn_id)
        if staged is None:
            raise self._not_open(txn_id)
        # Once its commit was sent it cannot expire: only the answer to it is awaited.
        if staged.op_id is None and now_s >= staged.expires_at_s:
            self._end(staged, None)
            raise self._not_open(txn_id)
        return staged

    def stage(self, txn_id: str, operation: Operation, now_s: float) -> None:
        """Adds a judged operation."""
        staged = self.find(txn_id, now_s)
        if staged.op_id is not None:
            raise Failure(
                Reason.TRANSACTION_FINISHED,
                f'Transaction "{txn_id}" is being committed and takes no more operations',
            )
        if len(staged.operations) >= limits.TRANSACTION_OPERATIONS_MAX:
            most = limits.TRANSACTION_OPERATIONS_MAX
            raise _too_large("transaction_operations_max", most, len(staged.operations) + 1)
        size = _bytes_of(operation)
        if staged.bytes_staged + size > limits.TRANSACTION_BYTES_MAX:
            most = limits.TRANSACTION_BYTES_MAX
            raise _too_large("transaction_bytes_max", most, staged.bytes_staged + size)
        self._make_room(size, now_s)
        staged.operations.append(operation)
        staged.bytes_staged += size
        self._bytes += size

    def _make_room(self, size: int, now_s: float) -> None:
        if self._bytes + size > limits.STAGED_BYTES_MAX:
            self.sweep(now_s)
        if self._bytes + size > limits.STAGED_BYTES_MAX:
            raise Failure(
                Reason.OVERLOADED,
                f"the open transactions of this node hold {self._bytes} bytes, as many as it "
                "keeps; commit or abort some, or try again later",
            )

    def committed(self, staged: Staged, commit_ts: int) -> None:
        """Ends a transaction; its commit_ts stays known for a while."""
        self._end(staged, commit_ts)

    def commit_ts_of(self, txn_id: str) -> int | None:
        """What a transaction committed as, while that is remembered."""
        return self._ended.get(txn_id)

    def abort(self, txn_id: str) -> None:
        """Forgets an open transaction; an unknown or ended one is left as it is."""
        staged = self._open.get(txn_id)
        if staged is None:
            return
        if staged.op_id is not None:
            raise Failure(
                Reason.TRANSACTION_FINISHED,
                f'Transaction "{txn_id}" is being committed and cannot be aborted; '
                "commit it again to learn its end",
            )
        del self._open[txn_id]
        self._bytes -= staged.bytes_staged

    def sweep(self, now_s: float) -> None:
        """Forgets what expired, telling each; one being committed has a call's time more."""
        expired = [staged for staged in self._open.values() if now_s >= _swept_at_s(staged)]
        for staged in expired:
            self._end(staged, None)
            self._on_swept(staged)

    def _end(self, staged: Staged, commit_ts: int | None) -> None:
        if self._open.pop(staged.txn_id, None) is not None:
            self._bytes -= staged.bytes_staged
        self._ended[staged.txn_id] = commit_ts
        if len(self._ended) > _REMEMBERED_MAX:
            self._ended.popitem(last=False)

    def _not_open(self, txn_id: str) -> Failure:
        shown = txn_id[:64]
        if txn_id not in self._ended:
            return Failure(
                Reason.TRANSACTION_NOT_FOUND,
                f'Transaction not found: "{shown}"; it ended, or was begun on another node: '
                "begin a new one",
            )
        commit_ts = self._ended[txn_id]
        if commit_ts is None:
            return Failure(
                Reason.TRANSACTION_EXPIRED,
                f'Transaction expired: "{shown}"; begin a new one, with a longer timeout_ms',
            )
        return Failure(
            Reason.TRANSACTION_FINISHED,
            f'Transaction not found: "{shown}" was committed at {commit_ts} and is no longer '
            "open; begin a new one",
        )


def _swept_at_s(staged: Staged) -> float:
    return staged.expires_at_s + (0 if staged.op_id is None else _CALL_TIME_S_MAX)


def _bytes_of(operation: Operation) -> int:
    names = len(operation.namespace) + len(operation.agent_id) + len(operation.key)
    return names + len(operation.value) + _OPERATION_OVERHEAD_BYTES


def _too_large(name: str, maximum: int, actual: int) -> Failure:
    return Failure(
        Reason.TOO_LARGE,
        f"{name} is {maximum}, this transaction asks for {actual}",
        limit=LimitExceeded(name, maximum, actual),
    )
