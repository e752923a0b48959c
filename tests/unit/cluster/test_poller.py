import os
import socket
import threading

import pytest
from statehouse_cluster.poller import ERROR, READ, WRITE, Poller, Wakeup

from tests.helpers.waiting import eventually


@pytest.fixture
def poller():
    poller = Poller()
    yield poller
    poller.close()


@pytest.fixture
def pair():
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_what_can_be_read_or_written_is_told_until_it_is_done(poller, pair):
    seen = []
    poller.subscribe(pair[0].fileno(), lambda _, mask: seen.append(mask), READ)
    poller.poll(0)
    pair[1].send(b"x")
    poller.poll(1)
    poller.poll(1)
    assert seen == [READ, READ]
    poller.modify(pair[0].fileno(), READ | WRITE)
    poller.poll(1)
    assert seen[2:] == [READ | WRITE]
    poller.unsubscribe(pair[0].fileno())
    poller.poll(0)
    assert len(seen) == 3


def test_the_other_side_going_away_is_told_without_asking(poller, pair):
    seen = []
    poller.subscribe(pair[0].fileno(), lambda _, mask: seen.append(mask), WRITE)
    pair[1].close()
    poller.poll(1)
    assert seen[0] & ERROR


def test_a_callback_removed_within_a_batch_is_not_called(poller, pair):
    seen = []

    def remove_the_other(descriptor, _):
        seen.append(descriptor)
        for end in pair:
            if end.fileno() != descriptor:
                poller.unsubscribe(end.fileno())

    for end in pair:
        poller.subscribe(end.fileno(), remove_the_other, WRITE)
    poller.poll(1)
    assert len(seen) == 1


def test_a_reused_number_does_not_get_the_event_of_the_file_before(poller, pair):
    seen = []

    def replace_the_other(descriptor, _):
        other = next(end for end in pair if end.fileno() != descriptor)
        number = other.fileno()
        poller.unsubscribe(number)
        other.close()
        fresh = socket.socket()
        sockets.append(fresh)
        assert fresh.fileno() == number, "the kernel gives the lowest free number"
        poller.subscribe(number, lambda *_: seen.append("fresh"), READ)
        seen.append("old")

    sockets = []
    for end in pair:
        poller.subscribe(end.fileno(), replace_the_other, WRITE)
    poller.poll(1)
    assert seen == ["old"]
    for one in sockets:
        poller.unsubscribe(one.fileno())
        one.close()


def test_unsubscribing_what_is_closed_or_unknown_does_nothing(poller):
    one = socket.socket()
    number = one.fileno()
    poller.subscribe(number, lambda *_: None, READ)
    one.close()
    poller.unsubscribe(number)
    poller.unsubscribe(number)


def test_subscribing_again_replaces_the_callback(poller, pair):
    seen = []
    for name in ("first", "second"):
        poller.subscribe(pair[0].fileno(), lambda _, __, name=name: seen.append(name), WRITE)
    poller.poll(1)
    assert seen == ["second"]


def test_an_error_of_a_callback_reaches_the_owner(poller, pair):
    def fail(*_):
        raise RuntimeError("from the callback")

    poller.subscribe(pair[0].fileno(), fail, WRITE)
    with pytest.raises(RuntimeError, match="from the callback"):
        poller.poll(1)


def test_many_sets_before_a_poll_make_one_call(poller):
    calls = []
    wakeup = Wakeup(poller, lambda: calls.append(1))
    threads = [threading.Thread(target=wakeup.set) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    poller.poll(1)
    poller.poll(0)
    assert calls == [1]
    wakeup.close()


def test_a_set_during_the_call_wakes_again(poller):
    calls = []

    def on_wake():
        calls.append(1)
        if len(calls) < 3:
            wakeup.set()

    wakeup = Wakeup(poller, on_wake)
    wakeup.set()
    for _ in range(4):
        poller.poll(0)
    assert len(calls) == 3
    wakeup.close()


def test_a_set_from_another_thread_ends_a_long_wait(poller):
    calls = []
    wakeup = Wakeup(poller, lambda: calls.append(1))
    waiter = threading.Thread(target=poller.poll, args=(30.0,))
    waiter.start()
    wakeup.set()
    waiter.join(10)
    assert not waiter.is_alive()
    assert calls == [1]
    wakeup.close()


def test_a_set_after_the_end_touches_no_file_of_somebody_else(poller):
    wakeup = Wakeup(poller, lambda: None)
    wakeup.close()
    wakeup.close()
    reader, writer = os.pipe()
    wakeup.set()
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 8)
    os.close(reader)
    os.close(writer)


def test_no_descriptor_is_left_over():
    before = len(os.listdir("/proc/self/fd"))
    poller = Poller()
    Wakeup(poller, lambda: None).close()
    poller.close()
    eventually(lambda: len(os.listdir("/proc/self/fd")) == before)
