"""Many threads on one stream: what waits goes out together, and everyone gets just their own."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue

import grpc
import pytest
from statehouse_proto.v2 import common_pb2 as common
from statehouse_proto.v2 import state_pb2 as state
from statehouse_sdk import ConflictError, OutcomeUnknownError, Statehouse, StatehouseError
from statehouse_sdk import exchange as exchange_module
from statehouse_sdk.exchange import Closed, Exchange, Lost
from statehouse_sdk.exchange_calls import TooLargeToShare
from statehouse_sdk.limits import EXCHANGE_CALLS_MAX, MESSAGE_BYTES_MAX

from tests.fakes.fake_cluster import Break, LoseAnswer, Refuse, Stall


class Ended(grpc.RpcError, grpc.Call):
    """The end of a stream, by this code."""

    def __init__(self, code):
        self._code = code

    def code(self):
        return self._code

    add_callback = cancel = details = initial_metadata = is_active = None
    time_remaining = trailing_metadata = None


Ended.__abstractmethods__ = frozenset()


class Wire:
    """A channel whose other end is the test: it takes messages, replies, and ends the stream."""

    def __init__(self):
        self._ends = SimpleQueue()

    def stream_stream(self, path, serializer, deserializer):
        self.receive = deserializer
        return self._start

    def _start(self, messages):
        self._messages = messages
        return self

    def __iter__(self):
        return self

    def __next__(self):
        end = self._ends.get()
        raise StopIteration if end is None else end

    def cancel(self):
        self._ends.put(Ended(grpc.StatusCode.CANCELLED))

    def end(self, code=None):
        self._ends.put(None if code is None else Ended(code))

    def take(self):
        """The calls of the next message."""
        return state.ExchangeRequest.FromString(next(self._messages)).calls

    def reply(self, *numbers):
        replies = [state.Reply(id=n, get=state.GetResponse(served_at=n)) for n in numbers]
        assert self.receive(state.ExchangeResponse(replies=replies).SerializeToString())


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def exchange(wire):
    made = Exchange(wire)
    yield made
    made.close()


class Asking(threading.Thread):
    """One call in a thread of its own; `result` is its reply or its error."""

    def __init__(self, exchange, key="k", timeout_s=20.0):
        super().__init__()
        self._ask = lambda: exchange.ask("get", state.GetRequest(key=key), timeout_s)
        before = len(exchange._callers)
        self.start()
        while len(exchange._callers) == before and self.is_alive():
            time.sleep(0.001)

    def run(self):
        try:
            self.result = self._ask()
        except Exception as error:
            self.result = error

    def end(self):
        self.join(20)
        assert not self.is_alive()
        return self.result


def answer_together(wire, exchange, count):
    """So many callers whose calls shared a message, and whose replies did."""
    asking = [Asking(exchange) for _ in range(count)]
    calls = wire.take()
    assert len(calls) == count
    wire.reply(*[call.id for call in calls])
    for one in asking:
        one.end()
    return asking


class TestOneStream:
    def test_what_waits_goes_out_in_one_message(self, wire, exchange):
        asking = [Asking(exchange, f"k{number}") for number in range(5)]
        calls = wire.take()
        assert [call.get.key for call in calls] == [f"k{number}" for number in range(5)]
        wire.reply(*[call.id for call in calls])
        assert [one.end().get.served_at for one in asking] == [call.id for call in calls]

    def test_a_lone_call_goes_out_alone_and_at_once(self, wire, exchange):
        first = Asking(exchange)
        assert len(wire.take()) == 1
        second = Asking(exchange)
        (call,) = wire.take()
        wire.reply(call.id)
        second.end()
        wire.reply(1)
        first.end()

    def test_those_answered_together_ask_together_again(self, wire, exchange, monkeypatch):
        monkeypatch.setattr(exchange_module, "HOLD_S", 20.0)
        asking = answer_together(wire, exchange, 3)
        message = SimpleQueue()
        threading.Thread(target=lambda: message.put(wire.take())).start()
        again = [Asking(exchange, f"k{number}") for number in range(3)]
        calls = message.get(timeout=10)
        assert [call.get.key for call in calls] == ["k0", "k1", "k2"]
        wire.reply(*[call.id for call in calls])
        for one in (*asking, *again):
            one.end()

    def test_one_who_does_not_ask_again_is_waited_for_once_and_not_for_long(
        self, wire, exchange, monkeypatch
    ):
        monkeypatch.setattr(exchange_module, "HOLD_S", 0.02)
        answer_together(wire, exchange, 3)
        asking = [Asking(exchange) for _ in range(2)]
        assert len(wire.take()) == 2
        monkeypatch.setattr(exchange_module, "HOLD_S", 20.0)
        asking.append(Asking(exchange))
        began_s = time.monotonic()
        assert len(wire.take()) == 1
        assert time.monotonic() - began_s < 10
        wire.reply(*[4, 5, 6])
        for one in asking:
            one.end()

    def test_a_lone_caller_is_not_held_back(self, wire, exchange, monkeypatch):
        monkeypatch.setattr(exchange_module, "HOLD_S", 20.0)
        began_s = time.monotonic()
        for _ in range(3):
            answer_together(wire, exchange, 1)
        assert time.monotonic() - began_s < 10

    def test_replies_may_come_in_any_order_and_in_any_grouping(self, wire, exchange):
        asking = [Asking(exchange) for _ in range(4)]
        ids = [call.id for call in wire.take()]
        wire.reply(ids[3], ids[1])
        wire.reply(ids[0])
        wire.reply(ids[2])
        assert [one.end().id for one in asking] == ids

    def test_a_message_is_bounded_in_calls(self, wire, exchange, monkeypatch):
        monkeypatch.setattr(exchange_module, "EXCHANGE_CALLS_MAX", 2)
        asking = [Asking(exchange) for _ in range(5)]
        sizes = []
        for _ in range(3):
            calls = wire.take()
            sizes.append(len(calls))
            wire.reply(*[call.id for call in calls])
        assert sizes == [2, 2, 1]
        for one in asking:
            one.end()

    def test_a_message_is_bounded_in_bytes_but_takes_a_large_call(
        self, wire, exchange, monkeypatch
    ):
        monkeypatch.setattr(exchange_module, "FULL_BYTES", 100)
        asking = [Asking(exchange, "x" * size) for size in (10, 500, 10, 10)]
        sizes = []
        for _ in range(3):
            calls = wire.take()
            sizes.append(len(calls))
            wire.reply(*[call.id for call in calls])
        assert sizes == [1, 1, 2]
        for one in asking:
            one.end()

    def test_a_call_that_no_message_can_hold_does_not_travel_here(self, exchange):
        request = state.GetRequest(key="x" * MESSAGE_BYTES_MAX)
        with pytest.raises(TooLargeToShare):
            exchange.ask("get", request, 1.0)

    def test_a_late_reply_goes_to_nobody(self, wire, exchange):
        late = Asking(exchange, timeout_s=0.05)
        (call,) = wire.take()
        assert isinstance(late.end(), TimeoutError)
        wire.reply(call.id, 12345)
        assert isinstance(late.result, TimeoutError)

    @pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, None], ids=str)
    def test_the_end_of_the_stream_is_the_end_of_every_call_on_it(self, wire, exchange, code):
        asking = [Asking(exchange) for _ in range(3)]
        wire.take()
        wire.end(code)
        for one in asking:
            lost = one.end()
            assert isinstance(lost, Lost)
            assert (lost.error and lost.error.code()) == code
            assert not lost.unknown_method
        with pytest.raises(Closed):
            exchange.ask("get", state.GetRequest(), 1.0)

    def test_a_node_without_exchanges_is_told_from_a_broken_one(self, wire, exchange):
        asking = Asking(exchange)
        wire.end(grpc.StatusCode.UNIMPLEMENTED)
        assert asking.end().unknown_method

    def test_closing_ends_calls_and_messages(self, wire, exchange):
        asking = Asking(exchange)
        wire.take()
        exchange.close()
        assert isinstance(asking.end(), Lost)
        assert next(wire._messages, None) is None

    def test_a_stream_nobody_uses_ends_but_not_under_a_waiting_caller(
        self, wire, exchange, monkeypatch
    ):
        monkeypatch.setattr(exchange_module, "IDLE_S", 0.02)
        asking = Asking(exchange)
        (call,) = wire.take()
        ended = threading.Thread(target=lambda: next(wire._messages, None))
        ended.start()
        ended.join(0.2)
        assert ended.is_alive()
        assert not exchange.ended
        wire.reply(call.id)
        asking.end()
        ended.join(10)
        assert exchange.ended
        with pytest.raises(Closed):
            exchange.ask("get", state.GetRequest(), 1.0)


@pytest.fixture
def client(blocking):
    """Exchanges of tasks have tests of their own."""
    return blocking


def put(client, key="k", value=1):
    with client.begin_transaction() as tx:
        tx.write("a", key, value)
    return tx.commit_ts


def stream_to(client, node):
    return client._session._transport._links[node.address]._exchange


class TestOnAClient:
    def test_commits_and_reads_share_one_stream(self, client, fake):
        put(client)
        client.get_state("a", "k")
        client.get_many("a", ["k", "j"])
        first = stream_to(client, fake.nodes[0])
        client.get_state("a", "j")
        assert fake.nodes[0].messages == [1, 1, 1, 1]
        assert stream_to(client, fake.nodes[0]) is first

    def test_many_threads_get_each_their_own_answer(self, client, fake):
        wrong = []

        def work(number):
            for turn in range(10):
                put(client, f"k{number}", [number, turn])
                found = client.get_state("a", f"k{number}")
                if (found.value, found.version) != ([number, turn], turn + 1):
                    wrong.append((number, turn, found))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert fake.state.commit_ts == 160
        assert max(fake.state.executed.values()) == 1

    def test_a_conflict_among_others_is_its_own(self, client, fake):
        put(client)
        fake.nodes[0].will("Commit", None, Refuse(common.REASON_CONFLICT), None)
        outcomes = []

        def work(number):
            try:
                outcomes.append(put(client, f"k{number}"))
            except ConflictError as error:
                outcomes.append(type(error))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, outcomes)) == ["2", "3", str(ConflictError)]

    def test_a_call_without_an_answer_does_not_hold_up_the_others(self, client, fake):
        put(client)
        fake.nodes[0].will("Get", Stall())
        stuck = threading.Thread(target=client.get_state, args=("a", "k"))
        stuck.start()
        while fake.nodes[0].count("Get") == 0:
            time.sleep(0.001)
        started_s = time.monotonic()
        put(client, "j")
        assert time.monotonic() - started_s < 1.4
        stuck.join()

    def test_a_stream_that_was_idle_is_begun_anew(self, client, fake, monkeypatch):
        monkeypatch.setattr(exchange_module, "IDLE_S", 0.02)
        put(client)
        first = stream_to(client, fake.nodes[0])
        while not first.ended:
            time.sleep(0.001)
        assert put(client) == 2
        assert fake.nodes[0].count("Commit") == 2

    def test_a_stream_that_the_node_ends_is_begun_anew(self, client, fake):
        put(client)
        fake.nodes[0].stop()
        fake.nodes[0].start()
        assert put(client) == 2

    def test_closing_the_client_ends_calls_in_other_threads_with_words(self, fake):
        client = Statehouse(fake.url, timeout=20)
        put(client)
        fake.nodes[0].will("Get", Stall())
        told = []

        def work():
            try:
                client.get_state("a", "k")
            except StatehouseError as error:
                told.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        while fake.nodes[0].count("Get") == 0:
            time.sleep(0.001)
        client.close()
        thread.join(10)
        assert told == ["this client is closed; make a new Statehouse()"]

    def test_no_thread_outlives_its_client(self, fake):
        before = {thread.name for thread in threading.enumerate()}
        with Statehouse(fake.url) as client:
            put(client)
            assert "statehouse-exchange" in {thread.name for thread in threading.enumerate()}
        deadline_s = time.monotonic() + 10
        while "statehouse-exchange" in {thread.name for thread in threading.enumerate()} - before:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)


class TestANodeWithoutExchanges:
    @pytest.fixture(autouse=True)
    def older(self, fake):
        for node in fake.nodes:
            node.exchanges = False

    def test_it_is_called_one_by_one(self, client, fake):
        assert put(client) == 1
        assert client.get_state("a", "k").value == 1
        assert fake.nodes[0].messages == []
        assert fake.nodes[0].count("Commit") == 1

    def test_a_lost_answer_is_repeated_without_doubling(self, client, fake):
        fake.nodes[0].will("Commit", LoseAnswer())
        assert put(client) == 1
        assert set(fake.state.executed.values()) == {1}

    def test_an_unknown_outcome_is_told(self, client, fake):
        put(client)
        fake.nodes[0].will("Commit", LoseAnswer(grpc.StatusCode.UNKNOWN))
        with pytest.raises(OutcomeUnknownError):
            put(client)

    def test_it_is_asked_again_when_it_comes_back_as_a_newer_one(self, client, fake):
        put(client)
        fake.nodes[0].exchanges = True
        put(client)
        assert fake.nodes[0].messages == []
        fake.nodes[0].will("Commit", Break())
        put(client)
        put(client)
        assert fake.nodes[0].messages != []


def test_the_limits_of_both_sides_are_the_same():
    from statehouse.core import limits

    assert limits.EXCHANGE_CALLS_MAX == EXCHANGE_CALLS_MAX
