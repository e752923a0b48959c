"""Owns what the kernel tells of processes: the processor time of servers and their children."""

from __future__ import annotations

import os
import time
from pathlib import Path

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


class Usage:
    """Processor time of this process and of servers between the first `read` and the last."""

    def __init__(self, server_pids: list[int]) -> None:
        self._server_pids = server_pids
        self._readings: list[tuple[float, float]] = []

    def read(self) -> None:
        """Takes a reading."""
        self._readings.append((time.process_time(), processor_s(self._server_pids)))

    @property
    def client_s(self) -> float:
        return self._readings[-1][0] - self._readings[0][0]

    @property
    def server_s(self) -> float:
        return self._readings[-1][1] - self._readings[0][1]
