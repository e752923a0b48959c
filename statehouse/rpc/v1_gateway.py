"""Owns statehouse.v1.StatehouseService: the public v1 protocol over the native one, on any node.

Transactions are staged in this node's memory (v1_staging.py); commits and reads go to whoever leads
(leader_route.py); values are translated by v1_values.py. It decides nothing about state itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from statehouse_proto.v1 import statehouse_pb2 as v1
from statehouse_proto.v2 import common_pb2, state_pb2

from statehouse import lifecycle
from statehouse.core import limits, validation
from statehouse.core.errors import Failure, LimitExceeded, Reason
from statehouse.core.model import Kind, Operation
from statehouse.rpc import v1_values
from statehouse.rpc.v1_op_ids import Identity
from statehouse.rpc.v1_staging import Staged, Staging

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from google.protobuf.message import Message
    from google.protobuf.struct_pb2 import Struct

    from statehouse.rpc.backend import Backend
    from statehouse.rpc.leader_route import LeaderRoute

DEFAULT_NAMESPACE = "default"
DEFAULT_TIMEOUT_MS = 30_000

SWEEP_INTERVAL_S = 1.0
"""How often the owner calls `sweep`."""

_MESSAGE_OVERHEAD_BYTES = 64 * 1024

_Sent = TypeVar("_Sent", bound="Message")


class V1Gateway:
    """The v1 service. `monotonic_s` is any clock of seconds; `random_id` gives 16 random bytes."""

    def __init__(
        self,
        backend: Backend,
        route: LeaderRoute,
        version: tuple[str, str],
        *,
        monotonic_s: Callable[[], float],
        random_id: Callable[[], bytes],
    ) -> None:
        self._backend = backend
        self._route = route
        self._version = version
        self._monotonic_s = monotonic_s
        self._random_id = random_id
        self._identity: Identity | None = None
        self._staging = Staging(_release)

    def sweep(self) -> None:
        """Forgets transactions whose time is over."""
        self._staging.sweep(self._monotonic_s())

    async def health(self, request: v1.HealthRequest) -> v1.HealthResponse:
        status = self._backend.status()
        if not lifecycle.can_answer(status.phase, leader_known=self._backend.leader() is not None):
            raise Failure(
                Reason.NOT_READY,
                f"node {status.name} is {status.phase.value} and knows no leader; try again",
            )
        return v1.HealthResponse(status="ok")

    async def version(self, request: v1.VersionRequest) -> v1.VersionResponse:
        version, git_sha = self._version
        return v1.VersionResponse(version=version, git_sha=git_sha)

    async def begin(self, request: v1.BeginTransactionRequest) -> v1.BeginTransactionResponse:
        timeout_ms = request.timeout_ms if request.HasField("timeout_ms") else DEFAULT_TIMEOUT_MS
        txn_id = self._staging.begin(timeout_ms, self._monotonic_s())
        return v1.BeginTransactionResponse(txn_id=txn_id)

    async def write(self, request: v1.WriteRequest) -> v1.WriteResponse:
        self._staging.find(request.txn_id, self._monotonic_s())
        self._stage(request, Kind.JSON, v1_values.json_of(request.value))
        return v1.WriteResponse()

    async def delete(self, request: v1.DeleteRequest) -> v1.DeleteResponse:
        self._staging.find(request.txn_id, self._monotonic_s())
        self._stage(request, Kind.TOMBSTONE, b"")
        return v1.DeleteResponse()

    def _stage(self, request: v1.WriteRequest | v1.DeleteRequest, kind: Kind, value: bytes) -> None:
        operation = Operation(
            request.namespace or DEFAULT_NAMESPACE,
            request.agent_id,
            request.key,
            kind.value,
            value,
        )
        validation.check_operation(operation)
        self._staging.stage(request.txn_id, operation, self._monotonic_s())

    async def commit(self, request: v1.CommitRequest) -> v1.CommitResponse:
        known = self._staging.commit_ts_of(request.txn_id)
        if known is not None:
            return v1.CommitResponse(commit_ts=known)
        staged = self._staging.find(request.txn_id, self._monotonic_s())
        if staged.op_id is None:
            identity = self._identity or await self._new_identity()
            # While this one waited, a second Commit of the same transaction may have taken it.
            staged = self._staging.find(request.txn_id, self._monotonic_s())
            staged.op_id = staged.op_id or identity.take()
        answer = await self._commit(staged)
        self._staging.committed(staged, answer.commit_ts)
        _release(staged)
        return v1.CommitResponse(commit_ts=answer.commit_ts)

    async def _commit(self, staged: Staged) -> state_pb2.CommitResponse:
        unknown_before = staged.outcome_unknown
        try:
            return await self._attempt(staged)
        except Failure as failure:
            if failure.reason is not Reason.OP_ID_EXPIRED:
                raise
            if unknown_before:
                raise Failure(
                    Reason.OUTCOME_UNKNOWN,
                    "an earlier attempt had no answer and its receipt is gone; it may or may not "
                    "be committed: read the keys it wrote",
                ) from None
        # The cluster let this node's identity go; under this op id nothing was ever committed.
        _release(staged)
        staged.op_id = (await self._new_identity()).take()
        return await self._attempt(staged)

    async def _attempt(self, staged: Staged) -> state_pb2.CommitResponse:
        unknown_before, staged.outcome_unknown = staged.outcome_unknown, True
        try:
            return await self._route.commit(_commit_request(staged))
        except Failure as failure:
            if failure.reason is not Reason.OUTCOME_UNKNOWN:
                staged.outcome_unknown = unknown_before
            raise

    async def _new_identity(self) -> Identity:
        born_at = await self._route.reached()
        self._identity = Identity(self._random_id(), born_at)
        return self._identity

    async def abort(self, request: v1.AbortRequest) -> v1.AbortResponse:
        self._staging.abort(request.txn_id)
        return v1.AbortResponse()

    async def get_state(self, request: v1.GetStateRequest) -> v1.GetStateResponse:
        return v1.GetStateResponse(**await self._get(request, 0))

    async def get_state_at_version(
        self, request: v1.GetStateAtVersionRequest
    ) -> v1.GetStateAtVersionResponse:
        if request.version == 0:  # there is none, and the native service takes 0 for "the latest"
            return v1.GetStateAtVersionResponse()
        return v1.GetStateAtVersionResponse(**await self._get(request, request.version))

    async def _get(
        self, request: v1.GetStateRequest | v1.GetStateAtVersionRequest, version: int
    ) -> dict[str, Any]:
        answer = await self._route.get(
            state_pb2.GetRequest(
                namespace=request.namespace or DEFAULT_NAMESPACE,
                agent_id=request.agent_id,
                key=request.key,
                version=version,
            )
        )
        record = answer.record
        return {
            "value": _struct(record.value, record.key) if record.exists else None,
            "version": record.version,
            "commit_ts": record.commit_ts,
            "exists": record.exists,
        }

    async def list_keys(self, request: v1.ListKeysRequest) -> v1.ListKeysResponse:
        keys = await self._route.keys(
            state_pb2.ListKeysRequest(
                namespace=request.namespace or DEFAULT_NAMESPACE, agent_id=request.agent_id
            )
        )
        return _fitting(v1.ListKeysResponse(keys=keys))

    async def scan_prefix(self, request: v1.ScanPrefixRequest) -> v1.ScanPrefixResponse:
        records = await self._route.records(
            state_pb2.ScanRequest(
                namespace=request.namespace or DEFAULT_NAMESPACE,
                agent_id=request.agent_id,
                prefix=request.prefix,
            )
        )
        entries = [
            v1.StateEntry(
                key=record.key,
                value=_struct(record.value, record.key),
                version=record.version,
                commit_ts=record.commit_ts,
            )
            for record in records
        ]
        return _fitting(v1.ScanPrefixResponse(entries=entries))

    async def replay(self, request: v1.ReplayRequest) -> AsyncGenerator[v1.ReplayEvent, None]:
        namespace = request.namespace or DEFAULT_NAMESPACE
        validation.check_scope(namespace, request.agent_id, "")
        ask = state_pb2.ReplayRequest(namespace=namespace, agent_id=request.agent_id)
        if request.HasField("start_ts"):
            ask.start.commit_ts = request.start_ts
        if request.HasField("end_ts"):
            ask.end.commit_ts = request.end_ts
        async for event in self._route.events(ask):
            told = _event(event)
            if told.operations:
                yield _fitting(told)


def _release(staged: Staged) -> None:
    if staged.op_id is not None:
        staged.op_id.release()


def _commit_request(staged: Staged) -> state_pb2.CommitRequest:
    if staged.op_id is None:
        raise ValueError("a transaction is sent without an op id")
    identity = staged.op_id.identity
    return state_pb2.CommitRequest(
        op_id=state_pb2.OpId(
            client_id=identity.client_id,
            sequence=staged.op_id.sequence,
            acknowledged_through=identity.acknowledged_through(),
            born_at=identity.born_at,
        ),
        operations=[_operation(operation) for operation in staged.operations],
        txn_id=staged.txn_id,
    )


def _operation(operation: Operation) -> state_pb2.Operation:
    write = operation.kind == Kind.JSON
    return state_pb2.Operation(
        namespace=operation.namespace,
        agent_id=operation.agent_id,
        key=operation.key,
        value=common_pb2.Value(json=operation.value) if write else None,
    )


def _struct(value: common_pb2.Value, key: str) -> Struct:
    if value.WhichOneof("kind") == "raw":
        return v1_values.struct_of(Kind.BYTES, value.raw, key)
    return v1_values.struct_of(Kind.JSON, value.json, key)


def _event(event: state_pb2.Event) -> v1.ReplayEvent:
    """The event as v1 can tell it: that protocol has no word for marks."""
    return v1.ReplayEvent(
        txn_id=event.txn_id,
        commit_ts=event.commit_ts,
        operations=[
            v1.Operation(
                key=operation.key,
                value=_struct(operation.value, operation.key)
                if operation.HasField("value")
                else None,
                version=operation.version,
            )
            for operation in event.operations
            if not operation.HasField("mark")
        ],
    )


def _fitting(message: _Sent) -> _Sent:
    """The v1 protocol has no pages: what exceeds one message can only be refused."""
    most = limits.MESSAGE_BYTES_MAX - _MESSAGE_OVERHEAD_BYTES
    if message.ByteSize() > most:
        raise Failure(
            Reason.TOO_LARGE,
            f"the answer exceeds {most} bytes and the v1 protocol has no pages; "
            "ask for a narrower prefix, or use statehouse.v2",
            limit=LimitExceeded("message_bytes_max", limits.MESSAGE_BYTES_MAX, message.ByteSize()),
        )
    return message
