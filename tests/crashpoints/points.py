"""Owns the points at which a node is killed: the N-th time one of its threads makes a system call.

strace kills the process as that thread enters the call, so the call itself is not made any more.
How often each call is made is measured on a run that is let live. (With --seccomp-bpf strace 6.1
would be quicker, and inject nothing.)
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from pathlib import Path

CALLS = (
    "fdatasync",
    "fsync",
    "rename",
    "pwrite64",
    "write",
    "unlink",
    "ftruncate",
    "mkdir",
    "sendmsg",
)
"""What changes a disk, and what tells others about it."""

_LINE = re.compile(r"^(\d+) +([a-z0-9_]+)\(", re.MULTILINE)


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """`call` is about to be made by a thread that made it `number` - 1 times."""

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} {self.number}"


@dataclass
class Found:
    """What a series of points came to."""

    hit: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Points the run did not reach: they prove nothing."""
    reopened_s: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def missing() -> str:
    """Why no process can be killed at a point here, in a sentence; empty: it can."""
    return "" if shutil.which("strace") else "the Debian package strace is not installed"


def killing(point: Point) -> list[str]:
    """The strace options that kill at the point."""
    injection = f"inject={point.call}:signal=KILL:when={point.number}"
    return ["-e", f"trace={point.call}", "-e", injection, "-o", "/dev/null"]


def counting(trace: Path) -> list[str]:
    """The strace options that only note calls."""
    return ["-e", f"trace={','.join(CALLS)}", "-e", "signal=none", "-o", str(trace)]


def counted(trace: Path) -> dict[str, int]:
    """How often the thread that made each call most often made it."""
    made = Counter(_LINE.findall(trace.read_text()))
    return {call: max([n for (_, c), n in made.items() if c == call], default=0) for call in CALLS}


def chosen(counts: dict[str, int], how_many: int | None, draw: random.Random) -> list[Point]:
    """So many points, spread evenly over the calls and over the run; None: every one."""
    by_call = {c: [Point(c, n) for n in range(1, most + 1)] for c, most in counts.items() if most}
    if how_many is None:
        return [point for points in by_call.values() for point in points]
    picked: list[Point] = []
    calls = list(by_call)
    for place in range(how_many):
        rest = [point for point in by_call[calls[place % len(calls)]] if point not in picked]
        picked += draw.sample(rest, min(1, len(rest)))
    return picked
