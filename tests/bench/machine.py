"""Owns what is told of the machine the bench ran on, the cost of a sync of its disk included."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from statistics import median

SYNCS = 200
SYNC_BYTES = 4096


def describe(folder: Path) -> dict[str, str]:
    """Processors, memory, system, and the disk below the folder, as lines for the reader."""
    return {
        "processors": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{_memory_bytes() / 2**30:.0f} GiB",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "disk": f"{_file_system(folder)}, fdatasync of 4 KiB: {_sync_us(folder):.0f} us (median)",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _file_system(folder: Path) -> str:
    """The type of the mounted file system that is nearest above the folder."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    within = folder.resolve()
    above = [fields for fields in mounts if within.is_relative_to(fields[1])]
    return max(above, key=lambda fields: len(fields[1]))[2] if above else "unknown"


def _sync_us(folder: Path) -> float:
    probe = folder / "sync"
    took_us = []
    with probe.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(SYNC_BYTES))
            began_ns = time.perf_counter_ns()
            os.fdatasync(file.fileno())
            took_us.append((time.perf_counter_ns() - began_ns) / 1000)
    probe.unlink()
    return median(took_us)
