"""Owns the translation between statehouse.v2 messages and the core's words. Pure.

What it returns has the right shape only; core/validation.py judges sizes, names and numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_proto.v2 import cluster_pb2, state_pb2

from statehouse.core import marks
from statehouse.core.errors import Failure, Reason
from statehouse.core.model import (
    Committed,
    Event,
    EventOperation,
    Expectation,
    Kind,
    Metadata,
    Operation,
    Precondition,
    Record,
    Transaction,
)
from statehouse.rpc import convert_marks

if TYPE_CHECKING:
    from statehouse.node_status import AddStep, MemberFacts, NodeStatus


_NO_METADATA = Metadata()
_NONE_MARKED: frozenset[int] = frozenset()
_TOMBSTONE, _JSON, _BYTES = Kind.TOMBSTONE.value, Kind.JSON.value, Kind.BYTES.value
_OPERATION_OVERHEAD_BYTES = 16


def transaction_from_wire(
    request: state_pb2.CommitRequest,
) -> tuple[Transaction, frozenset[int]]:
    """The transaction a client asks to commit, and which of its operations are marks."""
    # Each look into a message costs a tenth of a microsecond, at the price of every commit. To walk
    # over its messages costs more than to count them, for it ends by an exception.
    op_id, asked, operated = request.op_id, request.preconditions, request.operations
    client_id, sequence = op_id.client_id, op_id.sequence
    operations, marked = [], []
    for index in range(len(operated)):
        operation, is_mark = _operation(index, operated[index])
        operations.append(operation)
        if is_mark:
            marked.append(index)
    preconditions = (
        [_precondition(index, told) for index, told in enumerate(asked)] if asked else []
    )
    for index in marked:
        wanted = _wanted_of_mark(index, operated[index], operations[index])
        if wanted is not None:
            preconditions.append(wanted)
    transaction = Transaction(
        client_id,
        sequence,
        request.txn_id or f"{client_id.hex()}-{sequence}",
        tuple(operations),
        tuple(preconditions),
        _metadata(request.metadata) if request.HasField("metadata") else _NO_METADATA,
    )
    return transaction, frozenset(marked) if marked else _NONE_MARKED


def _operation(index: int, told: state_pb2.Operation) -> tuple[Operation, bool]:
    """The operation, and whether it was asked for as a mark."""
    value, is_mark = told.value, told.HasField("mark")
    which = value.WhichOneof("kind")
    if which == "json":
        return Operation(told.namespace, told.agent_id, told.key, _JSON, value.json), is_mark
    if which == "raw":
        return Operation(told.namespace, told.agent_id, told.key, _BYTES, value.raw), is_mark
    if is_mark:
        return convert_marks.operation_from_wire(f"operations[{index}]", told), True
    if not told.HasField("value"):
        return Operation(told.namespace, told.agent_id, told.key, _TOMBSTONE, b""), False
    raise Failure(
        Reason.INVALID_ARGUMENT,
        f"operations[{index}].value holds neither json nor raw; for a delete leave value out",
    )


def _wanted_of_mark(
    index: int, told: state_pb2.Operation, operation: Operation
) -> Precondition | None:
    """The version that a mark is to have before, if one was given."""
    if told.HasField("value"):
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"operations[{index}] has a value and a mark; they are two operations",
        )
    return convert_marks.precondition_from_wire(f"operations[{index}]", told.mark, operation)


def _precondition(index: int, told: state_pb2.Precondition) -> Precondition:
    which = told.WhichOneof("expected")
    if which == "version":
        expectation, number = Expectation.VERSION, told.version
    elif which == "unchanged_since":
        expectation, number = Expectation.UNCHANGED_SINCE, told.unchanged_since
    elif which == "absent" and told.absent:
        expectation, number = Expectation.ABSENT, 0
    else:
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"preconditions[{index}] expects nothing; "
            "set version, absent (to true) or unchanged_since",
        )
    if marks.is_mark(told.agent_id, told.key):
        # One that a mark beside it asks for would pass the check of names.
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"preconditions[{index}] names a key with a control character; leave it out",
        )
    return Precondition(told.namespace, told.agent_id, told.key, expectation.value, number)


def _metadata(told: state_pb2.Metadata) -> Metadata:
    return Metadata(
        actor=told.actor,
        reason=told.reason,
        run_id=told.run_id,
        tool_call_id=told.tool_call_id,
        caused_by=tuple(told.caused_by),
        extra=tuple(sorted(told.extra.items())),
    )


def committed_to_wire(answer: Committed) -> state_pb2.CommitResponse:
    response = state_pb2.CommitResponse()
    write_committed(response, answer)
    return response


def write_committed(response: state_pb2.CommitResponse, answer: Committed) -> None:
    """Fills a response that lies in its message already, so that none has to be copied."""
    response.commit_ts = answer.commit_ts
    response.committed_at_us = answer.committed_at_us
    response.versions.extend(answer.versions)


def record_to_wire(key: str, record: Record | None) -> state_pb2.Record:
    """A record as a message of its own."""
    told = state_pb2.Record()
    fill_record(told, key, record)
    return told


def fill_record(told: state_pb2.Record, key: str, record: Record | None) -> None:
    """Fills an empty message in its place, so that none has to be copied.

    A key never written (None) has version 0; a tombstone has a version and no value.
    """
    if record is None:
        told.key = key
        return
    told.key = record.key
    told.version = record.version
    told.commit_ts = record.commit_ts
    told.committed_at_us = record.committed_at_us
    kind = record.kind
    if kind == _TOMBSTONE:
        return
    told.exists = True
    if kind == _JSON:
        told.value.json = record.value
    elif kind == _BYTES:
        told.value.raw = record.value


def fill_event(told: state_pb2.Event, event: Event) -> None:
    """Fills an empty message with an event; filled in place, it costs a third of being made."""
    told.commit_ts = event.commit_ts
    told.committed_at_us = event.committed_at_us
    told.txn_id = event.txn_id
    told.hash = event.hash
    for operation in event.operations:
        fill_event_operation(told.operations.add(), operation)
    if event.metadata != _NO_METADATA:
        fill_metadata(told.metadata, event.metadata)
    if event.canonical:
        told.previous_hash, told.body = event.previous_hash, event.canonical


def fill_event_operation(told: state_pb2.EventOperation, operation: EventOperation) -> None:
    """Fills an empty message with an operation, or with the mark it is."""
    told.namespace = operation.namespace
    told.version = operation.version
    if marks.is_mark(operation.agent_id, operation.key):
        convert_marks.fill_event_operation(told, operation)
        return
    told.agent_id = operation.agent_id
    told.key = operation.key
    if operation.kind == _JSON:
        told.value.json = operation.value
    elif operation.kind == _BYTES:
        told.value.raw = operation.value


def event_size_bytes(event: Event) -> int:
    """About what an event takes in a message."""
    size_bytes = metadata_bytes(event.metadata) + len(event.txn_id) + len(event.canonical)
    for told, value in zip(event.told, event.values, strict=True):
        size_bytes += len(value) + len(told.key) + _OPERATION_OVERHEAD_BYTES
        size_bytes += len(told.namespace) + len(told.agent_id)
    return size_bytes


def metadata_bytes(metadata: Metadata) -> int:
    """About what metadata takes in a message."""
    if metadata == _NO_METADATA:
        return 0
    texts = (metadata.actor, metadata.reason, metadata.run_id, metadata.tool_call_id)
    extra = sum([len(name) + len(text) for name, text in metadata.extra])
    return sum([len(text) for text in texts]) + extra + 8 * len(metadata.caused_by)


def fill_metadata(told: state_pb2.Metadata, metadata: Metadata) -> None:
    """Fills an empty message; what is empty costs nothing."""
    if metadata.actor:
        told.actor = metadata.actor
    if metadata.reason:
        told.reason = metadata.reason
    if metadata.run_id:
        told.run_id = metadata.run_id
    if metadata.tool_call_id:
        told.tool_call_id = metadata.tool_call_id
    if metadata.caused_by:
        told.caused_by.extend(metadata.caused_by)
    if metadata.extra:
        told.extra.update(dict(metadata.extra))


def metadata_to_wire(metadata: Metadata) -> state_pb2.Metadata | None:
    """None for metadata that says nothing."""
    if metadata == _NO_METADATA:
        return None
    told = state_pb2.Metadata()
    fill_metadata(told, metadata)
    return told


_ROLES = {
    "leader": cluster_pb2.ROLE_LEADER,
    "follower": cluster_pb2.ROLE_FOLLOWER,
    "candidate": cluster_pb2.ROLE_CANDIDATE,
    "joiner": cluster_pb2.ROLE_JOINER,
    "removed": cluster_pb2.ROLE_REMOVED,
}

_PHASES = {
    "snapshot": cluster_pb2.AddMemberResponse.PHASE_SNAPSHOT,
    "catching up": cluster_pb2.AddMemberResponse.PHASE_CATCHING_UP,
    "voting": cluster_pb2.AddMemberResponse.PHASE_VOTING,
}


def status_to_wire(status: NodeStatus, version: str, git_sha: str) -> cluster_pb2.StatusResponse:
    return cluster_pb2.StatusResponse(
        name=status.name,
        node_uuid=status.node_uuid,
        cluster_id=status.cluster_id,
        role=_ROLES[status.role],
        lifecycle=status.phase.value,
        term=status.term,
        leader_name="" if status.leader is None else status.leader.name,
        leader_address="" if status.leader is None else status.leader.address,
        members=[member_to_wire(member) for member in status.members],
        log_first_index=status.log_first_index,
        log_last_index=status.log_last_index,
        commit_index=status.commit_index,
        applied_index=status.applied_index,
        commit_ts=status.commit_ts,
        committed_at_us=status.committed_at_us,
        chain_head=status.chain_head,
        version=version,
        git_sha=git_sha,
    )


def member_to_wire(member: MemberFacts) -> cluster_pb2.Member:
    return cluster_pb2.Member(
        name=member.name,
        node_uuid=member.node_uuid,
        peer_address=member.peer_address,
        client_address=member.client_address,
        voter=member.voter,
        connected=member.connected,
        match_index=member.match_index,
    )


def add_step_to_wire(step: AddStep) -> cluster_pb2.AddMemberResponse:
    return cluster_pb2.AddMemberResponse(
        phase=_PHASES[step.phase],
        bytes_sent=step.bytes_sent,
        bytes_total=step.bytes_total,
        entries_behind=step.entries_behind,
        member=member_to_wire(step.member),
    )
