"""Crash points of a node alone: at its birth, in its work, at its end, and in its recovery.

`born`: each point on a new directory, and the node is then opened in peace. `reborn`: one directory
lives through point after point, so the recovery from each crash is what the next one hits.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from scripts.local_cluster import free_base_port
from statehouse import Statehouse, StatehouseError
from tests.crashpoints.points import Found, Point, counted, counting, killing
from tests.crashpoints.script import Script, judge_disk

if TYPE_CHECKING:
    from pathlib import Path

TRANSACTIONS = 40
FIRST_CRASH = Point("sendmsg", 20)
END_TIMEOUT_S = 40.0
LEAD_TIMEOUT_S = 40.0
ASK_TIMEOUT_S = 0.5
POLL_INTERVAL_S = 0.02


class Lone:
    """A cluster of one in a folder; its process is killed at points."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        folder.mkdir(parents=True)
        self._port = free_base_port(1)
        self._address = f"127.0.0.1:{self._port}"
        self.script = Script()

    def live(self, tracing: list[str]) -> bool:
        """One life under strace, from start to stop; False if it was killed on the way."""
        strace = ["strace", "-D", "-f", "-qq"]
        with self._start([*strace, *tracing]) as process:
            if self._leads(process):
                self.script.run(self._address, TRANSACTIONS, lambda: process.poll() is None)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            code = process.wait(END_TIMEOUT_S)
        if code not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the node ended with exit code {code}: see {self._folder / 'log'}")
        return code == 0

    def measure(self) -> dict[str, int]:
        """How often each call is made in one life."""
        trace = self._folder / "trace"
        if not self.live(counting(trace)):
            raise RuntimeError(f"the node was killed by nobody: see {self._folder / 'log'}")
        return counted(trace)

    def reopen_and_judge(self) -> tuple[float, list[str]]:
        """Seconds until it leads again after a crash, and what is wrong with what it tells."""
        began_s = time.monotonic()
        with self._start([]) as process:
            if not self._leads(process):
                process.kill()
                return 0.0, [f"the node does not open its directory: see {self._folder / 'log'}"]
            reopened_s = time.monotonic() - began_s
            # A write that is acknowledged now must come after everything that is judged.
            self.script.run(self._address, 1, lambda: True)
            violations = self.script.judge(self._address)
            process.send_signal(signal.SIGTERM)
            if process.wait(END_TIMEOUT_S) != 0:
                violations.append(f"the reopened node did not stop: see {self._folder / 'log'}")
        last = max(getattr(one, "commit_ts", 0) for one in self.script.history)
        return reopened_s, violations + judge_disk(self._data, last)

    def _start(self, before: list[str]) -> subprocess.Popen[bytes]:
        place = ["--data", str(self._data), "--listen", self._address]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*before, sys.executable, "-m", "statehouse.daemon", *place],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _leads(self, process: subprocess.Popen[bytes]) -> bool:
        """Waits until the node leads itself; False if it ends before."""
        deadline = time.monotonic() + LEAD_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            with Statehouse(self._address, timeout=ASK_TIMEOUT_S) as client:
                try:
                    if client.cluster_status(self._address).role == "leader":
                        return True
                except StatehouseError:
                    pass
            time.sleep(POLL_INTERVAL_S)
        return False


def born(folder: Path, points: list[Point]) -> Found:
    """Each point in the life of a new node."""
    found = Found()
    for point in points:
        node = Lone(folder / str(point).replace(" ", "-"))
        _live(node, point, found)
        reopened_s, violations = node.reopen_and_judge()
        found.reopened_s.append(reopened_s)
        found.violations += [f"born, {point}: {one}" for one in violations]
    return found


def reborn(folder: Path, points: list[Point]) -> Found:
    """Point after point in one directory; judged after every few, so that recoveries add up."""
    found = Found()
    node = Lone(folder / "reborn")
    node.live(killing(FIRST_CRASH))
    for place, point in enumerate(points, 1):
        _live(node, point, found)
        if place % 3 == 0 or place == len(points):
            reopened_s, violations = node.reopen_and_judge()
            found.reopened_s.append(reopened_s)
            found.violations += [f"reborn, {point} or before: {one}" for one in violations]
    return found


def _live(node: Lone, point: Point, found: Found) -> None:
    reached = not node.live(killing(point))
    (found.hit if reached else found.missed).append(str(point))
