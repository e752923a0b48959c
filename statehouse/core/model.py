"""Owns the shapes that travel in the log and come back from the store: commands, results, rows.

All are frozen; none knows how it is stored (keys.py, engine.py) or sent (rpc/convert.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from msgspec import Struct


class Kind(IntEnum):
    """What a record holds. The numbers are stored; never change one."""

    TOMBSTONE = 0
    JSON = 1
    BYTES = 2


class Expectation(IntEnum):
    """What a precondition asks of a key. The numbers are stored; never change one."""

    VERSION = 0
    """The key's version is `number`; 0: it was never written."""
    ABSENT = 1
    """The key holds no value: never written, or deleted."""
    UNCHANGED_SINCE = 2
    """No commit after commit_ts `number` touched the key."""


class Operation(Struct, frozen=True, array_like=True, gc=False):
    """One write (kind JSON or BYTES) or delete (kind TOMBSTONE, empty value) of one key."""

    namespace: str
    agent_id: str
    key: str
    kind: int
    value: bytes


class Precondition(Struct, frozen=True, array_like=True, gc=False):
    """What must hold of one key when the transaction is applied."""

    namespace: str
    agent_id: str
    key: str
    expectation: int
    number: int


class Metadata(Struct, frozen=True, array_like=True, gc=False):
    """Who did it, why, and what led to it; `extra` is sorted by name."""

    actor: str = ""
    reason: str = ""
    run_id: str = ""
    tool_call_id: str = ""
    caused_by: tuple[int, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()


class Transaction(Struct, frozen=True, array_like=True, gc=False):
    """What a client asks to commit. Its canonical bytes are equal for each retry of one op id."""

    client_id: bytes
    """16 bytes."""
    sequence: int
    """From 1; with client_id, the op id."""
    txn_id: str
    operations: tuple[Operation, ...]
    preconditions: tuple[Precondition, ...] = ()
    metadata: Metadata = Metadata()


class Submission(Struct, frozen=True, array_like=True, gc=False):
    """One attempt to commit a transaction: what may differ between retries stands outside it."""

    born_at: int
    """A commit_ts the cluster had reached when the client was made."""
    acknowledged_through: int
    """The client will never again ask about sequences up to this one."""
    transaction: bytes
    """Canonical bytes of a `Transaction`."""


class Committed(Struct, frozen=True, array_like=True, gc=False):
    """The answer to a transaction that was applied, now or by an earlier attempt."""

    commit_ts: int
    committed_at_us: int
    versions: tuple[int, ...]
    """One for each operation, in order."""


class Conflict(Struct, frozen=True, array_like=True, gc=False):
    """A precondition that did not hold, and what was found."""

    precondition: Precondition
    actual_version: int
    """0: never written."""
    actual_commit_ts: int
    actual_exists: bool


class Refused(Struct, frozen=True, array_like=True, gc=False):
    """The answer when nothing was written; `reason` is a core.errors.Reason."""

    reason: int
    message: str
    conflicts: tuple[Conflict, ...] = ()


Answer = Committed | Refused


class Record(Struct, frozen=True, gc=False):
    """One version of one key as a read returns it; a tombstone has kind TOMBSTONE and no value."""

    key: str
    kind: int
    value: bytes
    version: int
    commit_ts: int
    committed_at_us: int


class EventOperation(Struct, frozen=True, gc=False):
    """One operation as the log tells it, with the version it made and its value."""

    namespace: str
    agent_id: str
    key: str
    version: int
    kind: int
    value: bytes


def operation_told(row: EventOperationRow, value: bytes) -> EventOperation:
    """An operation with its value, or with what stands in its place."""
    return EventOperation(row.namespace, row.agent_id, row.key, row.version, row.kind, value)


class EventOperationRow(Struct, frozen=True, array_like=True, gc=False):
    """One operation of an event; its value lies in the record of this version."""

    namespace: str
    agent_id: str
    key: str
    version: int
    kind: int
    digest: bytes
    """SHA-256 of the value."""


class EventBody(Struct, frozen=True, array_like=True, gc=False):
    """What the hash of an event covers, besides the previous hash."""

    commit_ts: int
    committed_at_us: int
    txn_id: str
    client_id: bytes
    sequence: int
    metadata: Metadata
    preconditions: tuple[Precondition, ...]
    operations: tuple[EventOperationRow, ...]


class Event(Struct, frozen=True, gc=False):
    """One committed transaction as it is told: all of it or what is in scope, values or not.

    A replay makes one of each event it tells, so nothing is copied out of the body until asked for.
    """

    body: EventBody
    told: Sequence[EventOperationRow]
    """The operations of the body that are in scope."""
    values: Sequence[bytes]
    """What each of them wrote; empty where values are not told."""
    hash: bytes
    """SHA-256 of the previous event's hash and this event's canonical bytes."""
    previous_hash: bytes = b""
    """With a proof only, as `canonical`."""
    canonical: bytes = b""
    """The canonical bytes; they hold the SHA-256 of each value, of all operations."""

    @property
    def commit_ts(self) -> int:
        return self.body.commit_ts

    @property
    def committed_at_us(self) -> int:
        return self.body.committed_at_us

    @property
    def txn_id(self) -> str:
        return self.body.txn_id

    @property
    def metadata(self) -> Metadata:
        return self.body.metadata

    @property
    def operations(self) -> tuple[EventOperation, ...]:
        """The operations told, each with its value."""
        return tuple(map(operation_told, self.told, self.values))


class AgentRow(Struct, frozen=True, gc=False):
    """One agent of a namespace, and the commit that first wrote to it."""

    agent_id: str
    first_commit_ts: int


class LabelRow(Struct, frozen=True, gc=False):
    """One label of an agent, and the commit that set it."""

    name: str
    commit_ts: int
    """The point it names."""
    version: int
    set_at: int
    set_at_us: int


class CursorRow(Struct, frozen=True, gc=False):
    """How far a named reader of a namespace has come; of a deleted one only the version is left."""

    name: str
    through: int
    agent_id: str
    prefix: str
    version: int
    set_at: int
    exists: bool


class ForkRow(Struct, frozen=True, gc=False):
    """Where a forked agent comes from."""

    agent_id: str
    parent_id: str
    commit_ts: int
    """The parent's state it began with."""
    forked_at: int
    """The commit that made it."""


class VersionRow(Struct, frozen=True, gc=False):
    """One version of a key with the commit that made it."""

    record: Record
    agent_id: str
    """Who was written: early versions of a forked agent are an ancestor's."""
    txn_id: str
    metadata: Metadata


class FieldBlame(Struct, frozen=True, gc=False):
    """A top-level field of a JSON object, and the version that gave it the value it has."""

    field: str
    version: int
    commit_ts: int
    committed_at_us: int
    agent_id: str
    txn_id: str
    metadata: Metadata


class KeyBlame(Struct, frozen=True, gc=False):
    """The version that set a key; its fields in the order in which they stand in the value."""

    last: VersionRow
    fields: tuple[FieldBlame, ...]


class ReadRow(Struct, frozen=True, gc=False):
    """A key that a transaction had read when it decided, and the commit that made what it read."""

    namespace: str
    agent_id: str
    key: str
    version: int
    """0: it was not there."""
    commit_ts: int
    """0: it was not there."""


class ExplainedCommit(Struct, frozen=True, gc=False):
    """One commit that led to a value, so many steps away from the one that set it."""

    event: Event
    """All its operations, but values only of marks and the key asked about: others are empty."""
    reads: tuple[ReadRow, ...]
    distance: int


class DiffRow(Struct, frozen=True, gc=False):
    """A key that differs, and what it holds on either side; None: nothing."""

    key: str
    a: Record | None
    b: Record | None


class VerifyRow(Struct, frozen=True, gc=False):
    """How far a check of the record has come, and what it found."""

    events: int
    """So many were checked."""
    through: int
    """The last commit_ts that was found to be right."""
    chain_hash: bytes
    """Of that event."""
    bad_commit_ts: int = 0
    """The first event that does not agree; 0: none so far."""
    fault: str = ""
    finished: bool = False
    """The last row: all was checked, or something bad was found."""
