"""Long reads rest while commits are under way, all of them together, and nothing else changes."""

import asyncio

import grpc
import pytest

from statehouse.rpc.pacing import REST_FACTOR, Pace


class Watch:
    """A clock that only work moves."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class Rests(list):
    """The seconds of every sleep, which end at once."""

    def __init__(self, watch, monkeypatch):
        super().__init__()
        turn = asyncio.sleep

        async def sleep(seconds):
            self.append(seconds)
            watch.now_s += seconds
            await turn(0)

        self.turn = turn
        monkeypatch.setattr("statehouse.rpc.pacing.asyncio.sleep", sleep)


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def rests(watch, monkeypatch):
    return Rests(watch, monkeypatch)


async def reading(watch, turn, steps, seconds):
    for _ in range(steps):
        watch.now_s += seconds
        await turn(0)
    return "read"


def test_a_long_read_rests_for_a_multiple_of_its_work(watch, rests):
    pace = Pace(lambda: True, watch)
    assert asyncio.run(pace_of(pace, reading(watch, rests.turn, 3, 0.01))) == "read"
    assert rests == pytest.approx([0.01 * REST_FACTOR] * 3)


def test_without_commits_it_does_not_rest(watch, rests):
    pace = Pace(lambda: False, watch)
    assert asyncio.run(pace_of(pace, reading(watch, rests.turn, 3, 0.01))) == "read"
    assert rests == []


def test_little_work_is_counted_with_what_follows(watch, rests):
    pace = Pace(lambda: True, watch)
    asyncio.run(pace_of(pace, reading(watch, rests.turn, 10, 0.0004)))
    assert rests == pytest.approx([0.0012 * REST_FACTOR] * 3)


def test_two_long_reads_take_no_more_than_one(watch, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        await turn(0)

    turn = asyncio.sleep
    monkeypatch.setattr("statehouse.rpc.pacing.asyncio.sleep", sleep)
    pace = Pace(lambda: True, watch)

    async def both():
        reads = [pace_of(pace, reading(watch, turn, 1, 0.01)) for _ in range(2)]
        await asyncio.gather(*reads)

    asyncio.run(both())
    # The second one's rest begins where the first one's ends.
    assert slept == pytest.approx([0.01 * REST_FACTOR, 0.02 * REST_FACTOR - 0.01], abs=0.011)
    assert slept[1] > slept[0]


@pytest.mark.parametrize("resting", [True, False])
def test_a_cancelled_read_ends_as_it_would_by_itself(watch, resting):
    ended = []

    async def reads():
        try:
            watch.now_s += 100 if resting else 0
            await (asyncio.sleep(0) if resting else asyncio.sleep(100))
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    async def scenario():
        task = asyncio.create_task(pace_of(Pace(lambda: True, watch), reads()))
        await asyncio.sleep(0.01)
        assert ended == []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert ended == [True]


def test_an_error_of_the_read_is_told_to_its_caller(watch):
    async def reads():
        await asyncio.sleep(0)
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        asyncio.run(pace_of(Pace(lambda: True, watch), reads()))


def test_only_what_streams_its_answer_is_paced(watch):
    async def unary(payload, context):
        return payload

    async def stream(payload, context):
        sent.append(payload)

    sent = []
    single = grpc.unary_unary_rpc_method_handler(unary)
    streamed = grpc.unary_stream_rpc_method_handler(stream)
    paced = Pace(lambda: True, watch).over({"Get": single, "Replay": streamed})
    assert paced["Get"] is single
    assert paced["Replay"].unary_stream is not stream
    asyncio.run(paced["Replay"].unary_stream(b"asked", None))
    assert sent == [b"asked"]


async def pace_of(pace, work):
    return await pace.keep(work)
