"""Owns the translation of what a view tells of history into statehouse.v2 messages. Pure.

Beside each message stands what its row takes of it in bytes, so that streams can be cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_proto.v2 import history_pb2

from statehouse.rpc import convert

if TYPE_CHECKING:
    from statehouse.core.model import (
        CursorRow,
        DiffRow,
        ExplainedCommit,
        FieldBlame,
        ForkRow,
        KeyBlame,
        LabelRow,
        ReadRow,
        Record,
        VerifyRow,
        VersionRow,
    )


def version_to_wire(row: VersionRow) -> history_pb2.VersionedRecord:
    return history_pb2.VersionedRecord(
        record=convert.record_to_wire(row.record.key, row.record),
        txn_id=row.txn_id,
        metadata=convert.metadata_to_wire(row.metadata),
        agent_id=row.agent_id,
    )


def version_bytes(row: VersionRow) -> int:
    names = len(row.txn_id) + len(row.agent_id)
    return _record_bytes(row.record) + names + convert.metadata_bytes(row.metadata)


def key_blame_to_wire(row: KeyBlame) -> history_pb2.KeyBlame:
    return history_pb2.KeyBlame(
        last=version_to_wire(row.last), fields=[_field_blame(field) for field in row.fields]
    )


def _field_blame(field: FieldBlame) -> history_pb2.FieldBlame:
    return history_pb2.FieldBlame(
        field=field.field,
        version=field.version,
        commit_ts=field.commit_ts,
        committed_at_us=field.committed_at_us,
        txn_id=field.txn_id,
        metadata=convert.metadata_to_wire(field.metadata),
        agent_id=field.agent_id,
    )


def key_blame_bytes(row: KeyBlame) -> int:
    fields = [
        len(field.field)
        + len(field.txn_id)
        + len(field.agent_id)
        + convert.metadata_bytes(field.metadata)
        for field in row.fields
    ]
    return version_bytes(row.last) + sum(fields)


def explained_to_wire(row: ExplainedCommit) -> history_pb2.ExplainedCommit:
    told = history_pb2.ExplainedCommit(
        reads=[_read(read) for read in row.reads], distance=row.distance
    )
    convert.fill_event(told.event, row.event)
    return told


def _read(read: ReadRow) -> history_pb2.Read:
    return history_pb2.Read(
        namespace=read.namespace,
        agent_id=read.agent_id,
        key=read.key,
        version=read.version,
        commit_ts=read.commit_ts,
    )


def explained_bytes(row: ExplainedCommit) -> int:
    reads = [len(read.namespace) + len(read.agent_id) + len(read.key) for read in row.reads]
    return convert.event_size_bytes(row.event) + sum(reads)


def diff_to_wire(row: DiffRow) -> history_pb2.KeyDiff:
    return history_pb2.KeyDiff(
        key=row.key,
        a=convert.record_to_wire(row.key, row.a),
        b=convert.record_to_wire(row.key, row.b),
    )


def diff_bytes(row: DiffRow) -> int:
    return len(row.key) + sum([_record_bytes(side) for side in (row.a, row.b) if side is not None])


def label_to_wire(row: LabelRow) -> history_pb2.Label:
    return history_pb2.Label(
        name=row.name,
        commit_ts=row.commit_ts,
        version=row.version,
        set_at=row.set_at,
        set_at_us=row.set_at_us,
    )


def fork_to_wire(row: ForkRow) -> history_pb2.ForkPoint:
    return history_pb2.ForkPoint(
        agent_id=row.agent_id,
        parent_id=row.parent_id,
        commit_ts=row.commit_ts,
        forked_at=row.forked_at,
    )


def cursor_to_wire(name: str, row: CursorRow | None) -> history_pb2.Cursor:
    """A cursor never set (None) has version 0; of a deleted one only the version is left."""
    if row is None:
        return history_pb2.Cursor(name=name)
    if not row.exists:
        return history_pb2.Cursor(name=name, version=row.version)
    return history_pb2.Cursor(
        name=name,
        through=row.through,
        agent_id=row.agent_id,
        prefix=row.prefix,
        set_at=row.set_at,
        version=row.version,
        exists=True,
    )


def verified_to_wire(row: VerifyRow) -> history_pb2.VerifyResponse:
    return history_pb2.VerifyResponse(
        events=row.events,
        through=row.through,
        chain_hash=row.chain_hash,
        bad_commit_ts=row.bad_commit_ts,
        fault=row.fault,
        finished=row.finished,
    )


def _record_bytes(record: Record) -> int:
    return len(record.key) + len(record.value)
