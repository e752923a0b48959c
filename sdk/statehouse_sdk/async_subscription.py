"""Owns the subscription of the asyncio client: what waits is awaited, all else is `Reader`'s."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from statehouse_sdk.models import ReplayEvent
from statehouse_sdk.subscription import Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from statehouse_sdk.async_time_travel import AsyncTimeTravel


class AsyncSubscription(Reader):
    """A durable reader of events, made by ``await`` `AsyncStatehouse.subscribe`.

    Iterate over it with ``async for``, and ``await ack`` what is done: after a restart it goes on
    behind the last acknowledged. ``async with``, or ``await close()``, ends it; the cursor stays.
    """

    def __init__(
        self, client: AsyncTimeTravel, namespace: str, name: str, agent_id: str, prefix: str
    ) -> None:
        super().__init__(namespace, name, agent_id, prefix)
        self._client = client

    async def __aiter__(self) -> AsyncIterator[ReplayEvent]:
        """The events behind the position, as they are committed; without an end until `close`."""
        session = self._client._session_here()
        async with aclosing(session.iterate(self._following(session))) as following:
            async for told in following:
                if self.closed:
                    return
                if isinstance(told, ReplayEvent):
                    yield told

    async def ack(self, event: ReplayEvent | int) -> int:
        """Everything up to this event, or commit_ts, is done with; returns the position.

        What is acknowledged already stays so. Raises CursorMovedError when another reader of the
        same name has moved the cursor: this one is over.
        """
        session = self._client._session_here()
        return await session.run(self._acknowledging(session, event))

    async def close(self) -> None:
        """Ends the iteration, of another task within seconds; the cursor stays."""
        self.closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
