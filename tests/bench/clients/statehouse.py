"""Owns how the bench uses Statehouse: one AsyncStatehouse for tasks, one Statehouse for threads.

A commit is a transaction with one write: event, record, receipt. Reads are linearizable.
"""

from __future__ import annotations

from typing import ClassVar, Self

from statehouse import AsyncStatehouse, Statehouse
from tests.bench.clients.interface import AGENT, HISTORY_AGENT, history_key
from tests.bench.work import KINDS


class Client:
    """See interface.Client. The address names all nodes."""

    kinds: ClassVar[frozenset[str]] = frozenset(KINDS)

    def __init__(self, address: str) -> None:
        self._client = AsyncStatehouse(address)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()

    async def commit(self, key: str, value: bytes) -> None:
        tx = self._client.begin_transaction()
        tx.write(AGENT, key, value)
        await tx.commit()

    async def get(self, key: str) -> bytes:
        return (await self._client.get_state(AGENT, key)).value

    async def now(self) -> int:
        return (await self._client.get_state(AGENT, "no such key")).served_at

    async def get_at(self, key: str, point: int) -> bytes:
        return (await self._client.get_state(AGENT, key, at=point)).value

    async def add_history(self, numbers: range, value: bytes) -> None:
        for number in numbers:
            tx = self._client.begin_transaction()
            tx.write(HISTORY_AGENT, history_key(number), value)
            await tx.commit()

    async def replay(self, events: int) -> int:
        read_bytes = 0
        async for event in self._client.replay(HISTORY_AGENT, limit=events):
            for operation in event.operations:
                read_bytes += len(operation.value)
        return read_bytes


FailoverClient = Client
"""Every client of Statehouse finds the new leader and repeats the commit under the same op id."""


class BlockingClient:
    """See interface.BlockingClient."""

    def __init__(self, address: str) -> None:
        self._client = Statehouse(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def commit(self, key: str, value: bytes) -> None:
        tx = self._client.begin_transaction()
        tx.write(AGENT, key, value)
        tx.commit()
