"""The faults of wires and processes: each is drawn from a seed, injected, and healed.

A fault draws everything it will need when it is made, so a seed always gives the same schedule; who
leads is found out only when it strikes. Healing takes back what was done; the nemesis then waits
until the cluster has recovered. Faults of disks and clocks are in faults_of_machines.py, those of
operators in faults_of_operators.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from tests.chaos.network import CLIENTS

if TYPE_CHECKING:
    import random

    from tests.chaos.cluster import Cluster, Node

LEADER_SHARE = 0.6
"""Leaders are where it hurts most, so they are struck more often than their share."""


class Fault:
    """One thing that goes wrong for `lasts_s` seconds."""

    kind: ClassVar[str]

    def __init__(self, draw: random.Random) -> None:
        self.lasts_s = draw.uniform(0.8, 3.5)
        self.at_leader = draw.random() < LEADER_SHARE
        self._pick = draw.randrange(1 << 16)

    def inject(self, cluster: Cluster) -> str:
        """Does it; returns to whom, in words."""
        raise NotImplementedError

    def last(self, cluster: Cluster) -> None:
        """Lets it last."""
        time.sleep(self.lasts_s)

    def heal(self, cluster: Cluster) -> None:
        """Takes it back; nothing to do where what was done ends by itself."""

    def victim(self, cluster: Cluster) -> Node:
        """The leader, or the follower that was drawn."""
        leader = cluster.wait_leader()
        if self.at_leader:
            return leader
        return self.other(cluster, leader)

    def other(self, cluster: Cluster, than: Node) -> Node:
        """The member that was drawn among those that are not `than`."""
        others = [node for node in cluster.members if node is not than]
        return others[self._pick % len(others)]


class KillOne(Fault):
    kind = "kill one"

    def inject(self, cluster: Cluster) -> str:
        self._node = self.victim(cluster)
        cluster.kill(self._node)
        return self._node.name

    def heal(self, cluster: Cluster) -> None:
        cluster.start(self._node)


class KillAll(Fault):
    kind = "kill all"

    def inject(self, cluster: Cluster) -> str:
        cluster.kill(*cluster.members)
        return "every node"

    def last(self, cluster: Cluster) -> None:
        time.sleep(self.lasts_s / 4)

    def heal(self, cluster: Cluster) -> None:
        for node in cluster.members:
            cluster.start(node)


class Pause(Fault):
    """The victim does not know that time passed: a leader wakes up and believes it still leads."""

    kind = "pause"

    def inject(self, cluster: Cluster) -> str:
        self._node = self.victim(cluster)
        cluster.pause(self._node)
        return self._node.name

    def heal(self, cluster: Cluster) -> None:
        cluster.resume(self._node)


class PauseMany(Fault):
    """Short stalls in a row, each long enough for an election or just not."""

    kind = "stutter"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._stalls_s = [draw.uniform(0.1, 1.2) for _ in range(4)]

    def inject(self, cluster: Cluster) -> str:
        self._node = self.victim(cluster)
        return self._node.name

    def last(self, cluster: Cluster) -> None:
        for stall_s in self._stalls_s:
            cluster.pause(self._node)
            time.sleep(stall_s)
            cluster.resume(self._node)
            time.sleep(stall_s / 4)


class Healed(Fault):
    """A fault of the wires."""

    def heal(self, cluster: Cluster) -> None:
        cluster.network.heal()


class IsolateFromPeers(Healed):
    """Clients still reach the victim: what it answers must not be stale."""

    kind = "isolate from peers"

    def inject(self, cluster: Cluster) -> str:
        node = self.victim(cluster)
        for other in cluster.members:
            if other is not node:
                cluster.network.cut(node.number, other.number)
        return node.name


class IsolateWholly(Healed):
    kind = "isolate wholly"

    def inject(self, cluster: Cluster) -> str:
        node = self.victim(cluster)
        for other in cluster.members:
            if other is not node:
                cluster.network.cut(node.number, other.number)
        cluster.network.cut(node.number, CLIENTS)
        return node.name


class SplitInHalves(Healed):
    """The leader is with the smaller part, or with the larger one."""

    kind = "split"

    def inject(self, cluster: Cluster) -> str:
        first = self.victim(cluster)
        others = [node for node in cluster.members if node is not first]
        smaller = [first, *others[: (len(others) - 1) // 2]]
        larger = [node for node in others if node not in smaller]
        for node in smaller:
            for other in larger:
                cluster.network.cut(node.number, other.number)
        return f"{_names(smaller)} from {_names(larger)}"


class BridgeOnly(Healed):
    """Two nodes see each other only through a third, which sees both."""

    kind = "broken ring"

    def inject(self, cluster: Cluster) -> str:
        one = self.victim(cluster)
        other = self.other(cluster, one)
        cluster.network.cut(one.number, other.number)
        return f"{one.name} from {other.name}"


class OneWay(Healed):
    kind = "one-way cut"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._deaf = draw.random() < 0.5

    def inject(self, cluster: Cluster) -> str:
        node = self.victim(cluster)
        for other in cluster.members:
            if other is not node:
                ends = (other.number, node.number) if self._deaf else (node.number, other.number)
                cluster.network.cut(*ends, both=False)
        return f"{node.name} hears nobody" if self._deaf else f"nobody hears {node.name}"


class Loss(Healed):
    kind = "packet loss"
    percent: ClassVar[int] = 20

    def inject(self, cluster: Cluster) -> str:
        for node in cluster.members:
            for other in cluster.members:
                if other is not node:
                    cluster.network.lose(node.number, other.number, self.percent)
        return f"{self.percent} % between all nodes"


class Flapping(Healed):
    kind = "flapping"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._beats_s = [draw.uniform(0.1, 0.9) for _ in range(6)]

    def inject(self, cluster: Cluster) -> str:
        self._node = self.victim(cluster)
        return self._node.name

    def last(self, cluster: Cluster) -> None:
        for count, beat_s in enumerate(self._beats_s):
            if count % 2:
                cluster.network.heal()
            else:
                for other in cluster.members:
                    if other is not self._node:
                        cluster.network.cut(self._node.number, other.number)
            time.sleep(beat_s)


class SlowLinks(Healed):
    kind = "slow links"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._rate = draw.choice(["512kbit", "2mbit", "8mbit"])

    def inject(self, cluster: Cluster) -> str:
        for node in cluster.members:
            cluster.network.slow(node.number, self._rate)
        return f"{self._rate} from every node"


class CutAndKill(Healed):
    """The wires are cut and the leader dies in one instant, with slow links full of entries.

    What was under way is lost as well; a kill alone leaves that to the kernel, which delivers it.
    """

    kind = "cut and kill"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        # Longer than an election: the dead leader's kernel still sends what it holds once it can.
        self.lasts_s = draw.uniform(2.5, 4.0)
        self._rate = draw.choice(["1mbit", "4mbit"])

    def inject(self, cluster: Cluster) -> str:
        self._node = cluster.wait_leader()
        cluster.network.slow(self._node.number, self._rate)
        time.sleep(0.5)
        for other in cluster.members:
            if other is not self._node:
                cluster.network.cut(self._node.number, other.number)
        cluster.kill(self._node)
        return self._node.name

    def heal(self, cluster: Cluster) -> None:
        super().heal(cluster)
        cluster.start(self._node)


def _names(nodes: list[Node]) -> str:
    return "+".join(node.name for node in nodes)
