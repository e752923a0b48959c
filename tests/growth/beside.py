"""Owns what a full replay by one client does to the commits of another.

Both are processes of their own, as they are among users; the figures are commits a second of the
same load, a while without and a while with the replay, turn by turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from tests.growth.processes import cpu_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_cluster import LocalCluster


class Beside(NamedTuple):
    """Commits a second of one load, and events a second of the replay it ran beside."""

    alone: float
    beside: float
    silence_ms: float
    """The longest time without any commit, beside the replay."""
    events: float

    @property
    def slowed(self) -> float:
        """The share of commits lost: 0.3 is 30 %."""
        return 1 - self.beside / self.alone


class Loaded(NamedTuple):
    """What a load did, and what each commit cost the processors of leader and followers."""

    commits_a_second: float
    latency_ms: float
    silence_ms: float
    leader_us: float
    follower_us: float


def load(cluster: LocalCluster, callers: int, seconds: float) -> Loaded:
    """Commits by `callers` at once for so long, on the leader."""
    leader = cluster.leader()
    assert leader is not None, "nobody leads"
    pids = {node.number: node.pid() for node in cluster.nodes}
    before = {number: cpu_s(pid) for number, pid in pids.items() if pid}
    command = ["tests.growth.load", cluster.node(leader).client_address]
    command += ["--callers", str(callers), "--seconds", str(seconds)]
    told = json.loads(subprocess.check_output([sys.executable, "-m", *command]))
    spent = {number: cpu_s(pids[number]) - before[number] for number in before}
    of_leader = spent.pop(leader)
    return Loaded(
        told["commits"] / told["seconds"],
        told["latency_ms"],
        told["silence_ms"],
        of_leader / told["commits"] * 1e6,
        max(spent.values(), default=0.0) / told["commits"] * 1e6,
    )


def measure(cluster: LocalCluster, *, callers: int, seconds: float, rounds: int) -> Beside:
    """A load beside full replays of everything, served by the leader."""
    leader = cluster.leader()
    assert leader is not None, "nobody leads"
    alone, beside, silences, events = [], [], [], []
    for _ in range(rounds):
        alone.append(load(cluster, callers, seconds).commits_a_second)
        with _replaying(cluster.node(leader).client_address) as replayed:
            told = load(cluster, callers, seconds)
        beside.append(told.commits_a_second)
        silences.append(told.silence_ms)
        events.append(replayed[0])
    return Beside(median(alone), median(beside), max(silences), median(events))


@contextmanager
def _replaying(address: str) -> Iterator[list[float]]:
    """A process that replays all there is, again and again; then, its events a second."""
    command = [sys.executable, "-m", "tests.growth.replayer", address]
    replayed: list[float] = []
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "replaying\n"
        yield replayed
    finally:
        said, _ = process.communicate("", timeout=60)
        replayed.append(float(said))
