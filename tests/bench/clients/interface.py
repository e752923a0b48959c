"""Owns what the bench asks of every system's client, in words that none of them owns.

Every client stores raw bytes under the keys of one agent, so that no system's encoding of values is
measured. What a system has no means for is not among its `kinds` and is left out of the figures.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, Self

AGENT = "bench"
HISTORY_AGENT = "history"
HISTORY_KEYS = 100
CONNECTIONS_MAX = 64
"""Of a client that needs one for each call under way; callers beyond them wait. PostgreSQL takes
100 unless told otherwise, and more than these only contend on a small machine."""


def history_key(number: int) -> str:
    """The key of the event of this number in the history that is replayed."""
    return f"step/{number % HISTORY_KEYS:03}"


class Client(Protocol):
    """One client process's connection to one system, for asyncio."""

    kinds: ClassVar[frozenset[str]]

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def commit(self, key: str, value: bytes) -> None:
        """Stores the value and, where the system has a history, the event; returns when durable."""

    async def get(self, key: str) -> bytes:
        """The value now: no older than any that was acknowledged before the call."""

    async def now(self) -> Any:
        """The present point in the system's own history."""

    async def get_at(self, key: str, point: Any) -> bytes:
        """The value as it was at the point."""

    async def add_history(self, numbers: range, value: bytes) -> None:
        """Adds the events of these numbers to the history, however it is quick; not measured."""

    async def replay(self, events: int) -> int:
        """Reads all events of the history, each with its value; returns the bytes of the values."""


class BlockingClient(Protocol):
    """The same for threads, which share it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def commit(self, key: str, value: bytes) -> None:
        """As Client.commit."""


class FailoverClient(Protocol):
    """A client that knows all nodes of a replicated system and comes over the loss of one."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def commit(self, key: str, value: bytes) -> None:
        """As Client.commit, repeated until it is acknowledged."""
