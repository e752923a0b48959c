"""Owns exactly-once: who was answered what, and for how long that is remembered.

An op id is a client id and a sequence. The first answer that decides it (committed or conflict) is
stored as its receipt, in the same step as its effects. A session row for each client says which
sequences may still be decided:

    acknowledged  receipts up to here were deleted because the client will never ask again
    expired       the highest sequence whose receipt was deleted for its age
    highest       the highest sequence that has, or had, a receipt

Why no op id is ever decided twice. Suppose (c, s) was decided, and an attempt at it comes later.
While c's session row lives it only grows, and highest >= s. If the receipt is still there, it is
found and answers. If it was deleted for an acknowledgement, s <= acknowledged: refused. If it was
deleted for its age, s <= expired: refused. If the session row itself was deleted, that happened
when its newest receipt, in the group at log index i, had aged out. Then `sessions_floor` rose above
the last commit_ts of that group. The client was born at a commit_ts that was reached before it
proposed anything, so not above the last commit_ts of that group, which is below the floor:
refused, as a client without a session. So a second decision is never reached, however attempts are
lost, doubled, delayed or reordered. A refusal for these reasons says only that the window has
passed; it never claims that nothing was written.

Why a new client is never locked out. The floor rises to c + 1 only when a commit after c exists, so
a client that asks for the current commit_ts when it is made is at or above the floor. Until there
is such a commit the old group is kept.

Why the store stays bounded. Each receipt is listed in the row of its group, which is deleted with
all that is left of it when older than RECEIPT_WINDOW_US of committed_at, some groups each time
one is added. It must not know what a transaction does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core import codec, limits
from statehouse.core.codec import GroupAge, Session
from statehouse.core.errors import Reason
from statehouse.core.invariants import InvariantViolation
from statehouse.core.keys import Table, number_of, receipt_key, u64
from statehouse.core.model import Refused

if TYPE_CHECKING:
    from statehouse.core.model import Answer, Submission, Transaction
    from statehouse.core.view import Delete, Put, View


class Sessions:
    """The sessions and receipts as they are after what one apply has done so far."""

    def __init__(self, view: View) -> None:
        head = view.head()
        self._view = view
        self.floor = head.sessions_floor
        self.receipts_from = head.receipts_from
        self._sessions: dict[bytes, Session | None] = {}
        self._changed: set[bytes] = set()
        self._receipts: dict[bytes, bytes | None] = {}
        self._groups: dict[int, bytes | None] = {}
        self._stored_groups_end = False
        self._made: dict[bytes, list[int]] = {}

    # -- One submission

    def earlier_answer(
        self, submission: Submission, transaction: Transaction, fingerprint: bytes
    ) -> Answer | None:
        """The answer to an op id that is decided or refused already; None: it is new."""
        client_id, sequence = transaction.client_id, transaction.sequence
        session = self._session(client_id)
        if session is None:
            return _too_old(sequence) if submission.born_at < self.floor else None
        if sequence > session.highest:
            return None
        if sequence <= session.acknowledged:
            return _too_old(sequence)
        row = self._receipt(receipt_key(client_id, sequence))
        if row is None:
            return _too_old(sequence) if sequence <= session.expired else None
        first, answer = codec.decode_receipt(row)
        return answer if first == fingerprint else _reused(sequence)

    def decided(
        self,
        submission: Submission,
        transaction: Transaction,
        fingerprint: bytes,
        answer: Answer,
        index: int,
    ) -> None:
        """Stores the first answer to an op id that `earlier_answer` found to be new."""
        client_id, sequence = transaction.client_id, transaction.sequence
        session = self._sessions[client_id]
        if session is None:
            session = self._sessions[client_id] = Session(0, 0, 0, 0)
        self._changed.add(client_id)
        self._receipts[receipt_key(client_id, sequence)] = codec.encode_receipt(fingerprint, answer)
        if sequence > session.highest:
            session.highest = sequence
        session.last_index = index
        if submission.acknowledged_through > session.acknowledged:
            self._let_go(client_id, session, submission.acknowledged_through)
        made = self._made.get(client_id)
        if made is None:
            self._made[client_id] = [sequence]
        else:
            made.append(sequence)

    def _let_go(self, client_id: bytes, session: Session, through: int) -> None:
        """Drops receipts the client acknowledged; what exceeds the bound waits for a later one."""
        first = session.acknowledged + 1
        last = min(through, session.highest)
        if last - first >= limits.RECEIPTS_ACKNOWLEDGED_MAX:
            last = through = session.acknowledged + limits.RECEIPTS_ACKNOWLEDGED_MAX
        for sequence in range(first, last + 1):
            self._receipts[receipt_key(client_id, sequence)] = None
        session.acknowledged = through

    # -- One group

    def end_group(self, index: int, committed_at_us: int, commit_ts: int) -> None:
        """Lists the receipts the group made, so that they can be dropped together."""
        if self._made:
            age = GroupAge(committed_at_us, commit_ts)
            self._groups[index] = codec.encode_receipt_group(age, self._made)
            self._made = {}

    def expire(self, committed_at_us: int, commit_ts: int) -> None:
        """Drops the oldest groups of receipts that are older than the window, a few at a time.

        committed_at_us, commit_ts: of the group about to be applied, and before it.
        """
        oldest_us = committed_at_us - limits.RECEIPT_WINDOW_US
        for _ in range(limits.RECEIPT_GROUPS_EXPIRED_MAX):
            found = self._oldest_group()
            if found is None:
                return
            index, row = found
            age = codec.decode_group_age(row)
            if age.committed_at_us >= oldest_us or age.commit_ts >= commit_ts:
                return
            for client_id, sequences in codec.decode_group_receipts(row).items():
                self._expire_client(client_id, sequences, index, age.commit_ts)
            self._groups[index] = None
            self.receipts_from = index + 1

    def _expire_client(
        self, client_id: bytes, sequences: list[int], index: int, commit_ts: int
    ) -> None:
        session = self._session(client_id)
        if session is None:
            raise InvariantViolation(f"client {client_id.hex()} has receipts but no session")
        self._changed.add(client_id)
        for sequence in sequences:
            if sequence > session.acknowledged:
                self._receipts[receipt_key(client_id, sequence)] = None
                session.expired = max(session.expired, sequence)
        if session.last_index == index:
            self._sessions[client_id] = None
            self.floor = max(self.floor, commit_ts + 1)

    def _oldest_group(self) -> tuple[int, bytes] | None:
        if not self._stored_groups_end:
            row = self._view.first(Table.RECEIPT_GROUPS, u64(self.receipts_from))
            if row is not None:
                return number_of(row[0]), row[1]
            self._stored_groups_end = True
        for index, made in self._groups.items():
            if made is not None:
                return index, made
        return None

    # -- Rows

    def _session(self, client_id: bytes) -> Session | None:
        try:
            return self._sessions[client_id]
        except KeyError:
            row = self._view.get(Table.SESSIONS, client_id)
            session = None if row is None else codec.decode_session(row)
            self._sessions[client_id] = session
            return session

    def _receipt(self, key: bytes) -> bytes | None:
        try:
            return self._receipts[key]
        except KeyError:
            return self._view.get(Table.RECEIPTS, key)

    def add_rows(self, puts: list[Put], deletes: list[Delete]) -> None:
        """Adds what has changed."""
        for client_id in self._changed:
            session = self._sessions[client_id]
            if session is not None:
                puts.append((Table.SESSIONS, client_id, codec.encode_session(session)))
            else:
                deletes.append((Table.SESSIONS, client_id))
        for key, row in self._receipts.items():
            if row is not None:
                puts.append((Table.RECEIPTS, key, row))
            else:
                deletes.append((Table.RECEIPTS, key))
        for index, row in self._groups.items():
            if row is not None:
                puts.append((Table.RECEIPT_GROUPS, u64(index), row))
            else:
                deletes.append((Table.RECEIPT_GROUPS, u64(index)))


def _too_old(sequence: int) -> Refused:
    return Refused(
        Reason.OP_ID_EXPIRED.value,
        f"the receipt of sequence {sequence} is no longer kept, so it cannot be told whether it "
        "was committed; read the state, and use a new client id if it was not",
    )


def _reused(sequence: int) -> Refused:
    return Refused(
        Reason.OP_ID_REUSED.value,
        f"sequence {sequence} was used before, for another transaction; nothing was written: "
        "count sequences up, and give retries the same content",
    )
