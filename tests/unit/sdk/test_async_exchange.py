"""Many tasks on one stream: what waits goes out together, and everyone gets just their own."""

from __future__ import annotations

import asyncio
from concurrent import futures

import grpc
import pytest
from statehouse_proto.v2 import state_pb2 as state
from statehouse_sdk import async_exchange as exchange_module
from statehouse_sdk.async_exchange import AsyncExchange
from statehouse_sdk.exchange_calls import Closed, Lost, TooLargeToShare
from statehouse_sdk.limits import MESSAGE_BYTES_MAX

_END = object()


class Wire:
    """A channel whose other end is the test: it takes messages, replies, and ends the stream."""

    def __init__(self):
        self.messages = asyncio.Queue()
        self.taken = asyncio.Semaphore(0)
        self.open = True
        self._replies = asyncio.Queue()

    def stream_stream(self, path):
        return lambda: self

    async def write(self, message):
        self.messages.put_nowait(message)
        await self.taken.acquire()
        if not self.open:
            raise asyncio.InvalidStateError("the stream is over")

    async def __aiter__(self):
        while (found := await self._replies.get()) is not _END:
            if isinstance(found, BaseException):
                raise found
            yield found

    async def done_writing(self):
        self.end()

    def cancel(self):
        """A write that waits is left waiting, as gRPC leaves those that wait for a connection."""
        self.open = False
        self._replies.put_nowait(asyncio.CancelledError())

    def end(self, code=None):
        self.open = False
        self.taken.release()
        self._replies.put_nowait(_END if code is None else grpc.aio.AioRpcError(code, None, None))

    async def take(self):
        """The calls of the next message, which has left now."""
        message = await self.messages.get()
        self.taken.release()
        return state.ExchangeRequest.FromString(message).calls

    def reply(self, *numbers):
        replies = [state.Reply(id=n, get=state.GetResponse(served_at=n)) for n in numbers]
        self._replies.put_nowait(state.ExchangeResponse(replies=replies).SerializeToString())


class Stream:
    """A stream under test, and its wire."""

    def __init__(self):
        self.wire = Wire()
        self.exchange = AsyncExchange(self.wire)

    def ask(self, key="k", timeout_s=20.0):
        return self.exchange.ask("get", state.GetRequest(key=key), timeout_s)


def on_a_stream(scenario):
    """The test as a coroutine of a stream, on a loop of its own, within ten seconds."""

    def test(self, monkeypatch):
        async def whole():
            async with asyncio.timeout(10):
                stream = Stream()
                try:
                    await scenario(self, stream, monkeypatch)
                finally:
                    await stream.exchange.close()
                assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(whole())

    test.__name__ = scenario.__name__
    return test


class TestMessages:
    @on_a_stream
    async def test_what_is_asked_in_one_turn_goes_out_in_one_message(self, stream, monkeypatch):
        asked = [stream.ask(f"k{number}") for number in range(5)]
        calls = await stream.wire.take()
        assert [call.get.key for call in calls] == [f"k{number}" for number in range(5)]
        stream.wire.reply(*[call.id for call in calls])
        replies = await asyncio.gather(*asked)
        assert [reply.get.served_at for reply in replies] == [call.id for call in calls]

    @on_a_stream
    async def test_a_lone_call_goes_out_alone_and_at_once(self, stream, monkeypatch):
        first = stream.ask()
        assert len(await stream.wire.take()) == 1
        second = stream.ask()
        (call,) = await stream.wire.take()
        stream.wire.reply(call.id)
        await second
        assert not first.done()

    @on_a_stream
    async def test_while_a_message_is_on_its_way_the_next_collects(self, stream, monkeypatch):
        asked = [stream.ask("first")]
        message = await stream.wire.messages.get()
        assert len(state.ExchangeRequest.FromString(message).calls) == 1
        for number in range(4):
            asked.append(stream.ask(f"k{number}"))
            await asyncio.sleep(0)
        assert stream.wire.messages.empty()
        stream.wire.taken.release()
        assert len(await stream.wire.take()) == 4

    @on_a_stream
    async def test_replies_may_come_in_any_order_and_in_any_grouping(self, stream, monkeypatch):
        asked = [stream.ask() for _ in range(4)]
        ids = [call.id for call in await stream.wire.take()]
        stream.wire.reply(ids[3], ids[1])
        stream.wire.reply(ids[0])
        stream.wire.reply(ids[2], 12345)
        assert [(await one).id for one in asked] == ids

    @on_a_stream
    async def test_those_answered_first_ask_on_while_the_others_are_answered(
        self, stream, monkeypatch
    ):
        monkeypatch.setattr(exchange_module, "TURN_READS_MIN", 2)

        async def ask_twice():
            await stream.ask()
            await stream.ask()

        asking = [asyncio.create_task(ask_twice()) for _ in range(6)]
        stream.wire.reply(*[call.id for call in await stream.wire.take()])
        sizes = []
        while sum(sizes) < 6:
            calls = await stream.wire.take()
            sizes.append(len(calls))
            stream.wire.reply(*[call.id for call in calls])
        assert sizes == [3, 3]
        await asyncio.gather(*asking)

    @on_a_stream
    async def test_a_message_is_bounded_in_calls(self, stream, monkeypatch):
        monkeypatch.setattr(exchange_module, "EXCHANGE_CALLS_MAX", 2)
        asked = [stream.ask() for _ in range(5)]
        assert [len(await stream.wire.take()) for _ in range(3)] == [2, 2, 1]
        assert not any(one.done() for one in asked)

    @on_a_stream
    async def test_a_message_is_bounded_in_bytes_but_takes_a_large_call(self, stream, monkeypatch):
        monkeypatch.setattr(exchange_module, "FULL_BYTES", 100)
        asked = [stream.ask("x" * size) for size in (10, 500, 10, 10)]
        assert [len(await stream.wire.take()) for _ in range(3)] == [1, 1, 2]
        assert not any(one.done() for one in asked)

    @on_a_stream
    async def test_a_call_that_no_message_can_hold_does_not_travel_here(self, stream, monkeypatch):
        with pytest.raises(TooLargeToShare):
            stream.ask("x" * MESSAGE_BYTES_MAX)


class TestGivingUp:
    @on_a_stream
    async def test_each_call_has_a_deadline_of_its_own(self, stream, monkeypatch):
        patient = stream.ask(timeout_s=20)
        late = [stream.ask(timeout_s=timeout_s) for timeout_s in (0.06, 0.03)]
        calls = await stream.wire.take()
        for one in late:
            with pytest.raises(TimeoutError):
                await one
        stream.wire.reply(*[call.id for call in calls])
        assert (await patient).id == calls[0].id

    @on_a_stream
    async def test_a_cancelled_call_that_has_not_left_never_leaves(self, stream, monkeypatch):
        first = stream.ask("first")
        await stream.wire.messages.get()
        given_up, kept = stream.ask("given up"), stream.ask("kept")
        given_up.cancel()
        stream.wire.taken.release()
        assert [call.get.key for call in await stream.wire.take()] == ["kept"]
        assert not first.done()
        assert not kept.done()

    @on_a_stream
    async def test_nothing_leaves_when_all_that_waited_was_given_up(self, stream, monkeypatch):
        stream.ask("given up").cancel()
        await asyncio.sleep(0.01)
        stream.ask("kept")
        assert [call.get.key for call in await stream.wire.take()] == ["kept"]

    @on_a_stream
    async def test_the_reply_to_a_cancelled_call_goes_to_nobody(self, stream, monkeypatch):
        asked = stream.ask()
        (call,) = await stream.wire.take()
        asked.cancel()
        stream.wire.reply(call.id)
        other = stream.ask()
        (call,) = await stream.wire.take()
        stream.wire.reply(call.id)
        await other

    @on_a_stream
    async def test_what_was_given_up_is_forgotten_in_time(self, stream, monkeypatch):
        for _ in range(3):
            stream.ask(timeout_s=0.02).cancel()
        patient = stream.ask(timeout_s=0.04)
        with pytest.raises(TimeoutError):
            await patient
        assert stream.exchange._callers == {}


class TestTheEnd:
    @on_a_stream
    async def test_a_broken_stream_is_the_end_of_every_call_on_it(self, stream, monkeypatch):
        asked = [stream.ask() for _ in range(3)]
        await stream.wire.take()
        stream.wire.end(grpc.StatusCode.UNAVAILABLE)
        for one in asked:
            with pytest.raises(Lost) as caught:
                await one
            assert caught.value.error.code() is grpc.StatusCode.UNAVAILABLE
            assert not caught.value.unknown_method
        with pytest.raises(Closed):
            stream.ask()

    @on_a_stream
    async def test_a_stream_that_the_node_ends_is_told_from_a_broken_one(self, stream, monkeypatch):
        asked = stream.ask()
        stream.wire.end()
        with pytest.raises(Lost) as caught:
            await asked
        assert caught.value.error is None

    @on_a_stream
    async def test_a_node_without_exchanges_is_told_from_a_broken_one(self, stream, monkeypatch):
        asked = stream.ask()
        stream.wire.end(grpc.StatusCode.UNIMPLEMENTED)
        with pytest.raises(Lost) as caught:
            await asked
        assert caught.value.unknown_method

    @on_a_stream
    async def test_closing_ends_the_calls_under_way(self, stream, monkeypatch):
        asked = stream.ask()
        await stream.exchange.close()
        with pytest.raises(Lost):
            await asked
        with pytest.raises(Closed):
            stream.ask()

    @on_a_stream
    async def test_a_stream_nobody_uses_ends_but_not_under_a_waiting_task(
        self, stream, monkeypatch
    ):
        monkeypatch.setattr(exchange_module, "IDLE_S", 0.02)
        stream.exchange._watch_until(0)
        asked = stream.ask()
        (call,) = await stream.wire.take()
        stream.exchange._look()
        assert not stream.exchange.ended
        stream.wire.reply(call.id)
        await asked
        stream.exchange._watch_until(0)
        while stream.wire.open:
            await asyncio.sleep(0.005)
        assert stream.exchange.ended
        with pytest.raises(Closed):
            stream.ask()


def test_replies_that_came_before_a_write_failed_are_handed_out():
    """On gRPC itself, which ends a stream for read() as soon as a write has failed."""

    def answer(requests, context):
        for call in state.ExchangeRequest.FromString(next(requests)).calls:
            reply = state.Reply(id=call.id, get=state.GetResponse(served_at=call.id))
            yield state.ExchangeResponse(replies=[reply]).SerializeToString()
        context.abort(grpc.StatusCode.UNAVAILABLE, "on demand")

    async def scenario(channel):
        exchange = AsyncExchange(channel)
        may_go_on, receive = asyncio.Event(), exchange._receive

        async def late(message):
            await may_go_on.wait()
            await receive(message)

        exchange._receive = late
        asked = [exchange.ask("get", state.GetRequest(), 20.0) for _ in range(3)]
        lost = []
        while not exchange._writing.done():
            await asyncio.sleep(0.01)
            lost.append(exchange.ask("get", state.GetRequest(), 20.0))
        may_go_on.set()
        assert [(await reply).get.served_at for reply in asked] == [1, 2, 3]
        for call in lost:
            with pytest.raises(Lost):
                await call
        await exchange.close()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)

    async def whole(port):
        async with asyncio.timeout(10), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await scenario(channel)

    class Handlers(grpc.GenericRpcHandler):
        def service(self, call):
            return grpc.stream_stream_rpc_method_handler(answer)

    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        asyncio.run(whole(port))
    finally:
        server.stop(None).wait()
