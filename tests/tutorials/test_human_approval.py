"""The workers of the second tutorial race, and one of them dies: each refund is paid once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.waiting import eventually

from statehouse import ConflictError, Statehouse
from tests.helpers import markdown

PAGE = Path(__file__).resolve().parents[2] / "docs/tutorials/2-human-approval.md"
REFUNDS = 20
AMOUNT = 7


@pytest.fixture
def desk(cluster, agent_id, monkeypatch):
    """A client of a namespace of the test's own, which the workers use too."""
    monkeypatch.setenv("STATEHOUSE_URL", cluster.endpoints)
    monkeypatch.setenv("STATEHOUSE_NAMESPACE", agent_id)
    with Statehouse() as client:
        yield client


def _start(folder, name):
    return subprocess.Popen(
        [sys.executable, "worker.py", name],
        cwd=folder,
        env=os.environ,
        stdout=subprocess.PIPE,
        text=True,
    )


def _approve(client, number):
    """Two people approve everything; of each refund one of them is the one who did."""
    try:
        with client.begin_transaction(actor="human") as tx:
            tx.write("desk", f"approval/{number}", {}, if_absent=True)
    except ConflictError:
        return 0
    return 1


def test_workers_that_race_pay_each_refund_once(desk, tmp_path):
    markdown.save(markdown.snippets(PAGE.name, PAGE.read_text("utf-8")), tmp_path)
    with desk.begin_transaction() as tx:
        tx.write("bank", "balance", 1000)
        for number in range(REFUNDS):
            tx.write("desk", f"refund/{number}", {"customer": "Ada", "amount": AMOUNT})
    workers = [_start(tmp_path, name) for name in ("anna", "ben", "carol")]
    with ThreadPoolExecutor(2) as humans:
        approved = sum(humans.map(lambda n: _approve(desk, n % REFUNDS), range(2 * REFUNDS)))
    assert approved == REFUNDS
    eventually(
        lambda: len(desk.list_keys("bank", prefix="payment/")) >= 3,
        timeout_s=30,
        what="the first payments",
    )
    workers[0].kill()
    with desk.begin_transaction() as tx:
        tx.write("desk", "closed", True)
    told = [line for worker in workers for line in worker.communicate(timeout=60)[0].splitlines()]

    assert [worker.returncode for worker in workers] == [-9, 0, 0]
    paid = desk.scan_prefix("bank", "payment/")
    assert len(paid) == REFUNDS
    assert {record.version for record in paid} == {1}
    assert desk.get_state("bank", "balance").value == 1000 - REFUNDS * AMOUNT
    assert len(told) == len(set(told)) <= REFUNDS, "what one says it paid, no other says"
    events = list(desk.replay("bank"))
    payments = [op for event in events for op in event.operations if op.key != "balance"]
    assert len(payments) == REFUNDS
    assert all(len(event.metadata.caused_by) == 1 for event in events[1:])
