"""Owns the measure of a failover: for how long no commit is acknowledged once the leader is dead.

A few callers commit one thing after the other in a process of their own and note when each was
acknowledged. The leader is killed with SIGKILL; the silence that follows is the figure. The moments
of both processes are those of one machine's monotonic clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.failures import BenchFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.servers.interface import Replicated

ROOT = Path(__file__).resolve().parents[2]
BEFORE_S = 1.0
AFTER_S = 4.0
"""Twice what an election takes, and then some: a silence that lasts to the end is an error."""

END_TIMEOUT_S = 60.0


def measure(system: str, server: Replicated, times: int) -> list[float]:
    """Seconds of silence, of so many kills of leaders; the server runs and goes on running."""
    return [_one(system, server) for _ in range(times)]


def _one(system: str, server: Replicated) -> float:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.failover_client", system, server.addresses],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as client:
        try:
            # It says a line when its first commit is acknowledged.
            if client.stdout is None or not client.stdout.readline():
                raise BenchFailed(
                    f"{system}: the client of the failover ended before its first commit"
                )
            time.sleep(BEFORE_S)
            killed_s = time.monotonic()
            number = server.kill_leader()
            time.sleep(AFTER_S)
            told, _ = client.communicate("", timeout=END_TIMEOUT_S)
        finally:
            client.kill()
    server.revive(number)
    return silence_s(json.loads(told), killed_s)


def silence_s(acknowledged_s: Sequence[float], killed_s: float) -> float:
    """The longest time without an acknowledgement after the kill; raises BenchFailed."""
    ordered = sorted(acknowledged_s)
    if not ordered or ordered[0] >= killed_s or ordered[-1] <= killed_s:
        raise BenchFailed("no commit was acknowledged on both sides of the kill")
    return max(later - max(one, killed_s) for one, later in pairwise(ordered) if later > killed_s)
