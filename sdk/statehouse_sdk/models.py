"""Owns the shapes the SDK hands out: results, events, points in time; plain data, no wire.

The first fields of StateResult, Operation and ReplayEvent stand where users of the first Python
client expect them. ``to_dict()`` is always JSON: raw bytes stand in ``value_base64`` beside a null
``value``, moments are ISO 8601 in UTC.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from statehouse_sdk.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from statehouse_sdk.values import StateValue

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

At = int | datetime | str
"""A point in history: a commit_ts, an aware datetime, or a label of the agent; all inclusive."""


def datetime_of_us(time_us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970."""
    return _EPOCH + timedelta(0, 0, time_us)


def us_of_datetime(moment: datetime) -> int:
    """Microseconds since 1970, exactly; InvalidRequestError for a naive datetime."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise InvalidRequestError(
            f"{moment!r} has no time zone, so it names no moment; use datetime.now(timezone.utc)"
            " or .astimezone()"
        )
    return (moment - _EPOCH) // _MICROSECOND


def value_to_dict(value: StateValue) -> dict[str, Any]:
    """``{"value": ...}`` as JSON can hold it."""
    if isinstance(value, bytes):
        return {"value": None, "value_base64": base64.b64encode(value).decode("ascii")}
    return {"value": value}


@dataclass(frozen=True, slots=True)
class StateResult:
    """One version of one key, or the fact that there is none.

    Never written: version 0, exists False. Deleted: the tombstone's version, exists False. Written
    earlier in the same, uncommitted transaction: version 0, exists True.
    """

    value: StateValue
    version: int
    commit_ts: int
    exists: bool
    key: str = ""
    committed_at: datetime | None = None
    """When this version was committed; None if there is none."""
    served_at: int = 0
    """The commit_ts at which the answer was true."""

    def to_dict(self) -> dict[str, Any]:
        """key, version, commit_ts, committed_at, exists, value."""
        return {
            "key": self.key,
            "version": self.version,
            "commit_ts": self.commit_ts,
            "committed_at": self.committed_at.isoformat() if self.committed_at else None,
            "exists": self.exists,
            **value_to_dict(self.value),
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All live keys of one agent at one commit_ts, in bytewise order of the keys."""

    namespace: str
    agent_id: str
    commit_ts: int
    records: Mapping[str, StateResult]

    def to_dict(self) -> dict[str, Any]:
        """namespace, agent_id, commit_ts, records by key."""
        return {
            "namespace": self.namespace,
            "agent_id": self.agent_id,
            "commit_ts": self.commit_ts,
            "records": {key: record.to_dict() for key, record in self.records.items()},
        }


@dataclass(frozen=True, slots=True)
class Metadata:
    """Who made a transaction, why, and which earlier commits led to it."""

    actor: str = ""
    reason: str = ""
    run_id: str = ""
    tool_call_id: str = ""
    caused_by: tuple[int, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Only what was given."""
        facts = {
            "actor": self.actor,
            "reason": self.reason,
            "run_id": self.run_id,
            "tool_call_id": self.tool_call_id,
            "caused_by": list(self.caused_by),
            "extra": dict(self.extra),
        }
        return {name: fact for name, fact in facts.items() if fact}


@dataclass(frozen=True, slots=True)
class LabelMark:
    """A label was set, or (commit_ts 0) deleted."""

    name: str
    commit_ts: int

    def __str__(self) -> str:
        return f"label {self.name} " + (f"-> {self.commit_ts}" if self.commit_ts else "deleted")


@dataclass(frozen=True, slots=True)
class ForkMark:
    """The agent began here, as its parent was at a commit_ts."""

    parent_id: str
    commit_ts: int

    def __str__(self) -> str:
        return f"fork of {self.parent_id} at {self.commit_ts}"


@dataclass(frozen=True, slots=True)
class CursorMark:
    """A named reader has come so far, or its cursor was deleted."""

    name: str
    position: int
    agent_id: str = ""
    prefix: str = ""
    deleted: bool = False

    def __str__(self) -> str:
        return f"cursor {self.name} " + ("deleted" if self.deleted else f"-> {self.position}")


Mark = LabelMark | ForkMark | CursorMark
"""What is recorded beside keys, in the same history."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One write or delete of a replayed event. A delete has value None, and so may a write.

    What recorded a label, a fork or a cursor has a ``mark``, and neither key nor value.
    """

    key: str
    value: StateValue
    version: int
    deleted: bool = False
    namespace: str = "default"
    agent_id: str = ""
    mark: Mark | None = None

    def to_dict(self) -> dict[str, Any]:
        """key, value, version, deleted; of a mark instead: mark, version."""
        if self.mark is not None:
            kind = type(self.mark).__name__.removesuffix("Mark").lower()
            return {"mark": {"kind": kind, **asdict(self.mark)}, "version": self.version}
        return {
            "key": self.key,
            **value_to_dict(self.value),
            "version": self.version,
            "deleted": self.deleted,
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """What the hash of an event was made of, and the stored bytes of the values it tells.

    The hash is the SHA-256 of previous_hash and body, one after the other; the body holds the
    SHA-256 of each value. stored has one entry for each operation told: None for a delete or mark.
    """

    previous_hash: bytes
    body: bytes
    stored: tuple[bytes | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to this commit_ts that is in scope has been told."""

    commit_ts: int


@dataclass(frozen=True, slots=True, repr=False)
class ReplayEvent:
    """One committed transaction, with the operations of the replayed scope only.

    namespace and agent_id are those of the replay; empty when it was wider than one agent, and each
    operation then tells its own. Printing an event gives its readable lines.
    """

    txn_id: str
    commit_ts: int
    operations: list[Operation]
    namespace: str = "default"
    agent_id: str = ""
    committed_at: datetime | None = None
    metadata: Metadata = Metadata()
    hash: bytes = b""
    """SHA-256 that chains all events up to this one."""
    proof: Proof | None = None
    """With ``with_proof`` only."""

    def to_dict(self) -> dict[str, Any]:
        """txn_id, commit_ts, committed_at, namespace, agent_id, metadata, hash, operations."""
        return {
            "txn_id": self.txn_id,
            "commit_ts": self.commit_ts,
            "committed_at": self.committed_at.isoformat() if self.committed_at else None,
            "namespace": self.namespace,
            "agent_id": self.agent_id,
            "metadata": self.metadata.to_dict(),
            "hash": self.hash.hex(),
            "operations": [self._operation_to_dict(operation) for operation in self.operations],
        }

    def _operation_to_dict(self, operation: Operation) -> dict[str, Any]:
        if self.agent_id:
            return operation.to_dict()
        scope = {"namespace": operation.namespace, "agent_id": operation.agent_id}
        return scope | operation.to_dict()

    def __repr__(self) -> str:
        from statehouse_sdk.formatting import format_event_pretty

        return "\n".join(format_event_pretty(self)) or f"<event {self.txn_id}: no operations>"


# A replay makes these two by the hundred thousand, and each field that a frozen dataclass is given
# when it is made costs a call. So they are filled as plain objects of the same fields, and become
# what they are, frozen, when all is in place.


class _OpenOperation:
    __slots__ = Operation.__slots__


class _OpenEvent:
    __slots__ = ReplayEvent.__slots__


def made_operation(
    key: str,
    value: StateValue,
    version: int,
    deleted: bool,
    namespace: str,
    agent_id: str,
    mark: Mark | None,
) -> Operation:
    """As `Operation`, in a third of the time."""
    told: Any = _OpenOperation()
    told.key = key
    told.value = value
    told.version = version
    told.deleted = deleted
    told.namespace = namespace
    told.agent_id = agent_id
    told.mark = mark
    told.__class__ = Operation
    operation: Operation = told
    return operation


def made_event(
    txn_id: str,
    commit_ts: int,
    operations: list[Operation],
    namespace: str,
    agent_id: str,
    committed_at: datetime | None,
    metadata: Metadata,
    chain_hash: bytes,
    proof: Proof | None,
) -> ReplayEvent:
    """As `ReplayEvent`, in a third of the time."""
    told: Any = _OpenEvent()
    told.txn_id = txn_id
    told.commit_ts = commit_ts
    told.operations = operations
    told.namespace = namespace
    told.agent_id = agent_id
    told.committed_at = committed_at
    told.metadata = metadata
    told.hash = chain_hash
    told.proof = proof
    told.__class__ = ReplayEvent
    event: ReplayEvent = told
    return event
