"""Owns the channels of a client used by tasks: one a node; takes the steps of links.py, awaiting.

It never retries (session.py drives that). gRPC tells a task whose call was cancelled by closing the
client the same as one that was cancelled itself; here they are told apart. Belongs to one event
loop.

gRPC's thread for asyncio does not come over a fork: in a child that inherited its state every call
would wait for ever. So channels are counted, and such a child is refused in words.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc

from statehouse_sdk.async_exchange import AsyncExchange
from statehouse_sdk.errors import StatehouseError
from statehouse_sdk.forks import gate
from statehouse_sdk.links import CONNECT_TIMEOUT_S, OPTIONS, Invoke, Link, Links
from statehouse_sdk.plans import carry_out_awaiting

if TYPE_CHECKING:
    from statehouse_proto.services import Method


_channels: Final[weakref.WeakSet[Any]] = weakref.WeakSet()

_inherited = False
"""Whether this process was forked from one in which there were channels."""


_END: Final = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
"""What a stream gives after its last message."""


class AsyncLink(Link):
    """A link that tasks share."""

    def __init__(self, transport: AsyncTransport, address: str) -> None:
        if _inherited:
            raise StatehouseError(
                "this process was forked while asyncio clients were in use, which gRPC does not"
                " survive; start processes by spawn, fork before the first call, or use Statehouse"
            )
        gate.check()
        super().__init__(address, grpc.aio.insecure_channel(address, options=OPTIONS))
        _channels.add(self.channel)
        self._transport = transport
        self._exchange: AsyncExchange | None = None

    def exchange(self) -> AsyncExchange:
        """The stream that is open; a new one when there is none."""
        if self._exchange is None or self._exchange.ended:
            self._exchange = AsyncExchange(self.channel)
        return self._exchange

    async def invoke(self, step: Invoke) -> Any:
        """The answer to a call by itself."""
        try:
            return await self.callable_of(step.method)(step.request, timeout=step.timeout_s)
        except asyncio.CancelledError:
            raise self._transport.cancelled() from None

    async def close(self) -> None:
        """Calls under way fail."""
        if self._exchange is not None:
            await self._exchange.close()
        await self.channel.close()


class AsyncStream:
    """One attempt of a streamed call."""

    def __init__(
        self,
        transport: AsyncTransport,
        link: AsyncLink,
        call: Any,
        quiet_s: float | None,
        sure: bool,
    ) -> None:
        self._transport = transport
        self._link = link
        self._call = call
        self._quiet_s = quiet_s
        self._sure = sure

    async def read(self) -> Any:
        """The next message, None at the end; CallFailed, also when the node is quiet for long."""
        transport, link = self._transport, self._link
        try:
            async with asyncio.timeout(self._quiet_s):
                message = await self._call.read()
        except asyncio.CancelledError:
            raise transport.cancelled() from None
        except TimeoutError:
            error = grpc.RpcError()
            raise transport.stream_failure(link, error, broken_off=True, sure=self._sure) from None
        except grpc.RpcError as error:
            raise transport.stream_failure(link, error, broken_off=False, sure=self._sure) from None
        if message is _END:
            return None
        link.stands = True
        return message

    def close(self) -> None:
        """Lets the stream go."""
        self._call.cancel()


class AsyncTransport(Links[AsyncLink]):
    """All channels of one client on one event loop."""

    client = "AsyncStatehouse"

    def __init__(self) -> None:
        super().__init__(partial(AsyncLink, self))

    async def stream(
        self,
        address: str,
        method: Method,
        request: Any,
        quiet_s: float | None,
        *,
        sure: bool,
        anew: bool = False,
    ) -> AsyncStream:
        """One attempt of a streamed call; broken off when the node is quiet for `quiet_s`."""
        link = self.link(address)
        try:
            if sure and (anew or not link.stands):
                await carry_out_awaiting(self.connect(link, CONNECT_TIMEOUT_S), link.invoke)
            call = link.callable_of(method)(request)
        except grpc.aio.UsageError as error:
            raise self.closed_while_used(error) from None
        return AsyncStream(self, link, call, quiet_s, sure)

    async def close(self) -> None:
        """Closes every channel; calls under way fail, later ones are refused."""
        for link in self.take_all():
            await link.close()

    def cancelled(self) -> BaseException:
        """What a cancellation means that came out of gRPC: the task's own, or the client's end."""
        task = asyncio.current_task()
        if self._closed and task is not None and not task.cancelling():
            return self.client_closed()
        return asyncio.CancelledError()


def _forked() -> None:
    global _inherited
    _inherited = _inherited or len(_channels) > 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
