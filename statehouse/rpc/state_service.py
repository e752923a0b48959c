"""Owns statehouse.v2.StateService: each method from request to response, over the node's Protocol.

Thin: convert, judge, ask the node, convert. Reads hold one pinned view; whatever is streamed comes
from it, and every answer tells the commit_ts it speaks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_proto.v2 import state_pb2

from statehouse.core import validation
from statehouse.core.model import Submission
from statehouse.rpc import chunks, convert, point_reads, points
from statehouse.rpc.point_reads import is_stale
from statehouse.rpc.replay import replay

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from statehouse.core.model import AgentRow, Record
    from statehouse.rpc.backend import Backend, View


class StateService:
    """The native service for state; also the local side of the v1 gateway."""

    def __init__(self, backend: Backend, now_us: points.NowUs) -> None:
        self._backend = backend
        self._now_us = now_us

    async def commit(self, request: state_pb2.CommitRequest) -> state_pb2.CommitResponse:
        return convert.committed_to_wire(await self._backend.commit(submission(request)))

    async def get(self, request: state_pb2.GetRequest) -> state_pb2.GetResponse:
        point_reads.check_get(request)
        view = await self._backend.view(stale=is_stale(request.consistency))
        try:
            return point_reads.get(view, request, self._now_us)
        finally:
            view.close()

    async def get_many(self, request: state_pb2.GetManyRequest) -> state_pb2.GetManyResponse:
        point_reads.check_get_many(request)
        view = await self._backend.view(stale=is_stale(request.consistency))
        try:
            return point_reads.get_many(view, request, self._now_us)
        finally:
            view.close()

    async def list_keys(
        self, request: state_pb2.ListKeysRequest
    ) -> AsyncGenerator[state_pb2.ListKeysResponse, None]:
        validation.check_scope(request.namespace, request.agent_id, request.prefix)
        view = await self._backend.view(stale=is_stale(request.consistency))
        try:
            at, served_at = self._at(request, view)
            rows = view.keys(request.namespace, request.agent_id, request.prefix, at)
            async for keys in chunks.pages(rows, len):
                yield state_pb2.ListKeysResponse(keys=keys, served_at=served_at)
        finally:
            view.close()

    async def scan(
        self, request: state_pb2.ScanRequest
    ) -> AsyncGenerator[state_pb2.ScanResponse, None]:
        validation.check_scope(request.namespace, request.agent_id, request.prefix)
        view = await self._backend.view(stale=is_stale(request.consistency))
        try:
            at, served_at = self._at(request, view)
            rows = view.scan(request.namespace, request.agent_id, request.prefix, at)
            async for records in chunks.pages(rows, _record_bytes):
                told = [convert.record_to_wire(record.key, record) for record in records]
                yield state_pb2.ScanResponse(records=told, served_at=served_at)
        finally:
            view.close()

    def _at(
        self, request: state_pb2.ListKeysRequest | state_pb2.ScanRequest, view: View
    ) -> tuple[int | None, int]:
        """The asked commit_ts, None for the view's own, and the one the answer speaks for."""
        if not request.HasField("at"):
            return None, view.commit_ts
        asked = points.Asked(request.namespace, request.agent_id)
        at = points.state_at(request.at, view, self._now_us, asked)
        return at, at

    async def list_agents(
        self, request: state_pb2.ListAgentsRequest
    ) -> AsyncGenerator[state_pb2.ListAgentsResponse, None]:
        validation.check_namespace(request.namespace)
        view = await self._backend.view(stale=is_stale(request.consistency))
        try:
            async for rows in chunks.pages(view.agents(request.namespace), _agent_bytes):
                agents = [
                    state_pb2.Agent(agent_id=row.agent_id, first_commit_ts=row.first_commit_ts)
                    for row in rows
                ]
                yield state_pb2.ListAgentsResponse(agents=agents, served_at=view.commit_ts)
        finally:
            view.close()

    async def list_namespaces(
        self, request: state_pb2.ListNamespacesRequest
    ) -> AsyncGenerator[state_pb2.ListNamespacesResponse, None]:
        view = await self._backend.view(stale=is_stale(request.consistency))
        try:
            async for names in chunks.pages(view.namespaces(), len):
                yield state_pb2.ListNamespacesResponse(namespaces=names, served_at=view.commit_ts)
        finally:
            view.close()

    def replay(self, request: state_pb2.ReplayRequest) -> AsyncGenerator[bytes, None]:
        """ReplayResponses, as bytes."""
        return replay(self._backend, request, stale=is_stale(request.consistency))


def submission(request: state_pb2.CommitRequest) -> Submission:
    """What is proposed for a commit; refuses what may not enter the log."""
    transaction, marked = convert.transaction_from_wire(request)
    encoded, op_id = validation.check_transaction(transaction, marked), request.op_id
    return Submission(op_id.born_at, op_id.acknowledged_through, encoded)


def _record_bytes(record: Record) -> int:
    return len(record.key) + len(record.value)


def _agent_bytes(row: AgentRow) -> int:
    return len(row.agent_id)
