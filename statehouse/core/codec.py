"""Owns the bytes: of what travels in the log, and of what every row holds.

All are MessagePack arrays of the structs' fields, in one canonical form. Bytes that outlive this
program begin with a format number: the payload of a log entry (it governs all inside it) and the
body of an event; the rows of a store are governed by the store's own (`STORE_FORMAT`). What comes
from outside must be the canonical form of what it says; everything else is a CodecError, and no
input raises anything else.
"""

from __future__ import annotations

from struct import Struct as Packed
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from statehouse.core.digest import GENESIS, HASH_BYTES, fingerprint
from statehouse.core.model import EventBody, Refused, Submission, Transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

STORE_FORMAT: Final = 3
_GROUP_FORMAT: Final = b"\x01"
_EVENT_FORMAT: Final = b"\x01"


class CodecError(Exception):
    """These bytes are not what they should be; the text says which and why."""


class Group(Struct, frozen=True, array_like=True, gc=False):
    """One log entry: the leader's clock and the encoded submissions that share the entry."""

    committed_at_us: int
    submissions: tuple[bytes, ...]


class Head(Struct, frozen=True, array_like=True, gc=False):
    """Where the history stands: what the next group builds on."""

    commit_ts: int = 0
    committed_at_us: int = 0
    chain_hash: bytes = GENESIS
    sessions_floor: int = 0
    """A client without a session that was born before this commit_ts is refused."""
    receipts_from: int = 0
    """No log index below this one has a group of receipts."""


class State(Struct, frozen=True, array_like=True, gc=False):
    """The row that says what has been applied."""

    index: int
    term: int
    head: Head


Latest = tuple[int, int, int, int]
"""The last version of a key: version, commit_ts, kind, committed_at_us."""


RefusedReceipt = tuple[bytes, Refused]
"""The fingerprint of what was refused, and the answer."""

Receipt = int | RefusedReceipt
"""The commit_ts under which an op id was committed, or how it was refused."""


class Receipts(Struct, frozen=True, array_like=True, gc=False):
    """The receipts that one log entry made for one client, by their sequences."""

    committed: dict[int, int]
    """commit_ts; the event of that commit tells the rest."""
    refused: dict[int, RefusedReceipt]

    def get(self, sequence: int) -> Receipt | None:
        return self.committed.get(sequence) or self.refused.get(sequence)

    def highest(self) -> int:
        """The highest sequence; there is one at least."""
        return max(max(self.committed, default=0), max(self.refused, default=0))


class GroupAge(NamedTuple):
    """When the receipts of one log entry were made."""

    committed_at_us: int
    commit_ts: int
    """The last one when the entry had been applied."""


GroupClients = dict[bytes, int]
"""The clients that one log entry made receipts for, each with the highest sequence of those."""


class Session(Struct, array_like=True, gc=False):
    """What is remembered of a client; sessions.py says how it is used."""

    acknowledged: int
    """The client asked never to hear of sequences up to this one again."""
    expired: int
    """The highest sequence whose receipt was dropped for its age."""
    highest: int
    """The highest sequence that was ever answered."""
    last_index: int
    """The log index of the client's newest receipt."""


_encode = msgspec.msgpack.Encoder().encode
_decode_group = msgspec.msgpack.Decoder(Group).decode
_decode_submission = msgspec.msgpack.Decoder(Submission).decode
_decode_transaction = msgspec.msgpack.Decoder(Transaction).decode
_decode_event = msgspec.msgpack.Decoder(EventBody).decode
_decode_receipts = msgspec.msgpack.Decoder(Receipts).decode
_decode_group_clients = msgspec.msgpack.Decoder(GroupClients).decode
_decode_session = msgspec.msgpack.Decoder(Session).decode
_decode_state = msgspec.msgpack.Decoder(State).decode

# What msgspec raises for malformed bytes, and what Python adds for text and nesting.
_MALFORMED = (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError, ValueError)


def _canonical(decode: Any, data: bytes, what: str) -> Any:
    """Decodes bytes from outside; equal values must never come as unequal bytes."""
    try:
        value = decode(data)
    except _MALFORMED as error:
        raise CodecError(f"malformed {what}: {error}") from None
    if _encode(value) != data:
        raise CodecError(f"malformed {what}: not in canonical form")
    return value


def _stored(decode: Any, data: bytes, what: str) -> Any:
    try:
        return decode(data)
    except _MALFORMED as error:
        raise CodecError(f"malformed {what} row: {error}") from None


def encode_transaction(transaction: Transaction) -> bytes:
    """The bytes whose fingerprint tells a retry from another transaction."""
    return _encode(transaction)


def decode_transaction(data: bytes) -> Transaction:
    transaction: Transaction = _canonical(_decode_transaction, data, "transaction")
    return transaction


def encode_submission(submission: Submission) -> bytes:
    """The command a node proposes."""
    return _encode(submission)


def decode_submission(data: bytes) -> Submission:
    try:
        return _decode_submission(data)
    except _MALFORMED as error:
        raise CodecError(f"malformed submission: {error}") from None


def encode_group(committed_at_us: int, submissions: Sequence[bytes]) -> bytes:
    """The payload of one log entry, from encoded submissions."""
    return _GROUP_FORMAT + _encode((committed_at_us, submissions))


def decode_group(payload: bytes) -> Group:
    if payload[:1] != _GROUP_FORMAT:
        raise CodecError(
            f"log entry of unknown format {payload[:1].hex() or 'none'}; "
            "this program knows 01 only: run the version that wrote it"
        )
    group: Group = _canonical(_decode_group, payload[1:], "group")
    if group.committed_at_us < 0:
        raise CodecError(f"malformed group: committed_at is {group.committed_at_us}")
    return group


def encode_event_body(body: EventBody) -> bytes:
    """The canonical bytes of an event."""
    return _EVENT_FORMAT + _encode(body)


def decode_event(row: bytes) -> EventBody:
    """The body of an event; its row is the hash, then the body's canonical bytes."""
    if not row.startswith(_EVENT_FORMAT, HASH_BYTES):
        raise CodecError("event row of unknown format; this program knows 01 only")
    # As `_stored`; written out, for a replay does this more than anything else.
    try:
        return _decode_event(row[HASH_BYTES + 1 :])
    except _MALFORMED as error:
        raise CodecError(f"malformed event row: {error}") from None


_LATEST = Packed(">QQBQ")
encode_latest = _LATEST.pack
"""version, commit_ts, kind, committed_at_us -> row."""


def decode_latest(row: bytes) -> Latest:
    if len(row) != _LATEST.size:
        raise CodecError(f"malformed latest row: {len(row)} bytes")
    latest: Latest = _LATEST.unpack(row)
    return latest


_RECORD = Packed(">BQ")
RECORD_HEADER_BYTES: Final = _RECORD.size
encode_record_header = _RECORD.pack
"""kind, committed_at_us -> what comes before the value in a record row."""


def decode_record_header(row: bytes) -> tuple[int, int]:
    """kind and committed_at_us; the value is the rest of the row."""
    if len(row) < RECORD_HEADER_BYTES:
        raise CodecError(f"malformed record row: {len(row)} bytes")
    kind, committed_at_us = _RECORD.unpack_from(row)
    return kind, committed_at_us


class AgentFacts(NamedTuple):
    """What is known of an agent that was written to; of a fork, where it comes from."""

    first_commit_ts: int
    parent_id: str | None = None
    point: int = 0
    """The parent's state that the fork begins with."""


_FORK = Packed(">QQ")


def encode_agent(first_commit_ts: int) -> bytes:
    """The row of an agent that is no fork."""
    return first_commit_ts.to_bytes(8, "big")


def encode_fork_agent(first_commit_ts: int, parent_id: str, point: int) -> bytes:
    """The row of a fork."""
    return _FORK.pack(first_commit_ts, point) + parent_id.encode()


def decode_agent(row: bytes) -> AgentFacts:
    if len(row) == 8:
        return AgentFacts(int.from_bytes(row, "big"))
    if len(row) < _FORK.size:
        raise CodecError(f"malformed agent row: {len(row)} bytes")
    first_commit_ts, point = _FORK.unpack_from(row)
    try:
        return AgentFacts(first_commit_ts, row[_FORK.size :].decode(), point)
    except UnicodeError as error:
        raise CodecError(f"malformed agent row: {error}") from None


def refused_receipt(transaction: bytes, answer: Refused) -> RefusedReceipt:
    """The receipt of a transaction, given by its bytes, that was refused."""
    return fingerprint(transaction), answer


def encode_receipts(receipts: Receipts) -> bytes:
    return _encode(receipts)


def decode_receipts(row: bytes) -> Receipts:
    receipts: Receipts = _stored(_decode_receipts, row, "receipts")
    return receipts


_GROUP_AGE = Packed(">QQ")


def encode_receipt_group(age: GroupAge, clients: GroupClients) -> bytes:
    """The age comes first, so that it can be asked without reading what may be long."""
    return _GROUP_AGE.pack(*age) + _encode(clients)


def decode_group_age(row: bytes) -> GroupAge:
    if len(row) < _GROUP_AGE.size:
        raise CodecError(f"malformed receipt group row: {len(row)} bytes")
    return GroupAge(*_GROUP_AGE.unpack_from(row))


def decode_group_clients(row: bytes) -> GroupClients:
    clients: GroupClients = _stored(_decode_group_clients, row[_GROUP_AGE.size :], "receipt group")
    return clients


def encode_session(session: Session) -> bytes:
    return _encode(session)


def decode_session(row: bytes) -> Session:
    session: Session = _stored(_decode_session, row, "session")
    return session


def encode_state(state: State) -> bytes:
    return _encode(state)


def decode_state(row: bytes) -> State:
    state: State = _stored(_decode_state, row, "state")
    if len(state.head.chain_hash) != HASH_BYTES:
        raise CodecError("malformed state row: its chain hash has a wrong length")
    return state
