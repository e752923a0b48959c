"""Ids of transactions are UUIDs, and no two are the same: of threads, of processes, of a fork."""

from __future__ import annotations

import os
import threading
import uuid

import pytest
from statehouse_sdk import txn_ids


def test_they_are_random_uuids():
    parsed = uuid.UUID(txn_ids.new())
    assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    assert str(parsed) == txn_ids.new()[:23] + str(parsed)[23:]


def test_threads_never_share_one():
    taken = []

    def work():
        taken.extend([txn_ids.new() for _ in range(2000)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 16_000


def test_processes_begin_differently():
    assert txn_ids._TxnIds().new()[:23] != txn_ids._TxnIds().new()[:23]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_draws_anew():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, txn_ids.new().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    assert told[:23] != txn_ids.new()[:23]
    assert len(told) == 36
