"""Owns exactly-once: who was answered what, and for how long that is remembered.

An op id is a client id and a sequence. The first answer that decides it (committed or conflict) is
stored as its receipt, in the same step as its effects. The receipts that one log entry made for one
client share a row, found by the highest sequence among them. A session row for each client says
which sequences may still be decided:

    acknowledged  the client will never ask about sequences up to here again
    expired       the highest sequence whose receipt was deleted for its age
    highest       the highest sequence that has, or had, a receipt

Why no op id is ever decided twice. Suppose (c, s) was decided, and an attempt at it comes later.
While c's session row lives it only grows, and highest >= s. If s <= acknowledged: refused. If the
receipt is still there, it is found and answers: its row's key is not below s, and all such rows of
c are looked through. If it was deleted, then for its age, and s <= expired: refused. If the session
row itself was deleted, that happened when its newest receipt, in the group at log index i, had aged
out. Then `sessions_floor` rose above the last commit_ts of that group. The client was born at a
commit_ts that was reached before it proposed anything, so not above the last commit_ts of that
group, which is below the floor: refused, as a client without a session. So a second decision is
never reached, however attempts are lost, doubled, delayed or reordered. A refusal for these reasons
says only that the window has passed; it never claims that nothing was written.

Why a new client is never locked out. The floor rises to c + 1 only when a commit after c exists, so
a client that asks for the current commit_ts when it is made is at or above the floor. Until there
is such a commit the old group is kept.

Why the store stays bounded. The rows of receipts of a group are listed in the group's own row,
which is deleted with them when older than RECEIPT_WINDOW_US of committed_at, some groups each time
one is added. It must not know what a transaction does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core import codec, limits
from statehouse.core.codec import GroupAge, Receipts, Session
from statehouse.core.errors import Reason
from statehouse.core.invariants import InvariantViolation
from statehouse.core.keys import Table, number_of, receipts_key, u64
from statehouse.core.model import Committed, Refused

if TYPE_CHECKING:
    from statehouse.core.codec import Receipt
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
        self._made: dict[bytes, Receipts] = {}
        """The receipts of the group that is being applied, by client."""
        self._rows: dict[bytes, dict[int, bytes | None]] = {}
        """Rows of receipts that groups before it made (or deleted: None), by client and highest
        sequence."""
        self._groups: dict[int, bytes | None] = {}
        self._stored_groups_end = False

    # -- One submission

    def earlier(self, submission: Submission, transaction: Transaction) -> Receipt | Refused | None:
        """The receipt of an op id that is decided, or why it is refused; None: it is new."""
        client_id, sequence = transaction.client_id, transaction.sequence
        session = self._session(client_id)
        if session is None:
            return _too_old(sequence) if submission.born_at < self.floor else None
        if sequence > session.highest:
            return None
        if sequence <= session.acknowledged:
            return _too_old(sequence)
        receipt = self._receipt(client_id, sequence)
        if receipt is None and sequence <= session.expired:
            return _too_old(sequence)
        return receipt

    def decided(
        self, submission: Submission, transaction: Transaction, answer: Answer, index: int
    ) -> None:
        """Stores the first answer to an op id that `earlier` found to be new."""
        client_id, sequence = transaction.client_id, transaction.sequence
        session = self._sessions[client_id]
        if session is None:
            session = self._sessions[client_id] = Session(0, 0, 0, 0)
        made = self._made.get(client_id)
        if made is None:
            made = self._made[client_id] = Receipts({}, {})
            self._changed.add(client_id)
            session.last_index = index
        if isinstance(answer, Committed):
            made.committed[sequence] = answer.commit_ts
        else:
            made.refused[sequence] = codec.refused_receipt(submission.transaction, answer)
        if sequence > session.highest:
            session.highest = sequence
        if submission.acknowledged_through > session.acknowledged:
            session.acknowledged = submission.acknowledged_through

    # -- One group

    def end_group(self, index: int, committed_at_us: int, commit_ts: int) -> None:
        """Makes the rows of the group's receipts, and the one that lists them for their end."""
        if not self._made:
            return
        highest = {}
        for client_id, made in self._made.items():
            highest[client_id] = made.highest()
            self._rows_of(client_id)[highest[client_id]] = codec.encode_receipts(made)
        age = GroupAge(committed_at_us, commit_ts)
        self._groups[index] = codec.encode_receipt_group(age, highest)
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
            for client_id, highest in codec.decode_group_clients(row).items():
                self._expire_client(client_id, highest, index, age.commit_ts)
            self._groups[index] = None
            self.receipts_from = index + 1

    def _expire_client(self, client_id: bytes, highest: int, index: int, commit_ts: int) -> None:
        session = self._session(client_id)
        if session is None:
            raise InvariantViolation(f"client {client_id.hex()} has receipts but no session")
        self._changed.add(client_id)
        self._rows_of(client_id)[highest] = None
        if highest > session.acknowledged:
            session.expired = max(session.expired, highest)
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

    def _rows_of(self, client_id: bytes) -> dict[int, bytes | None]:
        return self._rows.setdefault(client_id, {})

    def _receipt(self, client_id: bytes, sequence: int) -> Receipt | None:
        """Looked for where it may be: in what this apply has made, then in what is stored."""
        made = self._made.get(client_id)
        receipt = None if made is None else made.get(sequence)
        if receipt is not None:
            return receipt
        for highest, row in self._rows.get(client_id, {}).items():
            if row is not None and highest >= sequence:
                receipt = codec.decode_receipts(row).get(sequence)
                if receipt is not None:
                    return receipt
        return self._stored_receipt(client_id, sequence)

    def _stored_receipt(self, client_id: bytes, sequence: int) -> Receipt | None:
        changed = self._rows.get(client_id, {})
        least = sequence
        while True:
            found = self._view.first(Table.RECEIPTS, receipts_key(client_id, least))
            if found is None or not found[0].startswith(client_id):
                return None
            highest = number_of(found[0])
            # What this apply has deleted is still stored.
            if highest not in changed:
                receipt = codec.decode_receipts(found[1]).get(sequence)
                if receipt is not None:
                    return receipt
            least = highest + 1

    def add_rows(self, puts: list[Put], deletes: list[Delete]) -> None:
        """Adds what has changed."""
        for client_id in self._changed:
            session = self._sessions[client_id]
            if session is not None:
                puts.append((Table.SESSIONS, client_id, codec.encode_session(session)))
            else:
                deletes.append((Table.SESSIONS, client_id))
        for client_id, rows in self._rows.items():
            for highest, row in rows.items():
                key = receipts_key(client_id, highest)
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
