"""Owns one run over crash points: which points, in which role, and what all of them came to."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.crashpoints.lone import Lone, born, reborn
from tests.crashpoints.points import Found, Point, chosen
from tests.crashpoints.three import MADE_AT_WORK, crash_one_of_three

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REOPENED_S_MAX = 30.0
"""A machine that is busy with other things is slow; a node that is stuck is slower."""

Series = tuple[str, "Callable[[Path, list[Point]], Found]", list[Point]]


@dataclass
class Outcome:
    """What all points came to; green only without violations."""

    points: int = 0
    points_by_role: dict[str, int] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    reopened_s_max: float = 0.0
    violations: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def run(folder: Path, seed: int, points: int | None) -> Outcome:
    """So many points over all roles, drawn from the seed; None: every point of every role.

    The node alone and the cluster of three are broken side by side.
    """
    draw = random.Random(seed)
    node = Lone(folder / "measured")
    calls_born, calls_reborn = node.measure(), node.measure()
    shares = (None, None, None) if points is None else _shares(points)
    series: list[Series] = [
        ("born", born, chosen(calls_born, shares[0], draw)),
        ("reborn", reborn, chosen(calls_reborn, shares[1], draw)),
        ("one of three", crash_one_of_three, chosen(MADE_AT_WORK, shares[2], draw)),
    ]
    outcome = Outcome()
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(broken, folder, at) for _, broken, at in series]
        for (role, _, _), ended in zip(series, running, strict=True):
            _add(outcome, role, ended.result())
    return outcome


def _shares(points: int) -> tuple[int, int, int]:
    reborn_share = three_share = points * 3 // 10
    return points - reborn_share - three_share, reborn_share, three_share


def _add(outcome: Outcome, role: str, found: Found) -> None:
    outcome.points += len(found.hit)
    outcome.points_by_role[role] = len(found.hit)
    outcome.missed += [f"{role}, {point}" for point in found.missed]
    outcome.violations += found.violations
    slowest_s = max(found.reopened_s, default=0.0)
    outcome.reopened_s_max = max(outcome.reopened_s_max, round(slowest_s, 2))
    if slowest_s > REOPENED_S_MAX:
        outcome.violations.append(f"{role}: a node took {slowest_s:.1f} s to come back")
