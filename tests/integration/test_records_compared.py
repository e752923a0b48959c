"""A node whose record was changed behind its back finds out from the others, and stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from statehouse import Statehouse
from statehouse.core import codec
from statehouse.core.digest import HASH_BYTES
from statehouse.core.keys import META_STATE, Table, u64
from statehouse.storage.database import Database
from statehouse.storage.directory import StoreDirectory
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.local_cluster import LocalCluster
    from tests.conftest import StartCluster

WAIT_S = 60
COMMITS = 20


def commits(cluster: LocalCluster, number: int) -> int:
    """How far a node is."""
    status = cluster.reports()[number - 1].status
    return 0 if status is None else status.commit_ts


def tamper(data: Path) -> int:
    """Gives the last event another hash, and the head of the chain the same; returns its number."""
    database = Database(StoreDirectory(data / "state").database)
    try:
        row = database.get(Table.META, META_STATE)
        assert row is not None
        state = codec.decode_state(row)
        commit_ts, wrong = state.head.commit_ts, b"\xee" * HASH_BYTES
        event = database.get(Table.EVENTS, u64(commit_ts))
        assert event is not None
        head = msgspec.structs.replace(state.head, chain_hash=wrong)
        changed = codec.encode_state(msgspec.structs.replace(state, head=head))
        database.write(
            [
                (Table.EVENTS, u64(commit_ts), wrong + event[HASH_BYTES:]),
                (Table.META, META_STATE, changed),
            ],
            [],
        )
        database.sync()
        return commit_ts
    finally:
        database.release()


@pytest.mark.slow
def test_a_member_whose_record_differs_stops_and_the_others_go_on(
    fresh_cluster: StartCluster,
) -> None:
    cluster = fresh_cluster(nodes=3)
    with Statehouse(cluster.endpoints, timeout=30) as client:
        for number in range(COMMITS):
            with client.begin_transaction() as tx:
                tx.write("agent", "key", number)
        eventually(lambda: commits(cluster, 3) == COMMITS, timeout_s=WAIT_S, what="n3 to catch up")
        cluster.stop_node(3)
        assert tamper(cluster.node(3).data) == COMMITS
        cluster.spawn(3)
        eventually(lambda: cluster.node(3).pid() is None, timeout_s=WAIT_S, what="the stop of n3")
        told = cluster.node(3).log.read_text()
        assert "Fault: this node stops now" in told
        assert f"at commit_ts {COMMITS} the record of n3 has the hash {'ee' * HASH_BYTES}" in told
        assert "remove n3 from the cluster" in told
        with client.begin_transaction() as tx:
            tx.write("agent", "key", "after")
        assert client.get_state("agent", "key").value == "after"
    for number in (1, 2):
        assert cluster.node(number).pid() is not None
