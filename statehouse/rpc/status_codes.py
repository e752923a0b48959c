"""Owns how a refusal looks on the wire: the gRPC code of each reason, and the details beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from statehouse_proto.v2 import common_pb2

from statehouse.core.errors import Failure, LeaderHint, LimitExceeded, Reason
from statehouse.core.model import Conflict, Expectation, Precondition
from statehouse.rpc import convert_marks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DETAILS_KEY = "statehouse-error-bin"

# A gRPC client may drop a call whose headers exceed 8 KiB. Text costs up to three times its bytes
# there, details a third more; conflicts beyond the bound are left out, the first is always told.
_DETAILS_BYTES_MAX = 3584
_TEXT_BYTES_MAX = 512

_Code = grpc.StatusCode

CODES: Mapping[Reason, grpc.StatusCode] = {
    Reason.INVALID_ARGUMENT: _Code.INVALID_ARGUMENT,
    Reason.TOO_LARGE: _Code.INVALID_ARGUMENT,
    Reason.NOT_LEADER: _Code.FAILED_PRECONDITION,
    Reason.NO_LEADER: _Code.UNAVAILABLE,
    Reason.CONFLICT: _Code.ABORTED,
    Reason.OP_ID_REUSED: _Code.INVALID_ARGUMENT,
    Reason.OP_ID_EXPIRED: _Code.FAILED_PRECONDITION,
    Reason.OUTCOME_UNKNOWN: _Code.UNAVAILABLE,
    Reason.OVERLOADED: _Code.RESOURCE_EXHAUSTED,
    Reason.FUTURE_POINT: _Code.OUT_OF_RANGE,
    Reason.STORAGE_FULL: _Code.RESOURCE_EXHAUSTED,
    Reason.SHUTTING_DOWN: _Code.UNAVAILABLE,
    Reason.REMOVED: _Code.FAILED_PRECONDITION,
    Reason.MEMBERSHIP_BUSY: _Code.FAILED_PRECONDITION,
    Reason.MEMBERSHIP_REFUSED: _Code.FAILED_PRECONDITION,
    Reason.TRANSACTION_NOT_FOUND: _Code.NOT_FOUND,
    Reason.TRANSACTION_EXPIRED: _Code.DEADLINE_EXCEEDED,
    Reason.TRANSACTION_FINISHED: _Code.FAILED_PRECONDITION,
    Reason.DEADLINE_EXCEEDED: _Code.DEADLINE_EXCEEDED,
    Reason.INTERNAL: _Code.INTERNAL,
    Reason.NOT_READY: _Code.UNAVAILABLE,
    Reason.LABEL_NOT_FOUND: _Code.NOT_FOUND,
    Reason.AGENT_NOT_FOUND: _Code.NOT_FOUND,
    Reason.AGENT_EXISTS: _Code.ALREADY_EXISTS,
    Reason.BEFORE_BEGINNING: _Code.OUT_OF_RANGE,
}
"""Each reason's gRPC code; never UNKNOWN."""


def text_of(failure: Failure) -> str:
    """The message as it may stand in a header: bounded, whatever names it quotes."""
    # A lone surrogate cannot be sent; it got here by being quoted.
    text = failure.message.encode("utf-8", "replace")
    if len(text) > _TEXT_BYTES_MAX:
        text = text[: _TEXT_BYTES_MAX - 3] + b"..."
    return text.decode("utf-8", "ignore")


def details_of(failure: Failure) -> bytes:
    """Serialized statehouse.v2.ErrorDetails, the value of `DETAILS_KEY`."""
    return details_message(failure).SerializeToString()


def details_message(failure: Failure) -> common_pb2.ErrorDetails:
    """What is told of a failure beside its code."""
    details = common_pb2.ErrorDetails(message=text_of(failure))
    details.reason = common_pb2.Reason.ValueType(failure.reason)
    if failure.leader is not None:
        hint = failure.leader
        details.leader.CopyFrom(
            common_pb2.LeaderHint(name=hint.name, address=hint.address, term=hint.term)
        )
    if failure.limit is not None:
        limit = failure.limit
        details.limit.CopyFrom(
            common_pb2.LimitExceeded(name=limit.name, maximum=limit.maximum, actual=limit.actual)
        )
    _tell_conflicts(details, failure.conflicts)
    return details


def _tell_conflicts(details: common_pb2.ErrorDetails, conflicts: Iterable[object]) -> None:
    size = details.ByteSize()
    for conflict in conflicts:
        if not isinstance(conflict, Conflict):
            continue
        told = _conflict_to_wire(conflict)
        size += told.ByteSize() + 4
        if size > _DETAILS_BYTES_MAX and details.conflicts:
            break
        details.conflicts.append(told)


def _conflict_to_wire(conflict: Conflict) -> common_pb2.Conflict:
    wanted = conflict.precondition
    agent_id, key = convert_marks.names_to_wire(wanted.agent_id, wanted.key)
    told = common_pb2.Conflict(
        namespace=wanted.namespace,
        agent_id=agent_id,
        key=key,
        actual_version=conflict.actual_version,
        actual_commit_ts=conflict.actual_commit_ts,
        actual_exists=conflict.actual_exists,
    )
    if wanted.expectation == Expectation.VERSION:
        told.version = wanted.number
    elif wanted.expectation == Expectation.ABSENT:
        told.absent = True
    else:
        told.unchanged_since = wanted.number
    return told


def failure_from_wire(code: grpc.StatusCode, text: str, details: bytes | None) -> Failure | None:
    """The refusal another node sent; None when it carries no details of ours."""
    if details is None:
        return None
    try:
        told = common_pb2.ErrorDetails.FromString(details)
        reason = Reason(told.reason)
    except Exception:  # whatever protobuf raises for garbage: then it is not ours
        return None
    leader = told.leader if told.HasField("leader") else None
    limit = told.limit if told.HasField("limit") else None
    return Failure(
        reason,
        told.message or text or code.name,
        leader=None if leader is None else LeaderHint(leader.name, leader.address, leader.term),
        limit=None if limit is None else LimitExceeded(limit.name, limit.maximum, limit.actual),
        conflicts=tuple(_conflict_from_wire(conflict) for conflict in told.conflicts),
    )


def _conflict_from_wire(told: common_pb2.Conflict) -> Conflict:
    expected = told.WhichOneof("expected")
    if expected == "version":
        expectation, number = Expectation.VERSION, told.version
    elif expected == "unchanged_since":
        expectation, number = Expectation.UNCHANGED_SINCE, told.unchanged_since
    else:
        expectation, number = Expectation.ABSENT, 0
    return Conflict(
        Precondition(told.namespace, told.agent_id, told.key, expectation, number),
        told.actual_version,
        told.actual_commit_ts,
        told.actual_exists,
    )
