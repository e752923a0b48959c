"""After a fork the child connects anew under a new client id; the parent is not disturbed."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
import warnings

import grpc
import pytest
from statehouse_sdk import Statehouse, StatehouseError, forks

from tests.helpers.waiting import eventually

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(work, timeout_s=60):
    """What `work` returned in a forked child, as text; the child is killed when it hangs."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of forking with threads, which is just what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            text = str(work())
        except BaseException as error:
            text = repr(error)
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    killer = threading.Timer(timeout_s, os.kill, (child, signal.SIGKILL))
    killer.start()
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    killer.cancel()
    return text


@pytest.fixture
def used(elsewhere):
    """A client that is connected and has committed, of a server in another process."""
    with Statehouse(elsewhere, timeout=30) as client:
        put(client, "parent")
        yield client


@pytest.fixture
def prepared(capfd):
    """Fails when gRPC said that it could not prepare a fork: then it may be dead in the child."""
    yield
    assert "fork" not in capfd.readouterr().err


def put(client, key):
    with client.begin_transaction() as tx:
        tx.write("a", key, 1)
    return tx.commit_ts


def test_an_inherited_client_works_in_the_child_and_still_in_the_parent(used):
    assert in_child(lambda: put(used, "child")) == "2"
    assert put(used, "parent again") == 3
    assert used.list_keys("a") == ["child", "parent", "parent again"]


def test_the_child_has_an_identity_of_its_own(used):
    mine = used._session.op_ids._identity.client_id

    def child():
        put(used, "child")
        return used._session.op_ids._identity.client_id.hex()

    told = in_child(child)
    assert len(told) == 32
    assert told != mine.hex()


def test_many_forks_of_an_idle_client_are_all_prepared(used, prepared):
    for number in range(50):
        put(used, "parent again")
        assert in_child(lambda: put(used, "child")) == str(2 * number + 3)


def read(client):
    client.get_state("a", "parent")


def list_keys(client):
    client.list_keys("a")


def replay(client):
    list(client.replay("a"))


@pytest.mark.parametrize("call", [read, list_keys, replay])
def test_a_fork_while_other_threads_call_is_survived(used, prepared, call):
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            call(used)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        told = []
        for number in range(5):
            time.sleep(0.02)
            told.append(in_child(lambda number=number: put(used, f"child{number}")))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert told == ["2", "3", "4", "5", "6"]


def test_a_transaction_belongs_to_the_process_that_began_it(used):
    tx = used.begin_transaction()
    tx.write("a", "k", 1)
    assert "after a fork" in in_child(tx.commit)
    assert tx.commit() == 2


def test_a_replay_goes_on_in_the_parent_and_is_refused_in_the_child(used, prepared):
    put(used, "parent again")
    events = used.replay("a")
    assert next(events).commit_ts == 1
    assert "after a fork" in in_child(lambda: list(events))
    assert in_child(lambda: [event.commit_ts for event in used.replay("a")]) == "[1, 2]"
    assert [event.commit_ts for event in events] == [2]


class Stream:
    """A stream that tells whether it was cancelled."""

    def __init__(self):
        self.cancelled = threading.Event()

    def cancel(self):
        self.cancelled.set()


def assert_a_fork_waits_for(happens, gate):
    """What is set a moment after a fork began is awaited, and the child may call."""
    timer = threading.Timer(0.1, happens.set)
    timer.start()
    gate.before_fork()
    assert happens.is_set()
    gate.after_in_child()
    gate.check()
    timer.join()


async def leave_garbage():
    """A closed channel of asyncio's, held by nobody but itself."""
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    await channel.close()
    garbage = [channel]
    garbage.append(garbage)


def test_what_asyncio_left_is_no_hindrance_before_it_is_collected(used, prepared):
    gc.disable()
    try:
        asyncio.run(leave_garbage())
        assert in_child(lambda: used.list_keys("a")) == "['parent']"
    finally:
        gc.enable()


async def fork_while_asyncio_is_used(work):
    async with grpc.aio.insecure_channel("127.0.0.1:1"):
        return in_child(work)


@pytest.mark.parametrize("frozen", [0, 1])
def test_while_asyncio_uses_grpc_the_child_is_refused_at_once(used, monkeypatch, frozen):
    monkeypatch.setattr(forks, "WAIT_S", 60)
    # What was frozen cannot be looked through.
    monkeypatch.setattr(gc, "get_freeze_count", lambda: frozen)
    began_s = time.monotonic()
    told = asyncio.run(fork_while_asyncio_is_used(lambda: used.list_keys("a")))
    assert "gRPC did not survive the fork" in told
    assert time.monotonic() - began_s < forks.WAIT_S
    assert used.list_keys("a") == ["parent"]


def test_no_stream_is_cancelled_for_a_fork_that_cannot_be_prepared(monkeypatch):
    gate, stream = forks.Gate(), Stream()
    gate.opened(stream)
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", "False")
    gate.before_fork()
    late = Stream()
    gate.opened(late)
    assert not stream.cancelled.is_set()
    assert not late.cancelled.is_set()
    gate.after_in_parent()


def test_the_thread_of_asyncio_is_waited_for_once_nothing_needs_it(monkeypatch):
    monkeypatch.setattr(forks, "WAIT_S", 10)
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait, name="Thread-1 (_poll_wrapper)")
    thread.start()
    assert_a_fork_waits_for(leave, forks.Gate())
    thread.join()


def test_who_cannot_leave_grpc_in_time_makes_the_child_refuse_in_words(used, monkeypatch):
    monkeypatch.setattr(forks, "WAIT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with grpc.insecure_channel(address) as channel:
            # Somebody else's: this client can neither see it nor end it.
            call = channel.unary_stream("/some.other/Service", None, None)(b"")
            told = in_child(lambda: put(used, "child"))
            assert "gRPC did not survive the fork" in told
            assert in_child(used.close) == "None"
            call.cancel()
    eventually(lambda: in_child(lambda: used.list_keys("a")) == "['parent']")


def test_a_thread_that_would_enter_waits_until_the_fork_is_over():
    gate = forks.Gate()
    gate.before_fork()
    entered = threading.Event()

    def enter():
        with gate.passage():
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.1)
    gate.after_in_parent()
    assert entered.wait(10)
    thread.join()


def test_a_thread_inside_is_waited_for(monkeypatch):
    monkeypatch.setattr(forks, "WAIT_S", 10)
    gate = forks.Gate()
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with gate.passage():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    assert inside.wait(10)
    assert_a_fork_waits_for(leave, gate)
    thread.join()


def test_a_stream_opened_after_the_fork_looked_for_them_is_cancelled_too(monkeypatch):
    monkeypatch.setattr(forks, "WAIT_S", 10)
    gate, stream = forks.Gate(), Stream()
    inside, open_now = threading.Event(), threading.Event()

    def open_late():
        with gate.passage():
            inside.set()
            open_now.wait(10)
            gate.opened(stream)
            stream.cancelled.wait(10)

    thread = threading.Thread(target=open_late)
    thread.start()
    assert inside.wait(10)
    assert_a_fork_waits_for(open_now, gate)
    assert stream.cancelled.is_set()
    thread.join()


def test_without_grpcs_preparations_no_child_may_call(monkeypatch):
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", "False")
    gate = forks.Gate()
    gate.before_fork()
    gate.after_in_child()
    with pytest.raises(StatehouseError, match="spawn"):
        gate.check()
    gate.end(lambda: pytest.fail("gRPC is lost, and is entered"))
