"""Owns the way from the messages of the service for history to what users hold. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_sdk import convert
from statehouse_sdk.diffing import Diff, KeyChange
from statehouse_sdk.history_models import (
    Cursor,
    ExplainedCommit,
    Explanation,
    FieldBlame,
    ForkPoint,
    Head,
    KeyBlame,
    KeyVersion,
    Label,
    Lineage,
    Read,
    Verification,
)
from statehouse_sdk.models import datetime_of_us

if TYPE_CHECKING:
    from statehouse_proto.v2 import history_pb2 as history
    from statehouse_proto.v2 import state_pb2 as state

    from statehouse_sdk.models import StateResult


def head_of(response: history.ResolveResponse) -> Head:
    """A resolved point."""
    committed_at = datetime_of_us(response.committed_at_us) if response.commit_ts else None
    return Head(response.commit_ts, response.chain_hash, committed_at)


def version_of(message: history.VersionedRecord) -> KeyVersion:
    """One version of a key."""
    record = message.record
    return KeyVersion(
        value=convert.value_of(record.value) if record.exists else None,
        version=record.version,
        commit_ts=record.commit_ts,
        committed_at=datetime_of_us(record.committed_at_us),
        exists=record.exists,
        txn_id=message.txn_id,
        metadata=convert.metadata_of(message.metadata),
        agent_id=message.agent_id,
        key=record.key,
    )


def key_blame_of(message: history.KeyBlame) -> KeyBlame:
    """Who set a key, and its fields."""
    last = version_of(message.last)
    fields = {field.field: _field_blame_of(field) for field in message.fields}
    return KeyBlame(last.key, last, fields)


def _field_blame_of(message: history.FieldBlame) -> FieldBlame:
    return FieldBlame(
        field=message.field,
        version=message.version,
        commit_ts=message.commit_ts,
        committed_at=datetime_of_us(message.committed_at_us),
        txn_id=message.txn_id,
        metadata=convert.metadata_of(message.metadata),
        agent_id=message.agent_id,
    )


def explanation_of(
    request: history.ExplainRequest, responses: list[history.ExplainResponse]
) -> Explanation:
    """An explanation from its messages, in which the nearest commits come first."""
    told = [explained_of(commit) for response in responses for commit in response.commits]
    return Explanation(
        namespace=request.namespace,
        agent_id=request.agent_id,
        key=request.key,
        root=told[0] if told else None,
        commits={commit.commit_ts: commit for commit in told},
        truncated=any(response.truncated for response in responses),
        served_at=responses[-1].served_at if responses else 0,
    )


def explained_of(message: history.ExplainedCommit) -> ExplainedCommit:
    """One commit of an explanation; what it does not tell of values is None."""
    event = message.event
    return ExplainedCommit(
        commit_ts=event.commit_ts,
        committed_at=datetime_of_us(event.committed_at_us),
        txn_id=event.txn_id,
        metadata=convert.metadata_of(event.metadata),
        operations=tuple(
            convert.operation_of(operation, withheld=_is_withheld(operation))
            for operation in event.operations
        ),
        reads=tuple(
            Read(read.namespace, read.agent_id, read.key, read.version, read.commit_ts)
            for read in message.reads
        ),
        distance=message.distance,
    )


def _is_withheld(operation: state.EventOperation) -> bool:
    # No JSON text is empty.
    return operation.value.WhichOneof("kind") == "json" and not operation.value.json


def diff_of(request: history.DiffRequest, responses: list[history.DiffResponse]) -> Diff:
    """A diff from its messages."""
    return Diff(
        namespace=request.namespace,
        agent_id=request.agent_id,
        other=request.other_agent_id or request.agent_id,
        a=responses[0].a if responses else 0,
        b=responses[0].b if responses else 0,
        keys=tuple(
            KeyChange(key.key, _side(key.a, response.a), _side(key.b, response.b))
            for response in responses
            for key in response.keys
        ),
    )


def _side(record: state.Record, at: int) -> StateResult | None:
    return convert.result_of(record, at) if record.exists else None


def label_of(message: history.Label) -> Label:
    """A label."""
    return Label(
        name=message.name,
        commit_ts=message.commit_ts,
        version=message.version,
        set_at=message.set_at,
        set_at_time=datetime_of_us(message.set_at_us),
    )


def lineage_of(agent_id: str, response: history.LineageResponse) -> Lineage:
    """Where an agent comes from, and its forks."""
    return Lineage(
        agent_id,
        tuple(_fork_point_of(fork) for fork in response.ancestry),
        tuple(_fork_point_of(fork) for fork in response.forks),
    )


def _fork_point_of(message: history.ForkPoint) -> ForkPoint:
    return ForkPoint(message.agent_id, message.parent_id, message.commit_ts, message.forked_at)


def cursor_of(message: history.Cursor) -> Cursor:
    """A cursor, which may not exist: then its version tells whether it ever did."""
    return Cursor(
        name=message.name,
        position=message.through,
        agent_id=message.agent_id,
        prefix=message.prefix,
        version=message.version,
        set_at=message.set_at,
    )


def verification_of(response: history.VerifyResponse, address: str) -> Verification:
    """How far the node at that address is with its check."""
    return Verification(
        address=address,
        events=response.events,
        through=response.through,
        chain_hash=response.chain_hash,
        bad_commit_ts=response.bad_commit_ts or None,
        fault=response.fault,
        finished=response.finished,
    )
