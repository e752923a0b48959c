"""Owns the way between wire messages and what users hold; pure, and the only file that knows both.

Everything that is checked before it is sent is checked here: names, points, consistency.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from statehouse_proto.v2 import cluster_pb2 as cluster
from statehouse_proto.v2 import common_pb2 as common
from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import convert_marks, values
from statehouse_sdk.cluster_models import AddProgress, Member, NodeStatus
from statehouse_sdk.errors import InvalidRequestError, TooLargeError
from statehouse_sdk.limits import NAME_BYTES_MAX
from statehouse_sdk.models import (
    At,
    Metadata,
    Operation,
    Proof,
    ReplayEvent,
    StateResult,
    datetime_of_us,
    made_event,
    made_operation,
    us_of_datetime,
)

MISSING = StateResult(None, 0, 0, False)
"""A key never written."""

MERGED = "merged/"
"""What the label of a merge begins with; the name of its source follows."""
_NO_METADATA = Metadata()

_UINT64_MAX = 2**64 - 1


def checked_name(text: Any, what: str, *, empty: bool = False) -> str:
    """`text` if it can be sent as a namespace, agent id, key or prefix."""
    if not isinstance(text, str):
        raise InvalidRequestError(f"{what} is {text!r:.60}; it must be a string")
    if not text and not empty:
        raise InvalidRequestError(f"{what} is empty; give it a name")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequestError(f"{what} {text!r:.60} holds half of a surrogate pair") from None
    if size > NAME_BYTES_MAX:
        raise TooLargeError(
            f"{what} takes {size} bytes, and name_bytes_max is {NAME_BYTES_MAX}",
            "name_bytes_max",
            NAME_BYTES_MAX,
            size,
        )
    return text


def checked_number(number: Any, what: str) -> int:
    """`number` if it can be sent as a version, commit_ts or count."""
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _UINT64_MAX:
        raise InvalidRequestError(f"{what} is {number!r:.60}; it must be an integer from 0")
    return number


def checked_label(name: Any) -> str:
    """`name` if a label may be called so: on a command line it must not read as another point."""
    told = checked_name(name, "label")
    if _reads_as_a_point(told):
        raise InvalidRequestError(
            f"label {told!r} reads like a commit_ts or a time; as a point give the int or the"
            " datetime itself, as a label choose a name with letters"
        )
    return told


def checked_own_label(name: Any) -> str:
    """As `checked_label`, for one that a user sets: some are kept by the client itself."""
    told = checked_label(name)
    if told.startswith(MERGED):
        raise InvalidRequestError(
            f"label {told!r}: names that begin with {MERGED} are kept by merge(); take another"
        )
    return told


def _reads_as_a_point(text: str) -> bool:
    for reads in (int, datetime.fromisoformat):
        try:
            reads(text)
        except ValueError:
            continue
        return True
    return False


def point(at: At | None, what: str = "at") -> common.Point | None:
    """A point in history; None stays None, "now"."""
    if at is None:
        return None
    if isinstance(at, datetime):
        return common.Point(time_us=us_of_datetime(at))
    if isinstance(at, str):
        return common.Point(label=checked_label(at))
    if not isinstance(at, int) or isinstance(at, bool):
        raise InvalidRequestError(
            f"{what} is {at!r:.60}; give a commit_ts (int), an aware datetime, or a label (str)"
        )
    return common.Point(commit_ts=checked_number(at, what))


def consistency(stale: bool) -> common.Consistency.ValueType:
    """Linearizable unless `stale`."""
    return common.CONSISTENCY_STALE if stale else common.CONSISTENCY_LINEARIZABLE


def value_message(value: Any) -> common.Value:
    """A value as it is sent."""
    encoded = values.encode(value)
    return common.Value(json=encoded.data) if encoded.is_json else common.Value(raw=encoded.data)


def value_of(message: common.Value) -> values.StateValue:
    """A value as it is read; an empty message is a delete's None."""
    # To ask for the kind costs more than to read what there is, and few values are empty.
    text = message.json
    if text:
        return values.decode(text, True)
    raw = message.raw
    if raw:
        return raw
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    return values.decode(text, kind == "json")


def result_of(record: state.Record, served_at: int, key: str = "") -> StateResult:
    """A record as a result; `key` is what was asked for, should the record not say."""
    return StateResult(
        value=value_of(record.value) if record.exists else None,
        version=record.version,
        commit_ts=record.commit_ts,
        exists=record.exists,
        key=record.key or key,
        committed_at=datetime_of_us(record.committed_at_us) if record.version else None,
        served_at=served_at,
    )


def metadata_message(metadata: Metadata) -> state.Metadata:
    """Metadata as it is sent; the wrong type of a field is an InvalidRequestError."""
    for name in ("actor", "reason", "run_id", "tool_call_id"):
        checked_text(getattr(metadata, name), name)
    for name, text in metadata.extra.items():
        checked_text(name, "a name in extra")
        checked_text(text, f"extra[{name!r}]")
    return state.Metadata(
        actor=metadata.actor,
        reason=metadata.reason,
        run_id=metadata.run_id,
        tool_call_id=metadata.tool_call_id,
        caused_by=[checked_number(cause, "caused_by") for cause in metadata.caused_by],
        extra=metadata.extra,
    )


def checked_text(text: Any, what: str) -> str:
    """`text` if it is a string that UTF-8 can hold."""
    if not isinstance(text, str):
        raise InvalidRequestError(f"{what} is {text!r:.60}; it must be a string")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(f"{what} holds half of a surrogate pair") from None
    return text


def metadata_of(message: state.Metadata) -> Metadata:
    """Metadata as it is read."""
    # Asking whether a container holds anything costs much less than making a copy of it.
    causes, extra = message.caused_by, message.extra
    return Metadata(
        message.actor,
        message.reason,
        message.run_id,
        message.tool_call_id,
        tuple(causes) if causes else (),
        dict(extra) if extra else {},
    )


def event_of(
    event: state.Event, namespace: str, agent_id: str, with_proof: bool = False
) -> ReplayEvent:
    """An event of a replay of this scope."""
    return made_event(
        event.txn_id,
        event.commit_ts,
        [operation_of(operation) for operation in event.operations],
        namespace,
        agent_id,
        datetime_of_us(event.committed_at_us),
        metadata_of(event.metadata) if event.HasField("metadata") else _NO_METADATA,
        event.hash,
        _proof_of(event) if with_proof else None,
    )


def _proof_of(event: state.Event) -> Proof:
    stored = [_stored(operation.value) for operation in event.operations]
    return Proof(event.previous_hash, event.body, tuple(stored))


def _stored(message: common.Value) -> bytes | None:
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    return message.json if kind == "json" else message.raw


def operation_of(operation: state.EventOperation, *, withheld: bool = False) -> Operation:
    """An operation of an event; `withheld`: its value is not told."""
    value, deleted, mark = None, False, None
    key, agent_id = operation.key, operation.agent_id
    if operation.HasField("value"):
        value = None if withheld else value_of(operation.value)
    elif operation.HasField("mark"):
        key, mark = "", convert_marks.mark_of(operation.mark)
    else:
        deleted = True
    return made_operation(
        key, value, operation.version, deleted, operation.namespace, agent_id, mark
    )


def status_of(status: cluster.StatusResponse, address: str) -> NodeStatus:
    """A node's status; `address` is where it was asked."""
    return NodeStatus(
        address=address,
        name=status.name,
        node_uuid=status.node_uuid,
        cluster_id=status.cluster_id,
        role=_enum_word(cluster.Role, status.role, "ROLE_"),
        lifecycle=status.lifecycle,
        term=status.term,
        leader_name=status.leader_name,
        leader_address=status.leader_address,
        members=tuple(member_of(member) for member in status.members),
        log_first_index=status.log_first_index,
        log_last_index=status.log_last_index,
        commit_index=status.commit_index,
        applied_index=status.applied_index,
        commit_ts=status.commit_ts,
        committed_at=datetime_of_us(status.committed_at_us) if status.commit_ts else None,
        chain_head=status.chain_head,
        version=status.version,
        git_sha=status.git_sha,
    )


def member_of(member: cluster.Member) -> Member:
    """A member of a cluster."""
    return Member(
        name=member.name,
        node_uuid=member.node_uuid,
        peer_address=member.peer_address,
        client_address=member.client_address,
        voter=member.voter,
        connected=member.connected,
        match_index=member.match_index,
    )


def progress_of(progress: cluster.AddMemberResponse) -> AddProgress:
    """One step of adding a member."""
    return AddProgress(
        phase=_enum_word(cluster.AddMemberResponse.Phase, progress.phase, "PHASE_"),
        bytes_sent=progress.bytes_sent,
        bytes_total=progress.bytes_total,
        entries_behind=progress.entries_behind,
        member=member_of(progress.member) if progress.HasField("member") else None,
    )


def _enum_word(enum: Any, number: int, prefix: str) -> str:
    """``ROLE_LEADER`` -> ``leader``; a number of a newer server stays a number."""
    if number not in enum.values():
        return str(number)
    return str(enum.Name(number)).removeprefix(prefix).lower()
