"""Crash points of one node of three, leader or follower: the others go on, and it comes back."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.local_cluster import LocalCluster
from tests.crashpoints.points import Found, Point, killing
from tests.crashpoints.script import Script, judge_disk
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

TRANSACTIONS = 30
COMMIT_TIMEOUT_S = 8.0
SERVES_TIMEOUT_S = 60.0

MADE_AT_WORK = {"fdatasync": 12, "pwrite64": 12, "write": 30, "sendmsg": 20}
"""The calls a serving node makes, and how many of each a script surely causes."""


def crash_one_of_three(folder: Path, points: Sequence[Point]) -> Found:
    """Point after point in one cluster, every other one in the leader; all is judged at the end."""
    found = Found()
    cluster = LocalCluster(folder / "three", nodes=3, base_port=0)
    script = Script(COMMIT_TIMEOUT_S)
    cluster.start()
    try:
        for place, point in enumerate(points):
            _crash(cluster, script, point, found, at_leader=place % 2 == 0)
        found.violations += _judge(cluster, script)
    finally:
        cluster.stop()
    last = max(getattr(one, "commit_ts", 0) for one in script.history)
    for node in cluster.nodes:
        found.violations += [f"{node.name}: {one}" for one in judge_disk(node.data, last)]
    return found


def _crash(
    cluster: LocalCluster, script: Script, point: Point, found: Found, *, at_leader: bool
) -> None:
    leader = eventually(cluster.leader, timeout_s=SERVES_TIMEOUT_S, what="a leader") or 0
    number = leader if at_leader else leader % cluster.size + 1
    node = cluster.node(number)
    tracer = _attach(node.pid(), point)
    script.run(cluster.endpoints, TRANSACTIONS, lambda: node.pid() is not None)
    told = f"{point} of {'the leader' if at_leader else 'a follower'}"
    if node.pid() is None:
        found.hit.append(told)
    else:
        found.missed.append(told)
        cluster.kill(number)
    tracer.wait()
    began_s = time.monotonic()
    # The two that are left go on without it.
    script.run(cluster.endpoints, 3, lambda: True)
    cluster.spawn(number)
    cluster.wait(lambda all_: all(one.serving for one in all_), timeout_s=SERVES_TIMEOUT_S)
    found.reopened_s.append(time.monotonic() - began_s)


def _judge(cluster: LocalCluster, script: Script) -> list[str]:
    """What each node tells, once all have applied the same."""

    def heads() -> set[object]:
        told = [report.status for report in cluster.reports()]
        return {None if one is None else (one.commit_ts, one.chain_head) for one in told}

    eventually(
        lambda: len(heads()) == 1 and None not in heads(),
        timeout_s=SERVES_TIMEOUT_S,
        what="one chain head on all nodes",
    )
    return [
        f"{node.name}: {one}" for node in cluster.nodes for one in script.judge(node.client_address)
    ]


def _attach(pid: int | None, point: Point) -> subprocess.Popen[bytes]:
    """Puts the point into a running node; returns once every thread has it."""
    if pid is None:
        raise RuntimeError("the node that was to be killed does not run")
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", *killing(point), "-p", str(pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: _is_traced(pid) or tracer.poll() is not None, what="strace at the node")
    return tracer


def _is_traced(pid: int) -> bool:
    try:
        threads = [
            path.read_text().splitlines() for path in Path(f"/proc/{pid}/task").glob("*/status")
        ]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return all("TracerPid:\t0" not in lines for lines in threads)
