"""Owns how the bench uses Redis: redis-py, a connection for each call under way, hiredis to parse.

A commit is one MULTI: the event goes to the end of the agent's list, the value into its hash. A
list knows no state of the past, so there is no as-of get.
"""

from __future__ import annotations

from typing import ClassVar, Self

import redis
import redis.asyncio

from tests.bench.clients.interface import AGENT, CONNECTIONS_MAX, HISTORY_AGENT, history_key
from tests.bench.work import COMMIT, GET, MIXED, REPLAY, THREADS

EVENTS_AT_A_TIME = 1000


class Client:
    """See interface.Client."""

    kinds: ClassVar[frozenset[str]] = frozenset((COMMIT, GET, MIXED, REPLAY))

    def __init__(self, address: str) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            address, max_connections=CONNECTIONS_MAX, timeout=None
        )
        self._client = redis.asyncio.Redis(connection_pool=pool)
        self._pool = pool

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()
        await self._pool.disconnect()

    async def commit(self, key: str, value: bytes) -> None:
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.rpush(f"events:{AGENT}", _event(key, value))
            pipe.hset(f"state:{AGENT}", key, value)
            await pipe.execute()

    async def get(self, key: str) -> bytes:
        return await self._client.hget(f"state:{AGENT}", key)

    async def now(self) -> None:
        return None

    async def get_at(self, key: str, point: None) -> bytes:
        raise NotImplementedError("a list of events knows no state of the past")

    async def add_history(self, numbers: range, value: bytes) -> None:
        events = [_event(history_key(number), value) for number in numbers]
        await self._client.rpush(f"events:{HISTORY_AGENT}", *events)

    async def replay(self, events: int) -> int:
        read_bytes = 0
        for start in range(0, events, EVENTS_AT_A_TIME):
            end = start + EVENTS_AT_A_TIME - 1
            for event in await self._client.lrange(f"events:{HISTORY_AGENT}", start, end):
                _, _, value = event.partition(b"\n")
                read_bytes += len(value)
        return read_bytes


def _event(key: str, value: bytes) -> bytes:
    return key.encode() + b"\n" + value


class BlockingClient:
    """See interface.BlockingClient."""

    def __init__(self, address: str) -> None:
        self._client = redis.Redis.from_url(address, max_connections=THREADS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def commit(self, key: str, value: bytes) -> None:
        with self._client.pipeline(transaction=True) as pipe:
            pipe.rpush(f"events:{AGENT}", _event(key, value))
            pipe.hset(f"state:{AGENT}", key, value)
            pipe.execute()
