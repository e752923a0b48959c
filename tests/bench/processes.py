"""Owns what the kernel tells of processor time: of servers and their children, and of all there is.

What others use while something is measured belongs to a figure: on a busy machine it is a bad one.
"""

from __future__ import annotations

import os
import time
from operator import sub
from pathlib import Path

from tests.bench.figures import Spent

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def processor_s(pids: list[int]) -> float:
    """Seconds of processor time that these processes and all below them have used so far."""
    parents, used_ticks = _all_processes()
    wanted = set(pids)
    total = 0
    for pid, ticks in used_ticks.items():
        ancestor: int | None = pid
        while ancestor and ancestor not in wanted:
            ancestor = parents.get(ancestor)
        if ancestor:
            total += ticks
    return total / TICKS_A_SECOND


def _all_processes() -> tuple[dict[int, int], dict[int, int]]:
    parents, used_ticks = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The second field, the program's name, may hold anything: read on after its bracket.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(folder.name)
        parents[pid] = int(fields[1])
        used_ticks[pid] = int(fields[11]) + int(fields[12])
    return parents, used_ticks


def _busy_s() -> float:
    """Seconds of processor time that anything has used since boot, the hypervisor included."""
    user, nice, system, _idle, _waiting, *interrupts = _first_line_of_stat()
    return (user + nice + system + sum(interrupts[:3])) / TICKS_A_SECOND


def _first_line_of_stat() -> list[int]:
    with Path("/proc/stat").open() as lines:
        return [int(field) for field in lines.readline().split()[1:]]


class Usage:
    """Processor time between the first `read` and the last."""

    def __init__(self, server_pids: list[int]) -> None:
        self._server_pids = server_pids
        self._readings: list[tuple[float, float, float, float]] = []

    def read(self) -> None:
        """Takes a reading."""
        server_s = processor_s(self._server_pids)
        self._readings.append((time.perf_counter(), time.process_time(), server_s, _busy_s()))

    def spent(self) -> Spent:
        """By whom."""
        first, last = self._readings[0], self._readings[-1]
        lasted_s, client_s, server_s, busy_s = map(sub, last, first)
        there_is_s = lasted_s * (os.cpu_count() or 1)
        # The kernel counts in ticks, so a little may be missing.
        return Spent(client_s, server_s, max(0.0, busy_s - client_s - server_s) / there_is_s)
