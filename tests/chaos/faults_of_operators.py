"""What operators do while clients work: restarts, hand-overs, members that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse import Statehouse, StatehouseError
from tests.chaos.cluster import NotReached, lose_disk
from tests.chaos.faults import Fault
from tests.chaos.faults_of_machines import give_lead

if TYPE_CHECKING:
    from tests.chaos.cluster import Cluster, Node

CHANGE_TIMEOUT_S = 45.0
SERVES_AGAIN_WITHIN_S = 20.0


class Operation(Fault):
    """Something planned: it lasts as long as it takes."""

    def last(self, cluster: Cluster) -> None:
        """Nothing more is to come."""


class HandOver(Operation):
    kind = "hand-over"

    def inject(self, cluster: Cluster) -> str:
        leader = cluster.wait_leader()
        target = self.other(cluster, leader)
        give_lead(cluster, target)
        return f"{leader.name} to {target.name}"


class RollingRestart(Operation):
    """Every node is stopped and started, one after the other, the next when all serve again."""

    kind = "rolling restart"

    def inject(self, cluster: Cluster) -> str:
        for node in cluster.members:
            cluster.stop(node)
            cluster.start(node)
            otherwise = f"{node.name} does not serve again"
            cluster.wait_until(cluster.serving, otherwise, SERVES_AGAIN_WITHIN_S)
        return "every node in turn"


class ReplaceMember(Operation):
    """A node that lost its disk is removed, and a new one under a new name is added for it."""

    kind = "replace a member"

    def inject(self, cluster: Cluster) -> str:
        node = self.victim(cluster)
        cluster.kill(node)
        lose_disk(node)
        return f"{node.name} by {replace(cluster, node).name}"


class GrowAndShrink(Operation):
    """A member is added first, then another, perhaps the leader, is removed while it runs."""

    kind = "grow and shrink"

    def inject(self, cluster: Cluster) -> str:
        spare = cluster.spare()
        cluster.start(spare)
        add(cluster, spare)
        node = self.victim(cluster)
        remove(cluster, node)
        cluster.forget(node)
        return f"{spare.name} came, {node.name} went"


def replace(cluster: Cluster, node: Node) -> Node:
    """Removes a member that does not run and adds a new one for it."""
    remove(cluster, node)
    cluster.forget(node)
    spare = cluster.spare()
    cluster.start(spare)
    add(cluster, spare)
    return spare


def add(cluster: Cluster, node: Node) -> None:
    """Adds a node that waits; asks again until the cluster says that it votes."""
    otherwise = f"{node.name} does not answer"
    cluster.wait_until(lambda: cluster.status(node) is not None, otherwise, CHANGE_TIMEOUT_S)

    def ask(client: Statehouse) -> None:
        for _ in client.add_member(node.peer_address):
            pass

    cluster.wait_until(
        lambda: _changed(cluster, node, ask, wanted=True),
        f"{node.name} was not added",
        CHANGE_TIMEOUT_S,
    )


def remove(cluster: Cluster, node: Node) -> None:
    """Removes a member; asks again until the cluster says that it is none."""
    cluster.wait_until(
        lambda: _changed(cluster, node, lambda c: c.remove_member(node.name), wanted=False),
        f"{node.name} was not removed",
        CHANGE_TIMEOUT_S,
    )


def _changed(cluster: Cluster, node: Node, ask: object, *, wanted: bool) -> bool:
    if _is_voter(cluster, node) == wanted:
        return True
    others = ",".join(other.client_address for other in cluster.members if other is not node)
    with Statehouse(others, timeout=15.0) as client:
        try:
            ask(client)  # type: ignore[operator]  # one of the two above
        except StatehouseError:
            return False
    return _is_voter(cluster, node) == wanted


def _is_voter(cluster: Cluster, node: Node) -> bool:
    try:
        status = cluster.status(cluster.wait_leader())
    except NotReached:
        return False
    told = () if status is None else status.members
    return any(member.name == node.name and member.voter for member in told)
