"""A node with its real store and its real gRPC server in this process, over a lone consensus.

`serving` gives a `ServedNode`: calls by service and method name, the node, and the consensus to
script. Everything happens on one event loop; `run` bounds it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from statehouse_cluster.settings import ClusterSettings
from statehouse_proto.services import (
    CLUSTER_SERVICE,
    HISTORY_SERVICE,
    STATE_SERVICE,
    V1_SERVICE,
    methods,
)
from statehouse_proto.v2 import common_pb2

from statehouse.disk import DiskReserve
from statehouse.files import NodeFiles
from statehouse.node import Node
from statehouse.rpc.server import RpcServer
from statehouse.rpc.status_codes import DETAILS_KEY
from tests.helpers.lone_consensus import LoneConsensus

SERVICES = {
    "v1": V1_SERVICE,
    "state": STATE_SERVICE,
    "history": HISTORY_SERVICE,
    "cluster": CLUSTER_SERVICE,
}
CLIENT = b"client-of-a-test"


def run(scenario, *arguments):
    """Runs one scenario to its end, within a minute."""

    async def bounded():
        async with asyncio.timeout(60):
            await scenario(*arguments)

    asyncio.run(bounded())


class Refusal(Exception):
    """A call that failed: its code, its text, and its details or None."""

    def __init__(self, error):
        super().__init__(f"{error.code()} {error.details()}")
        self.code = error.code()
        self.text = error.details()
        told = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
        self.details = None if told is None else common_pb2.ErrorDetails.FromString(told)

    @property
    def reason(self):
        return None if self.details is None else common_pb2.Reason.Name(self.details.reason)


class ServedNode:
    """One node and a client of it."""

    def __init__(self, node, server, consensus, port, disk):
        self.node = node
        self.server = server
        self.consensus = consensus
        self.disk = disk
        self.address = f"127.0.0.1:{port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self._sequence = 0

    async def call(self, service, name, /, timeout=20, **fields):
        """The response of a unary call, the list of messages of a streamed one."""
        method = methods(SERVICES[service])[name]
        return await self.send(service, name, method.request(**fields).SerializeToString(), timeout)

    async def send(self, service, name, payload, timeout=20):
        """As `call`, with the request's bytes."""
        method = methods(SERVICES[service])[name]
        try:
            if method.server_streaming:
                stream = self.channel.unary_stream(method.path)
                replies = [reply async for reply in stream(payload, timeout=timeout)]
                return [method.response.FromString(reply) for reply in replies]
            reply = await self.channel.unary_unary(method.path)(payload, timeout=timeout)
            return method.response.FromString(reply)
        except grpc.aio.AioRpcError as error:
            raise Refusal(error) from None

    def stream(self, service, name, /, **fields):
        """A streamed call to read from."""
        method = methods(SERVICES[service])[name]
        start = self.channel.unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return start(method.request(**fields))

    async def refused(self, service, name, /, **fields):
        """The refusal of a call that must fail."""
        try:
            answer = await self.call(service, name, **fields)
        except Refusal as refusal:
            return refusal
        raise AssertionError(f"{name} was answered with {answer}")

    async def commit(self, *operations, sequence=None, **fields):
        """Commits through the native service.

        Each operation is agent, key, JSON text or None; or a mark, as the functions below give it.
        """
        if sequence is None:
            self._sequence += 1
            sequence = self._sequence
        return await self.call(
            "state",
            "Commit",
            op_id={"client_id": CLIENT, "sequence": sequence},
            operations=[
                told if isinstance(told, dict) else operation(*told) for told in operations
            ],
            **fields,
        )


def operation(agent_id, key, text, namespace="ns"):
    """An operation of the wire: JSON text, bytes, or None for a delete."""
    told = {"namespace": namespace, "agent_id": agent_id, "key": key}
    if isinstance(text, bytes):
        told["value"] = {"raw": text}
    elif text is not None:
        told["value"] = {"json": text.encode()}
    return told


def label(agent_id, name, commit_ts, **mark):
    """An operation that gives a point of the agent a name; 0: that takes the name away."""
    return _mark(agent_id, {"label": {"name": name, "commit_ts": commit_ts}, **mark})


def fork(agent_id, parent_id, commit_ts):
    """An operation by which an agent begins as another was."""
    return _mark(agent_id, {"fork": {"parent_id": parent_id, "commit_ts": commit_ts}})


def cursor(name, through=0, *, if_version=None, **cursor):
    """An operation that remembers how far a named reader has come."""
    mark = {"cursor": {"name": name, "through": through, **cursor}}
    if if_version is not None:
        mark |= {"if_version": if_version, "if_version_given": True}
    return _mark("", mark)


def _mark(agent_id, mark):
    return {"namespace": "ns", "agent_id": agent_id, "mark": mark}


class SomeDisk(DiskReserve):
    """A disk whose free room a test sets."""

    def __init__(self):
        super().__init__(Path(), time.monotonic)
        self.room = True

    def has_room(self):
        return self.room


@asynccontextmanager
async def serving(directory):
    """A node that leads a cluster of one."""
    files = NodeFiles(directory / "data", "n1", now_us=lambda: time.time_ns() // 1000)
    server = RpcServer()
    port = server.bind("127.0.0.1", 0)
    disk = SomeDisk()
    settings = ClusterSettings(
        name="n1", directory=files.directory, client_address=f"127.0.0.1:{port}"
    )
    faults = []
    node = Node(settings, files.store, disk, consensus=LoneConsensus, on_fatal=faults.append)
    served = ServedNode(node, server, LoneConsensus.last, port, disk)
    await server.start(node, "1.2.3", "abc")
    node.start()
    while not node.leads():
        await asyncio.sleep(0)
    try:
        yield served
    finally:
        await served.channel.close()
        await server.stop(0)
        files.close()
    assert not faults


async def end_of(stream):
    """The error that ends a streamed call, after whatever it still tells."""
    while True:
        await stream.read()
