"""After a fork the child connects anew under a new client id; the parent is not disturbed."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings

import pytest
from statehouse_sdk import Statehouse

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


def test_a_fork_while_other_threads_call_is_survived(used):
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            used.get_state("a", "parent")

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
