"""Owns the transaction of the asyncio client: what waits is awaited, all else is `Buffer`'s.

Like the transactions of threads it belongs to one task at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from statehouse_sdk.transaction import Buffer

if TYPE_CHECKING:
    from types import TracebackType

    from statehouse_sdk.async_client import AsyncStatehouse
    from statehouse_sdk.models import StateResult


class AsyncTransaction(Buffer):
    """Writes, deletes, reads and preconditions that commit together or not at all.

    Made by `AsyncStatehouse.begin_transaction`. ``async with`` commits at a clean end and aborts,
    without hiding it, on an exception. Afterwards `commit_ts` and `versions` tell what was
    committed. `write`, `delete`, `require` and `abort` send nothing, so they are not awaited.
    """

    def __init__(
        self,
        client: AsyncStatehouse,
        namespace: str,
        timeout_ms: int | None,
        metadata: bytes | None,
    ) -> None:
        super().__init__(namespace, timeout_ms, metadata)
        self._client = client

    async def get(self, agent_id: str, key: str, *, namespace: str | None = None) -> StateResult:
        """Reads a key: this transaction's own write, else what is committed.

        What is read from the cluster is checked at commit, and a second read of the key returns the
        first answer. An own write has version 0 and commit_ts 0, for it has none yet.
        """
        session = self._client._session_here()
        return await session.run(self._reading(session, agent_id, key, namespace))

    async def commit(self) -> int:
        """Commits, and returns the commit_ts.

        Raises ConflictError (nothing was written; begin anew), TransactionAbortedError (nothing was
        written; `cause` tells why, and after an UnavailableError the same object may be committed
        again), OutcomeUnknownError (commit the same object again to learn it). A task that is
        cancelled meanwhile leaves the outcome unknown as well.
        """
        session = self._client._session_here()
        straight = self._straight(session)
        if straight is not None:
            response = await session.go_straight(straight)
            if response is not None:
                return self._committed(response)
        return await session.run(self._committing(session, straight))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._left_by_error()
        elif self._may_go_on():
            await self.commit()
