"""Owns the order of a run: rounds, and in each every system in its turn, alone on the machine.

A round begins with another system each time, so that none is always the first. Each turn starts the
servers, one client process that does all work, and stops the servers again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.client import Job
from tests.bench.failures import BenchFailed
from tests.bench.figures import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.bench.results import Results
    from tests.bench.servers.interface import Server
    from tests.bench.work import Work

ROOT = Path(__file__).resolve().parents[2]
TURN_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it."""

    rounds: int
    works: tuple[Work, ...]
    warm_up_s: float
    measure_s: float
    history_events: int


def turns(systems: list[str], rounds: int) -> list[tuple[int, str]]:
    """Round and system, in the order they are to run."""
    return [
        (number, system)
        for number in range(rounds)
        for first in [number % len(systems)]
        for system in systems[first:] + systems[:first]
    ]


def run(
    servers: Mapping[str, Server], plan: Plan, results: Results, tell: Callable[[str], None]
) -> None:
    """Runs all rounds and adds their samples to the results."""
    for number, system in turns(list(servers), plan.rounds):
        began_s = time.monotonic()
        samples = _turn(system, servers[system], plan, history_is_there=number > 0)
        results.samples.setdefault(system, []).extend(samples)
        took_s = time.monotonic() - began_s
        tell(f"round {number + 1} of {plan.rounds}: {system}, {took_s:.0f} s")


def _turn(system: str, server: Server, plan: Plan, *, history_is_there: bool) -> list[Sample]:
    try:
        server.start()
        job = Job(
            system=system,
            address=server.address,
            server_pids=server.pids,
            works=list(plan.works),
            warm_up_s=plan.warm_up_s,
            measure_s=plan.measure_s,
            history_events=plan.history_events,
            history_is_there=history_is_there,
        )
        return _measure(job)
    finally:
        server.stop()


def _measure(job: Job) -> list[Sample]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.client"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=TURN_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise BenchFailed(f"the client of {job.system} failed:\n{done.stderr}")
    return [Sample.from_dict(json.loads(line)) for line in done.stdout.splitlines()]
