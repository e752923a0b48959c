"""Nodes come and go while clients write; a removed node stops serving and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from statehouse_proto.v2.cluster_pb2 import ROLE_REMOVED

from statehouse import Statehouse, StatehouseError
from tests.helpers.waiting import eventually
from tests.helpers.workload import Writers, check_record

if TYPE_CHECKING:
    from scripts.local_cluster import LocalCluster
    from tests.conftest import StartCluster


def status_of(cluster: LocalCluster, number: int) -> object:
    def answer() -> object:
        return next(r.status for r in cluster.reports() if r.node.number == number)

    return eventually(answer, what=f"an answer of n{number}")


def members_of(cluster: LocalCluster) -> set[str]:
    """As the leader tells them."""
    leader = eventually(cluster.leader, what="a leader")
    return {member.name for member in status_of(cluster, leader).members}


@pytest.mark.slow
def test_a_fourth_node_joins_and_the_first_leaves_under_load(fresh_cluster: StartCluster) -> None:
    cluster = fresh_cluster(nodes=3)
    with Statehouse(cluster.endpoints, timeout=30) as client:
        writers = Writers(client, 4)
        writers.start()
        try:
            cluster.join(4)
            phases = [step.phase for step in client.add_member(cluster.node(4).peer_address)]
            assert phases[-1] == "voting"
            client.remove_member("n1")
            eventually(
                lambda: status_of(cluster, 1).role == ROLE_REMOVED, timeout_s=15, what="n1 removed"
            )
        finally:
            writers.stop()
        assert members_of(cluster) == {"n2", "n3", "n4"}
        check_record(client, writers.notes)
        assert writers.acknowledged_count > 50
    with (
        Statehouse(cluster.node(1).client_address, timeout=3) as removed,
        pytest.raises(StatehouseError, match="removed"),
    ):
        removed.get_state("workload", "writer-0")


@pytest.mark.slow
def test_a_lost_node_is_replaced_under_a_new_name(fresh_cluster: StartCluster) -> None:
    cluster = fresh_cluster(nodes=3)
    with Statehouse(cluster.endpoints, timeout=30) as client:
        with client.begin_transaction() as tx:
            tx.write("agent", "key", {"kept": True})
        cluster.kill(3)
        client.remove_member("n3")
        cluster.join(4)
        list(client.add_member(cluster.node(4).peer_address))
        assert members_of(cluster) == {"n1", "n2", "n4"}
        eventually(
            lambda: status_of(cluster, 4).commit_ts == status_of(cluster, 1).commit_ts,
            timeout_s=10,
            what="the new node's history",
        )


@pytest.mark.slow
def test_leadership_is_handed_over_while_clients_write(fresh_cluster: StartCluster) -> None:
    cluster = fresh_cluster(nodes=3)
    with Statehouse(cluster.endpoints, timeout=30) as client:
        writers = Writers(client, 4)
        writers.start()
        try:
            for _ in range(3):
                before = client.cluster_status().leader_name
                target = next(name for name in ("n1", "n2", "n3") if name != before)
                client.transfer_leadership(target)
                eventually(
                    lambda target=target: client.cluster_status().leader_name == target,
                    what=f"{target} leading",
                )
        finally:
            writers.stop()
        check_record(client, writers.notes)
        assert [notes.refused for notes in writers.notes.values()] == [set()] * 4
