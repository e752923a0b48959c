"""The faults of disks and clocks: full, failing and slow disks, wrong wall clocks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from statehouse import Statehouse, StatehouseError
from tests.chaos.cluster import set_clock
from tests.chaos.faults import Fault

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.chaos.cluster import Cluster, Node

EXIT_FAULT = 70
STOPS_ITSELF_WITHIN_S = 10.0
SYNCS = ("fdatasync", "fsync")


class FullDisk(Fault):
    """A node whose disk takes not one byte more stops itself, or refuses writes; it keeps its word.

    Only nodes on a small disk of their own can be struck.
    """

    kind = "full disk"
    leaves_bytes = 0

    def inject(self, cluster: Cluster) -> str:
        small = [node for node in cluster.members if node.small_disk]
        if not small:
            return ""
        self._node = small[self._pick % len(small)]
        if self.at_leader:
            give_lead(cluster, self._node)
        self._fill(self._node.data / "filler")
        return self._node.name

    def heal(self, cluster: Cluster) -> None:
        (self._node.data / "filler").unlink()
        process = self._node.process
        if process is not None and process.poll() is not None:
            cluster.wait_ended(self._node, (EXIT_FAULT,), 0)
            cluster.start(self._node)

    def _fill(self, filler: Path) -> None:
        """Takes all room but what is to be left, while the node goes on writing."""
        disk = os.statvfs(filler.parent)
        wanted = disk.f_bavail * disk.f_frsize - self.leaves_bytes
        taken, step = 0, wanted
        descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while step >= disk.f_frsize and taken < wanted:
                try:
                    os.posix_fallocate(descriptor, taken, step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2
                else:
                    taken += step
        finally:
            os.close(descriptor)


class LowDisk(FullDisk):
    """Less room than the reserve: a leader refuses writes in words, and reads go on."""

    kind = "low disk"
    leaves_bytes = 24 * 1024 * 1024


class SyncFails(Fault):
    """From one moment on no sync succeeds: the node must stop itself, and not try again."""

    kind = "sync fails"

    def inject(self, cluster: Cluster) -> str:
        self._node = self.victim(cluster)
        injections = [f"inject={call}:error=EIO" for call in SYNCS]
        self._tracer = _trace(self._node, injections)
        return self._node.name

    def last(self, cluster: Cluster) -> None:
        cluster.wait_ended(self._node, (EXIT_FAULT,), STOPS_ITSELF_WITHIN_S)
        self._tracer.wait()

    def heal(self, cluster: Cluster) -> None:
        cluster.start(self._node)


class SlowDisk(Fault):
    kind = "slow disk"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._delay_us = draw.choice([5_000, 40_000, 150_000])

    def inject(self, cluster: Cluster) -> str:
        node = self.victim(cluster)
        injections = [f"inject={call}:delay_exit={self._delay_us}" for call in SYNCS]
        self._tracer = _trace(node, injections)
        return f"{node.name}, {self._delay_us // 1000} ms a sync"

    def heal(self, cluster: Cluster) -> None:
        self._tracer.send_signal(signal.SIGINT)
        self._tracer.wait()


class ClockJump(Fault):
    """The leader's wall clock jumps, also backwards: commit times never go back."""

    kind = "clock jump"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._offset_s = draw.choice([-3600, -600, -30, 30, 600, 3600])

    def inject(self, cluster: Cluster) -> str:
        self._node = cluster.wait_leader()
        set_clock(self._node, self._offset_s)
        return f"{self._node.name}, {self._offset_s:+d} s"

    def heal(self, cluster: Cluster) -> None:
        set_clock(self._node, 0)


def give_lead(cluster: Cluster, node: Node) -> None:
    """Asks, as an operator would, that this node leads; whether it does is not certain."""
    with Statehouse(cluster.endpoints, timeout=5.0) as client:
        try:
            if cluster.wait_leader() is not node:
                client.transfer_leadership(node.name)
        except StatehouseError:
            return


def _trace(node: Node, injections: list[str]) -> subprocess.Popen[bytes]:
    """Puts the injections into a running node; returns once every thread has them."""
    if node.process is None:
        raise RuntimeError(f"{node.name} does not run")
    options = [word for injection in injections for word in ("-e", injection)]
    traced = ["-f", "-qq", "-o", os.devnull, "-e", f"trace={','.join(SYNCS)}"]
    tracer = subprocess.Popen(
        ["strace", *traced, *options, "-p", str(node.process.pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while node.process.poll() is None and tracer.poll() is None and not _is_traced(node):
        time.sleep(0.01)
    return tracer


def _is_traced(node: Node) -> bool:
    if node.process is None:
        return False
    status = f"/proc/{node.process.pid}/status"
    try:
        with open(status) as lines:
            return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in lines)
    except (FileNotFoundError, ProcessLookupError):
        return False
