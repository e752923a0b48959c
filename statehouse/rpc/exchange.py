"""Owns statehouse.v2.StateService/Exchange: many commits and reads of one client on one stream.

The calls are those of Commit, Get and GetMany, without the price of a gRPC call each: the commits
of one message are proposed together, its reads share one barrier and one view, and the replies that
are ready when the last message has left go out in the next. A call that fails, fails alone. Beyond
EXCHANGE_CALLS_MAX calls under way, a stream is not read on: the client's own queue grows instead.
It knows no deadlines: a client that gives a call up ignores its late reply.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from statehouse_proto.services import STATE_SERVICE, methods
from statehouse_proto.v2 import state_pb2

from statehouse.core import limits
from statehouse.core.errors import Failure, LimitExceeded, Reason
from statehouse.rpc import convert, point_reads, status_codes
from statehouse.rpc.handlers import Context, failure_of, garbage, refuse
from statehouse.rpc.point_reads import is_stale
from statehouse.rpc.state_service import submission

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Sequence

    from statehouse.core.model import Committed, Submission
    from statehouse.rpc.backend import Answered, Backend, View
    from statehouse.rpc.points import NowUs

_METHODS = methods(STATE_SERVICE)
_EXCHANGE = _METHODS["Exchange"]
_METHOD_OF = {
    "commit": _METHODS["Commit"],
    "get": _METHODS["Get"],
    "get_many": _METHODS["GetMany"],
}

_WRITE_TIME_S_MAX = limits.CALL_TIME_MS_MAX / 1000
"""A client that takes nothing for so long is given up, within twice the time."""

_VERSIONS_MAX = 64 * 1024
"""Versions told in one message: each takes ten bytes at most, and a commit's fields fifty."""

_UNSENT_BYTES_MAX = limits.MESSAGE_BYTES_MAX
"""Bytes of replies waiting for the client, beyond which reads wait."""


class _Read(NamedTuple):
    """A read of given keys that was checked."""

    call_id: int
    kind: str
    request: Any
    keys: int


class Exchange:
    """All streams of one node."""

    def __init__(self, backend: Backend, now_us: NowUs) -> None:
        self._backend = backend
        self._now_us = now_us
        self._streams: set[_Stream] = set()
        self._ending = False

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.stream_stream_rpc_method_handler(self._serve)

    def end(self) -> None:
        """Reads no stream any more; each ends when what it began is answered."""
        self._ending = True
        for stream in self._streams:
            stream.end()

    async def _serve(self, requests: AsyncIterable[bytes], context: Context) -> None:
        stream = _Stream(self._backend, self._now_us, requests, context)
        self._streams.add(stream)
        if self._ending:
            stream.end()
        try:
            await stream.serve()
        finally:
            self._streams.discard(stream)


class _Stream:
    """One stream: a task reads, the handler's own writes, between them calls under way."""

    def __init__(
        self, backend: Backend, now_us: NowUs, requests: AsyncIterable[bytes], context: Context
    ) -> None:
        self._backend = backend
        self._now_us = now_us
        self._context = context
        self._committed: deque[tuple[int, Committed]] = deque()
        self._replies: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._under_way = 0
        self._failure: Failure | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._writes = 0
        self._is_writing = False
        self._reading = asyncio.create_task(self._read(requests))
        self._reading.add_done_callback(lambda _: self._news.set())
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answers until the client has no more calls, or `end` was called."""
        try:
            async with asyncio.timeout(None) as patience:
                self._watch(patience, 0)
                await self._write()
        except TimeoutError:
            self._failure = Failure(
                Reason.DEADLINE_EXCEEDED, "Exchange: the client takes no replies; begin anew"
            )
        finally:
            self._watching.cancel()
            self._reading.cancel()
            for task in self._answering:
                task.cancel()
        if self._failure is not None:
            await refuse(self._context, self._failure)

    def end(self) -> None:
        """Takes no more calls."""
        self._reading.cancel()

    def _watch(self, patience: asyncio.Timeout, writes: int) -> None:
        """Ends the wait for a client that has not taken the message which it was given last time.

        writes: how many it had been given then. A time-out for each costs more than to make it.
        """
        loop = asyncio.get_running_loop()
        if self._is_writing and self._writes == writes:
            patience.reschedule(loop.time())
            return
        self._watching = loop.call_later(_WRITE_TIME_S_MAX, self._watch, patience, self._writes)

    # -- Calls in

    async def _read(self, requests: AsyncIterable[bytes]) -> None:
        try:
            async for payload in requests:
                calls = _calls_of(payload)
                while self._under_way + len(calls) > limits.EXCHANGE_CALLS_MAX:
                    self._room.clear()
                    await self._room.wait()
                self._under_way += len(calls)
                self._take(calls)
        except Failure as failure:
            self._failure = failure
        except (grpc.aio.UsageError, grpc.aio.BaseError):
            # The call is over, and its handler is told so itself.
            return

    def _take(self, calls: Iterable[state_pb2.Call]) -> None:
        commits: list[tuple[Submission, Answered]] = []
        current: list[_Read] = []
        stale: list[_Read] = []
        settle = self._settle
        for call in calls:
            kind, call_id = call.WhichOneof("call"), call.id
            try:
                if kind == "commit":
                    commits.append((submission(call.commit), partial(settle, call_id)))
                    continue
                read = _read_of(call_id, kind, call)
                (stale if is_stale(read.request.consistency) else current).append(read)
            except Exception as error:
                self._failed(call_id, kind, error)
        if commits:
            self._backend.submit(commits)
        if current:
            self._begin_answering(current, stale=False)
        if stale:
            self._begin_answering(stale, stale=True)

    def _begin_answering(self, reads: Sequence[_Read], *, stale: bool) -> None:
        task = asyncio.create_task(self._answer(reads, stale=stale))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, reads: Sequence[_Read], *, stale: bool) -> None:
        try:
            view = await self._backend.view(stale=stale)
        except Exception as error:
            for read in reads:
                self._failed(read.call_id, read.kind, error)
            return
        try:
            keys = 0
            for read in reads:
                self._answer_from(view, read)
                keys += read.keys
                if keys >= limits.CHUNK_ROWS_MAX:
                    keys = 0
                    await asyncio.sleep(0)
                while self._unsent_bytes > _UNSENT_BYTES_MAX:
                    self._room.clear()
                    await self._room.wait()
        finally:
            view.close()

    def _answer_from(self, view: View, read: _Read) -> None:
        # A message of one reply; messages of repeated fields may be joined as bytes.
        response = state_pb2.ExchangeResponse()
        reply = response.replies.add()
        reply.id = read.call_id
        try:
            if read.kind == "get":
                point_reads.fill_get(reply.get, view, read.request, self._now_us)
            else:
                point_reads.fill_get_many(reply.get_many, view, read.request, self._now_us)
        except Exception as error:
            self._failed(read.call_id, read.kind, error)
        else:
            self._send(response)

    # -- Replies out

    def _settle(self, call_id: int, answer: Committed | Exception) -> None:
        if isinstance(answer, Exception):
            self._failed(call_id, "commit", answer)
            return
        # Written into their message when it is made: that costs a third of one for each.
        if not self._committed:
            self._news.set()
        self._committed.append((call_id, answer))

    def _failed(self, call_id: int, kind: str | None, error: Exception) -> None:
        failure = failure_of(_EXCHANGE if kind is None else _METHOD_OF[kind], error)
        code, _ = status_codes.CODES[failure.reason].value
        details = status_codes.details_message(failure)
        reply = state_pb2.Reply(id=call_id, error=details, code=code)
        self._send(state_pb2.ExchangeResponse(replies=[reply]))

    def _send(self, response: state_pb2.ExchangeResponse) -> None:
        encoded = response.SerializeToString()
        self._replies.append(encoded)
        self._unsent_bytes += len(encoded)
        self._news.set()

    async def _write(self) -> None:
        while True:
            while not self._committed and not self._replies:
                if self._reading.done() and not self._under_way:
                    return
                self._news.clear()
                await self._news.wait()
            message, count = self._next_message()
            self._writes += 1
            self._is_writing = True
            await self._context.write(message)
            self._is_writing = False
            self._under_way -= count
            self._room.set()

    def _next_message(self) -> tuple[bytes, int]:
        """What fits into one message, at least one reply, and how many it holds."""
        message, count = self._next_committed()
        parts, size_bytes = [message], len(message)
        while self._replies:
            reply_bytes = len(self._replies[0])
            if count and size_bytes + reply_bytes > limits.MESSAGE_BYTES_MAX:
                break
            parts.append(self._replies.popleft())
            size_bytes += reply_bytes
            self._unsent_bytes -= reply_bytes
            count += 1
        return b"".join(parts), count

    def _next_committed(self) -> tuple[bytes, int]:
        response = state_pb2.ExchangeResponse()
        add, waiting = response.replies.add, self._committed
        count = versions = 0
        while waiting and versions < _VERSIONS_MAX:
            call_id, answer = waiting.popleft()
            reply = add()
            reply.id = call_id
            convert.write_committed(reply.commit, answer)
            versions += len(answer.versions)
            count += 1
        return response.SerializeToString(), count


def _calls_of(payload: bytes) -> Sequence[state_pb2.Call]:
    try:
        calls = state_pb2.ExchangeRequest.FromString(payload).calls
    except Exception:  # protobuf raises several kinds for bytes that are no such message
        raise garbage(_EXCHANGE) from None
    if len(calls) > limits.EXCHANGE_CALLS_MAX:
        raise Failure(
            Reason.TOO_LARGE,
            f"{len(calls)} calls in one message of an exchange; at most "
            f"{limits.EXCHANGE_CALLS_MAX}: divide them",
            limit=LimitExceeded("exchange_calls_max", limits.EXCHANGE_CALLS_MAX, len(calls)),
        )
    return calls


def _read_of(call_id: int, kind: str | None, call: state_pb2.Call) -> _Read:
    """A read that may be answered; refuses what may not be asked."""
    if kind == "get":
        point_reads.check_get(call.get)
        return _Read(call_id, kind, call.get, 1)
    if kind == "get_many":
        point_reads.check_get_many(call.get_many)
        return _Read(call_id, kind, call.get_many, 1 + len(call.get_many.keys))
    raise Failure(Reason.INVALID_ARGUMENT, f"call {call_id} is of a kind this node does not know")
