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
from typing import TYPE_CHECKING, Any

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
"""A client that takes nothing for so long is given up."""

_VERSIONS_MAX = 64 * 1024
"""Versions told in one message: each takes ten bytes at most, and a commit's fields fifty."""

_UNSENT_BYTES_MAX = limits.MESSAGE_BYTES_MAX
"""Bytes of replies waiting for the client, beyond which reads wait."""


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
        self._reading = asyncio.create_task(self._read(requests))
        self._reading.add_done_callback(lambda _: self._news.set())
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answers until the client has no more calls, or `end` was called."""
        try:
            await self._write()
        except TimeoutError:
            self._failure = Failure(
                Reason.DEADLINE_EXCEEDED, "Exchange: the client takes no replies; begin anew"
            )
        finally:
            self._reading.cancel()
            for task in self._answering:
                task.cancel()
        if self._failure is not None:
            await refuse(self._context, self._failure)

    def end(self) -> None:
        """Takes no more calls."""
        self._reading.cancel()

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
        current: list[state_pb2.Call] = []
        stale: list[state_pb2.Call] = []
        for call in calls:
            try:
                match call.WhichOneof("call"):
                    case "commit":
                        commits.append((submission(call.commit), partial(self._settle, call.id)))
                    case "get":
                        point_reads.check_get(call.get)
                        (stale if is_stale(call.get.consistency) else current).append(call)
                    case "get_many":
                        point_reads.check_get_many(call.get_many)
                        (stale if is_stale(call.get_many.consistency) else current).append(call)
                    case _:
                        raise Failure(
                            Reason.INVALID_ARGUMENT,
                            f"call {call.id} is of a kind this node does not know",
                        )
            except Exception as error:
                self._failed(call, error)
        if commits:
            self._backend.submit(commits)
        if current:
            self._begin_answering(current, stale=False)
        if stale:
            self._begin_answering(stale, stale=True)

    def _begin_answering(self, calls: Sequence[state_pb2.Call], *, stale: bool) -> None:
        task = asyncio.create_task(self._answer(calls, stale=stale))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, calls: Sequence[state_pb2.Call], *, stale: bool) -> None:
        try:
            view = await self._backend.view(stale=stale)
        except Exception as error:
            for call in calls:
                self._failed(call, error)
            return
        try:
            keys = 0
            for call in calls:
                self._answer_from(view, call)
                keys += 1 + len(call.get_many.keys)
                if keys >= limits.CHUNK_ROWS_MAX:
                    keys = 0
                    await asyncio.sleep(0)
                while self._unsent_bytes > _UNSENT_BYTES_MAX:
                    self._room.clear()
                    await self._room.wait()
        finally:
            view.close()

    def _answer_from(self, view: View, call: state_pb2.Call) -> None:
        try:
            if call.HasField("get"):
                told = point_reads.get(view, call.get, self._now_us)
                self._reply(state_pb2.Reply(id=call.id, get=told))
            else:
                many = point_reads.get_many(view, call.get_many, self._now_us)
                self._reply(state_pb2.Reply(id=call.id, get_many=many))
        except Exception as error:
            self._failed(call, error)

    # -- Replies out

    def _settle(self, call_id: int, answer: Committed | Exception) -> None:
        if isinstance(answer, Exception):
            self._reply(_error_reply(call_id, "commit", answer))
        else:
            # Written into their message when it is made: that costs a third of one for each.
            self._committed.append((call_id, answer))
            self._news.set()

    def _failed(self, call: state_pb2.Call, error: Exception) -> None:
        self._reply(_error_reply(call.id, call.WhichOneof("call"), error))

    def _reply(self, reply: state_pb2.Reply) -> None:
        # Messages of repeated fields may be joined as bytes: the result is the message of all.
        encoded = state_pb2.ExchangeResponse(replies=[reply]).SerializeToString()
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
            async with asyncio.timeout(_WRITE_TIME_S_MAX):
                await self._context.write(message)
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


def _error_reply(call_id: int, kind: str | None, error: Exception) -> state_pb2.Reply:
    failure = failure_of(_EXCHANGE if kind is None else _METHOD_OF[kind], error)
    code, _ = status_codes.CODES[failure.reason].value
    return state_pb2.Reply(id=call_id, error=status_codes.details_message(failure), code=code)
