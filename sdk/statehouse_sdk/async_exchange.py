"""Owns the stream on which the calls of many tasks travel to one node together.

What is asked in one turn of the event loop, or while a message is on its way, leaves with the next
message; a lone caller waits for nobody. Two tasks serve a stream, and one timer minds the deadlines
of all calls on it. What a failure means, and whether to try again, is not decided here.

Callers who are answered together ask together: left alone, all tasks of a client fall into step,
and it waits while its servers work, and they while it works. So many replies are handed out in
turns: what the first ask next is on its way while the others are still being answered.

Back-pressure is gRPC's: a node with enough to do reads no further, so writing waits, and what waits
here is bounded by the tasks that wait for it. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import grpc
from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk.exchange_calls import (
    FULL_BYTES,
    IDLE_S,
    METHOD,
    Closed,
    Lost,
    TooLargeToShare,
    encode,
)
from statehouse_sdk.limits import EXCHANGE_CALLS_MAX, MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS: Final = 2
"""The parts in which the replies to all calls under way would be handed out."""

TURN_COMMITS_MIN: Final = 64
TURN_READS_MIN: Final = 16
"""Fewer replies are one turn: each message costs the servers a round, and one of commits most."""

_LOCAL_ENDS: Final = (grpc.aio.BaseError, asyncio.InvalidStateError, asyncio.CancelledError)
"""What gRPC raises when a call is over on this side, besides RpcErrors."""


class AsyncExchange:
    """One stream, from the first call to its end."""

    def __init__(self, channel: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._ids = count(1)
        self._outgoing: deque[tuple[asyncio.Future[state.Reply], bytes]] = deque()
        self._callers: dict[int, tuple[asyncio.Future[state.Reply], float]] = {}
        self._news = asyncio.Event()
        self._used_s = self._loop.time()
        self._watched_until_s = self._used_s + IDLE_S
        self._watch = self._loop.call_at(self._watched_until_s, self._look)
        self.ended = False
        self._call = channel.stream_stream(METHOD.path)()
        self._writing = self._loop.create_task(self._write())
        self._reading = self._loop.create_task(self._read())

    def ask(self, kind: str, request: Any, timeout_s: float) -> asyncio.Future[state.Reply]:
        """The reply to one call of a kind of KINDS, to be awaited.

        Raises Closed, TooLargeToShare, Lost, or TimeoutError: then the reply, should it come, goes
        to nobody. So it does when the future is cancelled.
        """
        if self.ended:
            raise Closed
        call_id = next(self._ids)
        encoded = encode(call_id, kind, request)
        if len(encoded) > MESSAGE_BYTES_MAX:
            raise TooLargeToShare
        loop = self._loop
        answered: asyncio.Future[state.Reply] = loop.create_future()
        self._used_s = now_s = loop.time()
        deadline_s = now_s + timeout_s
        self._callers[call_id] = answered, deadline_s
        if not self._outgoing:
            self._news.set()
        self._outgoing.append((answered, encoded))
        if deadline_s < self._watched_until_s:
            self._watch_until(deadline_s)
        return answered

    async def close(self) -> None:
        """Ends the stream; calls under way are lost."""
        self._end(None)
        await asyncio.gather(self._writing, self._reading, return_exceptions=True)

    # -- Calls out

    async def _write(self) -> None:
        try:
            while True:
                while not self._outgoing:
                    if self.ended:
                        await self._call.done_writing()
                        return
                    self._news.clear()
                    await self._news.wait()
                message = self._next_message()
                if message:
                    await self._call.write(message)
        except (grpc.RpcError, *_LOCAL_ENDS):
            # The reader hears of it too, and tells.
            return

    def _next_message(self) -> bytes:
        """What waits, without the calls that were given up; empty when all were."""
        outgoing = self._outgoing
        parts: list[bytes] = []
        size_bytes = 0
        while outgoing and len(parts) < EXCHANGE_CALLS_MAX:
            answered, encoded = outgoing[0]
            if not answered.done():
                size_bytes += len(encoded)
                if parts and size_bytes > FULL_BYTES:
                    break
                parts.append(encoded)
            outgoing.popleft()
        return b"".join(parts)

    # -- Replies in

    async def _read(self) -> None:
        error: grpc.RpcError | None = None
        try:
            # Not read(), which has no more once a write has failed: replies would be lost that are
            # here already, and a stream with unread messages never ends for gRPC.
            async for message in self._call:
                await self._receive(message)
        except grpc.RpcError as ended:
            error = ended
        except _LOCAL_ENDS:
            pass
        finally:
            self._end(error)

    async def _receive(self, message: bytes) -> None:
        callers = self._callers
        replies = state.ExchangeResponse.FromString(message).replies
        least = TURN_COMMITS_MIN if replies and replies[0].HasField("commit") else TURN_READS_MIN
        turn = max(least, len(callers) // TURNS)
        for number, reply in enumerate(replies, 1):
            caller = callers.pop(reply.id, None)
            if caller is not None and not caller[0].done():
                caller[0].set_result(reply)
            if number % turn == 0:
                await asyncio.sleep(0)

    def _end(self, error: grpc.RpcError | None) -> None:
        self._close_to_new_calls()
        self._call.cancel()
        # gRPC lets a write wait for a connection for ever when the call is cancelled meanwhile.
        self._writing.cancel()
        self._fail(list(self._callers), lambda: Lost(error))

    def _close_to_new_calls(self) -> None:
        self.ended = True
        self._watch.cancel()
        self._news.set()

    def _fail(self, call_ids: list[int], error: Callable[[], Exception]) -> None:
        for call_id in call_ids:
            answered, _ = self._callers.pop(call_id)
            if not answered.done():
                answered.set_exception(error())

    # -- Deadlines

    def _watch_until(self, moment_s: float) -> None:
        self._watch.cancel()
        self._watched_until_s = moment_s
        self._watch = self._loop.call_at(moment_s, self._look)

    def _look(self) -> None:
        """Gives up the calls that are late, and the stream when nobody used it for long."""
        now_s = self._loop.time()
        late = [
            call_id for call_id, (_, deadline_s) in self._callers.items() if deadline_s <= now_s
        ]
        self._fail(late, TimeoutError)
        if self._callers:
            self._watch_until(min(deadline_s for _, deadline_s in self._callers.values()))
        elif now_s < self._used_s + IDLE_S:
            self._watch_until(self._used_s + IDLE_S)
        else:
            self._close_to_new_calls()
