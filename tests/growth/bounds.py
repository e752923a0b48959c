"""Owns what growth may cost: the bounds that tests and scripts/growth.py hold every figure against.

A bound is told as a sentence, so that what is broken can be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.growth.beside import Beside
    from tests.growth.clusters import Join
    from tests.growth.starting import Start

COST_FACTOR_MAX = 1.5
START_S_MAX = 5.0
IDLE_MEMORY_MIB_MAX = 250.0
SLOWED_MAX = 0.30
JOIN_MEGABYTES_A_SECOND_MIN = 50.0
ELECTION_S = 1.0
"""The least silence after which a follower may campaign, as Timing has it."""


def costs(small: tuple[float, ...], large: tuple[float, ...], names: tuple[str, ...]) -> Iterator:
    """What costs more than it may in the larger store."""
    for name, before, after in zip(names, small, large, strict=True):
        if after > before * COST_FACTOR_MAX:
            yield f"{name} grew from {before:.1f} to {after:.1f}, more than {COST_FACTOR_MAX} times"


def start(told: Start) -> Iterator[str]:
    if told.seconds > START_S_MAX:
        yield f"the start took {told.seconds:.1f} s, more than {START_S_MAX}"
    if told.memory_mib > IDLE_MEMORY_MIB_MAX:
        yield f"the idle node holds {told.memory_mib:.0f} MiB, more than {IDLE_MEMORY_MIB_MAX:.0f}"


def beside(told: Beside) -> Iterator[str]:
    if told.slowed > SLOWED_MAX:
        yield f"a replay slowed commits by {told.slowed:.0%}, more than {SLOWED_MAX:.0%}"


def join(told: Join) -> Iterator[str]:
    if told.megabytes_a_second < JOIN_MEGABYTES_A_SECOND_MIN:
        yield (
            f"the snapshot came with {told.megabytes_a_second:.0f} MB/s, less than "
            f"{JOIN_MEGABYTES_A_SECOND_MIN:.0f}"
        )
    if told.silence_s >= ELECTION_S or told.terms:
        yield (
            f"the leader was silent for {told.silence_s:.2f} s and {told.terms} elections were "
            "held; none may be"
        )
