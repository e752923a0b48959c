"""Owns the measure of a failover: for how long no commit is acknowledged once the leader is dead.

A few callers commit one thing after the other in a process of their own and note when each was
acknowledged. The leader dies (SIGKILL: the others see its connections close) or falls silent
(SIGSTOP: they see nothing, as when its machine is lost); the time without commits that follows is
the figure. The moments of both processes are those of one machine's monotonic clock.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.failures import BenchFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.servers.interface import Replicated

ROOT = Path(__file__).resolve().parents[2]
BEFORE_S = 1.0
END_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Loss:
    """A way to lose the leader, and how long clients go on afterwards."""

    signal: int
    after_s: float


LOSSES = {"dies": Loss(signal.SIGKILL, 4.0), "falls silent": Loss(signal.SIGSTOP, 8.0)}


def measure(system: str, server: Replicated, loss: Loss, times: int) -> list[float]:
    """Seconds without commits, of so many losses; the server runs and goes on running."""
    return [_one(system, server, loss) for _ in range(times)]


def _one(system: str, server: Replicated, loss: Loss) -> float:
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
                raise BenchFailed(f"{system}: the client ended before its first commit")
            time.sleep(BEFORE_S)
            lost_s = time.monotonic()
            number = server.lose_leader(loss.signal)
            time.sleep(loss.after_s)
            told, _ = client.communicate("", timeout=END_TIMEOUT_S)
        finally:
            client.kill()
    server.revive(number)
    return silence_s(json.loads(told), lost_s)


def silence_s(acknowledged_s: Sequence[float], lost_s: float) -> float:
    """The longest time without an acknowledgement after the loss; raises BenchFailed."""
    ordered = sorted(acknowledged_s)
    if not ordered or ordered[0] >= lost_s or ordered[-1] <= lost_s:
        raise BenchFailed("no commit was acknowledged on both sides of the loss")
    return max(later - max(one, lost_s) for one, later in pairwise(ordered) if later > lost_s)
