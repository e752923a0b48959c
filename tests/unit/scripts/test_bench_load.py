"""The load of the bench: what counts, what a failure does, what a silence is."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from tests.bench import processes
from tests.bench.clients import etcd_wire as wire
from tests.bench.failover import silence_s
from tests.bench.failures import BenchFailed
from tests.bench.load import Window, by_tasks, by_threads


def test_only_answers_in_the_window_count():
    window = Window(warm_up_s=0.05, measure_s=0.5)
    asked = 0

    async def call():
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.001)

    asyncio.run(by_tasks([call] * 4, window))
    assert 0 < len(window.took_s) < asked
    assert window.lasted_s >= 0.5
    assert all(took_s >= 0.001 for took_s in window.took_s)


def test_the_edges_of_the_window_are_told():
    edges = []
    window = Window(0.0, 0.01, on_edge=lambda: edges.append(1))
    asyncio.run(by_tasks([lambda: asyncio.sleep(0.001)], window))
    assert len(edges) == 2


def test_a_failing_call_of_a_task_ends_the_load():
    async def fail():
        raise ConnectionError("lost")

    with pytest.raises(ExceptionGroup) as failed:
        asyncio.run(by_tasks([fail], Window(60.0, 60.0)))
    assert failed.group_contains(ConnectionError, match="lost")


def test_threads_ask_at_the_same_time():
    together = threading.Barrier(4, timeout=10)
    met = set()

    def call():
        if threading.get_ident() not in met:
            together.wait()
            met.add(threading.get_ident())
        time.sleep(0.001)

    window = Window(0.0, 0.5)
    by_threads([call] * 4, window)
    assert len(met) == 4
    assert window.took_s


def test_a_failing_call_of_a_thread_is_raised():
    def fail():
        raise ConnectionError("lost")

    with pytest.raises(ConnectionError, match="lost"):
        by_threads([fail], Window(0.0, 0.01))


def test_the_silence_is_the_longest_wait_after_the_loss():
    before = [1.0, 1.1, 5.0]
    assert silence_s([*before, 7.5, 7.6, 9.0], lost_s=5.0) == 2.5
    # What was acknowledged just after the loss was on its way already.
    assert silence_s([*before, 5.01, 7.5], lost_s=5.005) == pytest.approx(2.49)
    # The wait before the loss is not its doing.
    assert silence_s([1.0, 5.0, 5.5], lost_s=4.8) == 0.5


@pytest.mark.parametrize("acknowledged_s", [[], [1.0, 2.0], [6.0, 7.0]])
def test_a_silence_needs_commits_on_both_sides(acknowledged_s):
    with pytest.raises(BenchFailed, match="on both sides"):
        silence_s(acknowledged_s, lost_s=5.0)


def test_the_processor_time_of_a_process_is_read_from_the_kernel():
    usage = processes.Usage([os.getpid()])
    usage.read()
    # By either count: the kernel's, of other processes, goes by ticks and may run ahead.
    counts = (time.process_time, lambda: processes.processor_s([os.getpid()]))
    begun_s = [count() for count in counts]
    deadline_s = time.monotonic() + 10.0
    while min(count() - begun for count, begun in zip(counts, begun_s, strict=True)) < 0.03:
        assert time.monotonic() < deadline_s
        sum(range(10_000))
    usage.read()
    spent = usage.spent()
    assert spent.client_s >= 0.03
    assert spent.server_s >= 0.03
    assert 0.0 <= spent.others <= 1.1


def test_a_process_that_is_gone_has_no_processor_time():
    assert processes.processor_s([2**22 + 1]) == 0.0


def test_messages_of_etcd_have_the_bytes_of_its_protocol():
    assert wire.PutRequest(key=b"k", value=b"v").SerializeToString() == b"\x0a\x01k\x12\x01v"
    asked = wire.RangeRequest(key=b"k", revision=7)
    assert asked.SerializeToString() == b"\x0a\x01k\x20\x07"
    answered = wire.RangeResponse.FromString(b"\x0a\x02\x18\x05\x12\x06\x0a\x01k\x2a\x01v\x18\x00")
    assert answered.header.revision == 5
    assert answered.kvs[0].value == b"v"
