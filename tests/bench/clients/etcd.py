"""Owns how the bench uses etcd: its gRPC API, one channel to the leader, reads linearizable.

The leader is the node that answers soonest, so this is etcd at its best. A commit is one put, a
point is a number of etcd's own history, and a replay is a watch from its beginning: all keys have
one prefix for each agent, and nothing is compacted.
"""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import Any, ClassVar, Self

import grpc
import grpc.aio

from tests.bench.clients import etcd_wire as wire
from tests.bench.clients.interface import AGENT, HISTORY_AGENT, history_key
from tests.bench.work import KINDS

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
TRY_TIMEOUT_S = 0.25
"""What a put may take before it is taken for lost with the leader; etcd's own clients wait longer,
which would count against it."""

PAUSE_S = 0.02


def _key(agent: str, key: str) -> bytes:
    return f"{agent}/{key}".encode()


class Client:
    """See interface.Client."""

    kinds: ClassVar[frozenset[str]] = frozenset(KINDS)

    def __init__(self, address: str) -> None:
        limits = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
        self._channel = grpc.aio.insecure_channel(address, limits)
        self._put = wire.unary(self._channel, wire.PUT, wire.PutRequest, wire.PutResponse)
        self._range = wire.unary(self._channel, wire.RANGE, wire.RangeRequest, wire.RangeResponse)
        self._watch = self._channel.stream_stream(
            wire.WATCH,
            request_serializer=wire.WatchRequest.SerializeToString,
            response_deserializer=wire.WatchResponse.FromString,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._channel.close()

    async def commit(self, key: str, value: bytes) -> None:
        await self._put(wire.PutRequest(key=_key(AGENT, key), value=value))

    async def get(self, key: str) -> bytes:
        answer = await self._range(wire.RangeRequest(key=_key(AGENT, key)))
        return answer.kvs[0].value

    async def now(self) -> int:
        answer = await self._range(wire.RangeRequest(key=b"no such key"))
        return answer.header.revision

    async def get_at(self, key: str, point: int) -> bytes:
        answer = await self._range(wire.RangeRequest(key=_key(AGENT, key), revision=point))
        return answer.kvs[0].value

    async def add_history(self, numbers: range, value: bytes) -> None:
        for number in numbers:
            key = _key(HISTORY_AGENT, history_key(number))
            await self._put(wire.PutRequest(key=key, value=value))

    async def replay(self, events: int) -> int:
        seen = read_bytes = 0
        call = self._watch()
        await call.write(wire.WatchRequest(create_request=_from_the_beginning(HISTORY_AGENT)))
        async for message in call:
            if message.canceled:
                raise RuntimeError("etcd ended the watch: its history does not reach back so far")
            for event in message.events:
                read_bytes += len(event.kv.value)
            seen += len(message.events)
            if seen >= events:
                break
        call.cancel()
        return read_bytes


def _from_the_beginning(agent: str) -> Any:
    # A range that ends at the prefix with its last byte raised: all keys of that prefix.
    prefix = _key(agent, "")
    end = prefix[:-1] + bytes([prefix[-1] + 1])
    return wire.WatchCreateRequest(key=prefix, range_end=end, start_revision=1)


class FailoverClient:
    """See interface.FailoverClient: a node after the other, as etcd's own clients do.

    A put that is repeated writes the same value once more, which is all this measure needs.
    """

    def __init__(self, addresses: str) -> None:
        self._channels = [grpc.aio.insecure_channel(one) for one in addresses.split(",")]
        self._puts = cycle(
            wire.unary(channel, wire.PUT, wire.PutRequest, wire.PutResponse)
            for channel in self._channels
        )
        self._put = next(self._puts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        for channel in self._channels:
            await channel.close()

    async def commit(self, key: str, value: bytes) -> None:
        request = wire.PutRequest(key=_key(AGENT, key), value=value)
        while True:
            put = self._put
            try:
                await put(request, timeout=TRY_TIMEOUT_S)
            except grpc.aio.AioRpcError:
                # Another caller may have gone on already.
                if put is self._put:
                    self._put = next(self._puts)
                await asyncio.sleep(PAUSE_S)
            else:
                return


class BlockingClient:
    """See interface.BlockingClient."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._put = wire.unary(self._channel, wire.PUT, wire.PutRequest, wire.PutResponse)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._channel.close()

    def commit(self, key: str, value: bytes) -> None:
        self._put(wire.PutRequest(key=_key(AGENT, key), value=value))
