"""Owns the one table from what fails on the wire to what it means: reason or gRPC code -> `Fault`.

A node's own answer carries `ErrorDetails` in the trailing metadata and goes by its reason; anything
else (no connection, a proxy, gRPC itself) goes by its code. No grpc.RpcError gets past this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from statehouse_proto.v2 import common_pb2 as common

from statehouse_sdk import errors
from statehouse_sdk.retry import Certainty, Fault

DETAILS_KEY: Final = "statehouse-error-bin"
"""Name of the trailing metadata that carries a serialized ErrorDetails."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one reason or code means to the caller."""

    error: type[errors.StatehouseError]
    retry: bool
    certainty: Certainty


_NO = Certainty.NONE
_ATTEMPT = Certainty.ATTEMPT
_OPERATION = Certainty.OPERATION

REASONS: Final[dict[int, Meaning]] = {
    common.REASON_INVALID_ARGUMENT: Meaning(errors.InvalidRequestError, False, _ATTEMPT),
    common.REASON_TOO_LARGE: Meaning(errors.TooLargeError, False, _ATTEMPT),
    common.REASON_NOT_LEADER: Meaning(errors.NoLeaderError, True, _ATTEMPT),
    common.REASON_NO_LEADER: Meaning(errors.NoLeaderError, True, _ATTEMPT),
    # A conflict leaves a receipt, so that no late duplicate of the op id can commit after it.
    common.REASON_CONFLICT: Meaning(errors.ConflictError, False, _OPERATION),
    common.REASON_OP_ID_REUSED: Meaning(errors.ProtocolError, False, _ATTEMPT),
    common.REASON_OP_ID_EXPIRED: Meaning(errors.OutcomeUnknownError, False, _ATTEMPT),
    common.REASON_OUTCOME_UNKNOWN: Meaning(errors.OutcomeUnknownError, True, _NO),
    common.REASON_OVERLOADED: Meaning(errors.OverloadedError, True, _ATTEMPT),
    common.REASON_STORAGE_FULL: Meaning(errors.StorageFullError, False, _ATTEMPT),
    # A node that stops, or was removed, may have proposed the transaction before.
    common.REASON_SHUTTING_DOWN: Meaning(errors.UnavailableError, True, _NO),
    common.REASON_REMOVED: Meaning(errors.UnavailableError, True, _NO),
    common.REASON_MEMBERSHIP_BUSY: Meaning(errors.MembershipError, False, _ATTEMPT),
    common.REASON_MEMBERSHIP_REFUSED: Meaning(errors.MembershipError, False, _ATTEMPT),
    common.REASON_TRANSACTION_NOT_FOUND: Meaning(errors.NotFoundError, False, _ATTEMPT),
    common.REASON_TRANSACTION_EXPIRED: Meaning(errors.TransactionExpiredError, False, _ATTEMPT),
    common.REASON_TRANSACTION_FINISHED: Meaning(errors.TransactionFinishedError, False, _ATTEMPT),
    common.REASON_DEADLINE_EXCEEDED: Meaning(errors.DeadlineExceededError, True, _NO),
    common.REASON_INTERNAL: Meaning(errors.ServerError, False, _NO),
    common.REASON_NOT_READY: Meaning(errors.UnavailableError, True, _ATTEMPT),
    # Of a commit, these leave a receipt as a conflict does; of a read, nothing is in doubt.
    common.REASON_FUTURE_POINT: Meaning(errors.FuturePointError, False, _OPERATION),
    common.REASON_LABEL_NOT_FOUND: Meaning(errors.LabelNotFoundError, False, _OPERATION),
    common.REASON_AGENT_NOT_FOUND: Meaning(errors.AgentNotFoundError, False, _OPERATION),
    common.REASON_AGENT_EXISTS: Meaning(errors.AgentExistsError, False, _OPERATION),
    common.REASON_BEFORE_BEGINNING: Meaning(errors.BeforeBeginningError, False, _ATTEMPT),
}

CODES: Final[dict[grpc.StatusCode, Meaning]] = {
    grpc.StatusCode.OK: Meaning(errors.ProtocolError, False, _NO),
    grpc.StatusCode.CANCELLED: Meaning(errors.UnavailableError, True, _NO),
    grpc.StatusCode.UNKNOWN: Meaning(errors.ServerError, False, _NO),
    grpc.StatusCode.INVALID_ARGUMENT: Meaning(errors.InvalidRequestError, False, _ATTEMPT),
    grpc.StatusCode.DEADLINE_EXCEEDED: Meaning(errors.DeadlineExceededError, True, _NO),
    grpc.StatusCode.NOT_FOUND: Meaning(errors.NotFoundError, False, _ATTEMPT),
    grpc.StatusCode.ALREADY_EXISTS: Meaning(errors.ProtocolError, False, _NO),
    grpc.StatusCode.PERMISSION_DENIED: Meaning(errors.PermissionDeniedError, False, _ATTEMPT),
    grpc.StatusCode.UNAUTHENTICATED: Meaning(errors.PermissionDeniedError, False, _ATTEMPT),
    grpc.StatusCode.RESOURCE_EXHAUSTED: Meaning(errors.OverloadedError, True, _NO),
    grpc.StatusCode.FAILED_PRECONDITION: Meaning(errors.ProtocolError, False, _NO),
    grpc.StatusCode.ABORTED: Meaning(errors.UnavailableError, True, _NO),
    grpc.StatusCode.OUT_OF_RANGE: Meaning(errors.InvalidRequestError, False, _ATTEMPT),
    grpc.StatusCode.UNIMPLEMENTED: Meaning(errors.ProtocolError, False, _ATTEMPT),
    # gRPC itself says INTERNAL when a connection breaks in the middle of an answer.
    grpc.StatusCode.INTERNAL: Meaning(errors.ServerError, True, _NO),
    grpc.StatusCode.UNAVAILABLE: Meaning(errors.UnavailableError, True, _NO),
    grpc.StatusCode.DATA_LOSS: Meaning(errors.ServerError, False, _NO),
}

_CODES_BY_NUMBER: Final = {code.value[0]: code for code in CODES}

_TOLD = grpc.Call | grpc.aio.AioRpcError
"""What gRPC's errors are that tell how the call ended."""

_BROKEN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


class CallFailed(Exception):
    """One attempt failed; never leaves the SDK. `broken`: the connection cannot be trusted."""

    def __init__(self, fault: Fault, *, broken: bool = False) -> None:
        super().__init__(str(fault.error))
        self.fault = fault
        self.broken = broken


def not_connected(address: str) -> CallFailed:
    """No connection could be made in time, so nothing was sent."""
    error = errors.ConnectionError(
        f"no connection to {address}; is statehoused running there, and STATEHOUSE_URL right?"
    )
    return CallFailed(Fault(error, True, Certainty.ATTEMPT, reached=False), broken=True)


def stalled(address: str) -> CallFailed:
    """The node was connected and kept silent for too long."""
    error = errors.DeadlineExceededError(f"{address} did not answer in time")
    return CallFailed(Fault(error, True, Certainty.NONE, stalled=True))


def ended(address: str) -> CallFailed:
    """The node ended the stream on which the call was sent, as it does when it stops."""
    error = errors.UnavailableError(f"{address} ended the exchange")
    return CallFailed(Fault(error, True, Certainty.NONE), broken=True)


def refusal_of(details: common.ErrorDetails, code_number: int, address: str) -> CallFailed:
    """What a node's refusal of one call of an exchange means."""
    if details.reason in REASONS:
        return CallFailed(fault_of_details(details, address))
    code = _CODES_BY_NUMBER.get(code_number, grpc.StatusCode.UNKNOWN)
    return _failure_of_code(code, details.message, address)


def failure_of(error: grpc.RpcError, address: str) -> CallFailed:
    """What a failed call on this address means."""
    code = error.code() if isinstance(error, _TOLD) else grpc.StatusCode.UNKNOWN
    details = _details_of(error)
    if details is not None and details.reason in REASONS:
        return CallFailed(fault_of_details(details, address))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return stalled(address)
    return _failure_of_code(
        code, str(error.details() if isinstance(error, _TOLD) else error), address
    )


def _failure_of_code(code: grpc.StatusCode, details: str, address: str) -> CallFailed:
    meaning = CODES[code]
    # gRPC's own text is for people who debug gRPC; one line of it is enough here.
    text = " ".join(details.split())
    told = meaning.error(f"{address} answered {code.name}: {text:.200}")
    return CallFailed(Fault(told, meaning.retry, meaning.certainty), broken=code in _BROKEN)


def fault_of_details(details: common.ErrorDetails, address: str) -> Fault:
    """What a node's own refusal means; the reason must be one of REASONS."""
    meaning = REASONS[details.reason]
    return Fault(
        error=_error_of_details(meaning.error, details, address),
        retry=meaning.retry,
        certainty=meaning.certainty,
        leader_address=details.leader.address,
        leader_term=details.leader.term,
        op_id_expired=details.reason == common.REASON_OP_ID_EXPIRED,
    )


def _error_of_details(
    kind: type[errors.StatehouseError], details: common.ErrorDetails, address: str
) -> errors.StatehouseError:
    name = common.Reason.Name(details.reason).removeprefix("REASON_").lower().replace("_", " ")
    message = details.message or name
    if kind is errors.ConflictError:
        conflicts = tuple(_conflict(conflict) for conflict in details.conflicts)
        listed = "; ".join(str(conflict) for conflict in conflicts[:8])
        more = f"; and {len(conflicts) - 8} more" if len(conflicts) > 8 else ""
        return errors.ConflictError(
            f"nothing was committed, read again and retry: {listed or message}{more}", conflicts
        )
    if kind is errors.TooLargeError:
        limit = details.limit
        return errors.TooLargeError(message, limit.name, limit.maximum, limit.actual)
    if issubclass(kind, errors.UnavailableError | errors.ServerError):
        return kind(f"{address}: {message}")
    return kind(message)


def _conflict(conflict: common.Conflict) -> errors.Conflict:
    expected = conflict.WhichOneof("expected")
    return errors.Conflict(
        namespace=conflict.namespace,
        agent_id=conflict.agent_id,
        key=conflict.key,
        expected_version=conflict.version if expected == "version" else None,
        expected_absent=expected == "absent",
        unchanged_since=conflict.unchanged_since if expected == "unchanged_since" else None,
        actual_version=conflict.actual_version,
        actual_commit_ts=conflict.actual_commit_ts,
        actual_exists=conflict.actual_exists,
    )


def _details_of(error: Any) -> common.ErrorDetails | None:
    trailing: Any = error.trailing_metadata() if isinstance(error, _TOLD) else None
    for key, value in trailing or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return common.ErrorDetails.FromString(value)
            except DecodeError:
                return None
    return None
