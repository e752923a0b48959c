"""Owns the gRPC server: its limits, which method answers which call, its start and its stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from statehouse_proto.services import (
    CLUSTER_SERVICE,
    HISTORY_SERVICE,
    STATE_SERVICE,
    V1_SERVICE,
    methods,
)

from statehouse.core import limits
from statehouse.core.errors import Reason
from statehouse.logs import Log
from statehouse.rpc.channels import Channels
from statehouse.rpc.cluster_service import ClusterService
from statehouse.rpc.comparison import Comparison
from statehouse.rpc.exchange import Exchange
from statehouse.rpc.handlers import Unary, named, streaming, unary
from statehouse.rpc.health import Health
from statehouse.rpc.history_service import HistoryService
from statehouse.rpc.leader_route import LeaderRoute
from statehouse.rpc.pacing import Pace
from statehouse.rpc.state_service import StateService
from statehouse.rpc.v1_gateway import SWEEP_INTERVAL_S, V1Gateway

if TYPE_CHECKING:
    from statehouse.rpc.backend import Backend

_log = Log("rpc")

HEALTH_SERVICE = "grpc.health.v1.Health"
SERVICES = (STATE_SERVICE, HISTORY_SERVICE, CLUSTER_SERVICE, V1_SERVICE)

_OPTIONS = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", limits.CONNECTION_STREAMS_MAX),
    ("grpc.max_metadata_size", limits.CALL_METADATA_BYTES_MAX),
    # Two daemons on one port must be told apart from one: the second start is refused.
    ("grpc.so_reuseport", 0),
    # A peer that is silent for so long is asked; without an answer its calls end.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients may ask as often as the SDK does, also when no call is under way.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class BindError(Exception):
    """The address cannot be listened on; the text says why."""


class RpcServer:
    """One gRPC server for all services; made inside a running event loop."""

    def __init__(self) -> None:
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=limits.CALLS_MAX)
        self._channels = Channels()
        self._tasks: list[asyncio.Task[None]] = []

    def bind(self, host: str, port: int) -> int:
        """Takes the port, a free one for 0, and returns it; calls wait until `start`."""
        _check_free(host, port)
        shown = f"[{host}]" if ":" in host else host
        try:
            return self._server.add_insecure_port(f"{shown}:{port}")
        except RuntimeError as error:
            raise BindError(f"cannot listen on {shown}:{port}: {error}") from None

    async def start(
        self, backend: Backend, version: str, git_sha: str, *, compare_interval_s: float = 0
    ) -> None:
        """Registers every service over `backend` and begins to answer.

        compare_interval_s: seconds between comparisons with the other members; 0: none.
        """
        state = StateService(backend, _now_us)
        self._exchange = Exchange(backend, _now_us)
        pace = Pace(backend.has_commits_under_way, time.monotonic)
        gateway = V1Gateway(
            backend,
            LeaderRoute(backend, state, self._channels),
            (version, git_sha),
            monotonic_s=time.monotonic,
            random_id=lambda: os.urandom(16),
        )
        health = Health(backend)
        await health.refresh()
        history = HistoryService(backend, _now_us)
        self._server.add_generic_rpc_handlers(
            (
                _service(STATE_SERVICE, pace.over(state_handlers(state, self._exchange))),
                _service(HISTORY_SERVICE, pace.over(history_handlers(history))),
                _service(CLUSTER_SERVICE, cluster_handlers(backend, version, git_sha)),
                _service(V1_SERVICE, pace.over(v1_handlers(gateway))),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(health.servicer, self._server)
        reflection.enable_server_reflection(
            (*SERVICES, HEALTH_SERVICE, reflection.SERVICE_NAME), self._server
        )
        await self._server.start()
        self._tasks = [
            asyncio.create_task(_guarded("health", health.keep())),
            asyncio.create_task(_guarded("sweep", _sweep(gateway))),
        ]
        if compare_interval_s:
            comparison = Comparison(backend, self._channels, compare_interval_s)
            self._tasks.append(asyncio.create_task(_guarded("comparison", comparison.keep())))
        self._health = health

    async def tell_health(self) -> None:
        """Makes health speak of this moment, before calls end at a stop."""
        await self._health.refresh()

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls, lets those under way end for `grace_s`, then cuts them."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._exchange.end()
        await self._server.stop(grace_s)
        await self._channels.close()


Handlers = dict[str, "grpc.RpcMethodHandler[Any, Any]"]


def state_handlers(state: StateService, exchange: Exchange) -> Handlers:
    """statehouse.v2.StateService; a commit that runs out of time may still be committed."""
    method = methods(STATE_SERVICE)
    return {
        "Commit": unary(method["Commit"], state.commit, late=Reason.OUTCOME_UNKNOWN),
        "Get": unary(method["Get"], state.get),
        "GetMany": unary(method["GetMany"], state.get_many),
        "Exchange": exchange.handler(),
        "ListKeys": streaming(method["ListKeys"], state.list_keys),
        "Scan": streaming(method["Scan"], state.scan),
        "ListAgents": streaming(method["ListAgents"], state.list_agents),
        "ListNamespaces": streaming(method["ListNamespaces"], state.list_namespaces),
        "Replay": streaming(method["Replay"], state.replay),
    }


def history_handlers(history: HistoryService) -> Handlers:
    """statehouse.v2.HistoryService; it only reads."""
    method = methods(HISTORY_SERVICE)
    return {
        "Resolve": unary(method["Resolve"], history.resolve),
        "Versions": streaming(method["Versions"], history.versions),
        "Blame": streaming(method["Blame"], history.blame),
        "Explain": streaming(method["Explain"], history.explain),
        "Diff": streaming(method["Diff"], history.diff),
        "ListLabels": streaming(method["ListLabels"], history.list_labels),
        "Lineage": unary(method["Lineage"], history.lineage),
        "GetCursor": unary(method["GetCursor"], history.get_cursor),
        "ListCursors": streaming(method["ListCursors"], history.list_cursors),
        "Verify": streaming(method["Verify"], history.verify),
    }


def cluster_handlers(backend: Backend, version: str, git_sha: str) -> Handlers:
    """statehouse.v2.ClusterService; a change that runs out of time may still be made."""
    cluster = ClusterService(backend, version, git_sha)
    method = methods(CLUSTER_SERVICE)
    unknown = Reason.OUTCOME_UNKNOWN
    return {
        "Status": unary(method["Status"], cluster.status),
        "AddMember": streaming(method["AddMember"], cluster.add_member, late=unknown),
        "RemoveMember": unary(method["RemoveMember"], cluster.remove_member, late=unknown),
        "TransferLeadership": unary(
            method["TransferLeadership"], cluster.transfer_leadership, late=unknown
        ),
    }


def v1_handlers(gateway: V1Gateway) -> Handlers:
    """statehouse.v1.StatehouseService; its refusals begin "<Method> failed: "."""
    method = methods(V1_SERVICE)
    answers: dict[str, Unary] = {
        "Health": gateway.health,
        "Version": gateway.version,
        "BeginTransaction": gateway.begin,
        "Write": gateway.write,
        "Delete": gateway.delete,
        "Commit": gateway.commit,
        "Abort": gateway.abort,
        "GetState": gateway.get_state,
        "GetStateAtVersion": gateway.get_state_at_version,
        "ListKeys": gateway.list_keys,
        "ScanPrefix": gateway.scan_prefix,
    }
    handlers: Handlers = {
        name: named(name, method[name], answer) for name, answer in answers.items()
    }
    handlers["Replay"] = streaming(method["Replay"], gateway.replay, prefix="Replay failed: ")
    return handlers


def _service(name: str, handlers: Handlers) -> grpc.GenericRpcHandler[Any, Any]:
    missing = methods(name).keys() - handlers.keys()
    if missing:
        raise ValueError(f"{name} has no handler for {sorted(missing)}")
    return grpc.method_handlers_generic_handler(name, handlers)


def _check_free(host: str, port: int) -> None:
    """Says in words what gRPC would only write to its own log."""
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BindError(f"cannot find the address of {host}: {error.strerror}") from None
    family, kind, protocol, _, address = info[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise BindError(f"cannot listen on {host}:{port}: {error.strerror}") from None


async def _sweep(gateway: V1Gateway) -> None:
    while True:
        await asyncio.sleep(SWEEP_INTERVAL_S)
        gateway.sweep()


async def _guarded(what: str, work: Any) -> None:
    try:
        await work
    except Exception as fault:
        # The server still answers; a health that no longer moves must not go unnoticed.
        _log.error("Background work ended by a fault", cause=fault, work=what)


def _now_us() -> int:
    return time.time_ns() // 1000
