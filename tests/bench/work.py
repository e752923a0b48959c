"""Owns what is measured: kinds of work, by how many callers, with values of which size.

It knows no system, no clock and no figure; which system can do what is the clients' business.
"""

from __future__ import annotations

from dataclasses import dataclass

COMMIT = "commit"
GET = "get"
GET_AT = "as-of get"
MIXED = "get and commit"
REPLAY = "replay"
KINDS = (COMMIT, GET, GET_AT, MIXED, REPLAY)

CALLERS = (1, 16, 64, 256)
SMALL_BYTES = 200
LARGE_BYTES = 4096
THREADS = 16


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to do over and over; `callers` are asyncio tasks, or threads if it says so."""

    kind: str
    callers: int = 1
    value_bytes: int = SMALL_BYTES
    threads: bool = False

    def __str__(self) -> str:
        if self.kind == REPLAY:
            return REPLAY
        callers = "caller" if self.callers == 1 else "threads" if self.threads else "callers"
        size = "" if self.value_bytes == SMALL_BYTES else f", {self.value_bytes:,} B"
        return f"{self.kind}, {self.callers} {callers}{size}"


EVERYTHING = (
    *(Work(COMMIT, callers) for callers in CALLERS),
    Work(COMMIT, THREADS, threads=True),
    Work(COMMIT, 1, LARGE_BYTES),
    Work(COMMIT, 64, LARGE_BYTES),
    *(Work(GET, callers) for callers in CALLERS),
    Work(GET_AT, 1),
    Work(GET_AT, 64),
    Work(MIXED, 64),
    Work(REPLAY),
)

QUICK = (
    *(Work(COMMIT, callers) for callers in CALLERS),
    Work(COMMIT, THREADS, threads=True),
    Work(COMMIT, 64, LARGE_BYTES),
    Work(GET, 1),
    Work(GET, 64),
    Work(GET_AT, 1),
    Work(REPLAY),
)


def chosen(works: tuple[Work, ...], callers: tuple[int, ...]) -> tuple[Work, ...]:
    """Those of so many callers; all if none are named."""
    return tuple(work for work in works if not callers or work.callers in callers)
