"""Owns the gathering of reads: all that arrive in one turn of the event loop share one barrier.

Only reads that are here before the barrier is asked for may use it: it proves nothing about writes
that were acknowledged before a later read arrived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from statehouse_cluster.interfaces import Outcome


class Batch:
    """Reads that wait for one barrier; the ticket by which consensus answers."""

    def __init__(self) -> None:
        self.readers: list[asyncio.Future[None]] = []

    def settle(self, outcome: Outcome) -> None:
        """Lets every reader go on, or fail."""
        for reader in self.readers:
            if reader.done():
                continue
            if outcome.error is None:
                reader.set_result(None)
            else:
                reader.set_exception(outcome.error)


class Barriers:
    """Asks consensus for barriers; the event loop's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ask: Callable[[Batch], None]) -> None:
        self._loop = loop
        self._ask = ask
        self._gathering: Batch | None = None

    async def passed(self) -> None:
        """Returns after a barrier asked for after this call; raises what consensus refuses with."""
        if self._gathering is None:
            self._gathering = Batch()
            self._loop.call_soon(self._send)
        reader: asyncio.Future[None] = self._loop.create_future()
        self._gathering.readers.append(reader)
        await reader

    def _send(self) -> None:
        batch, self._gathering = self._gathering, None
        if batch is not None:
            self._ask(batch)
