"""Owns what a lone caller of the SDK sees of a node, by the size of its store.

Medians of many calls, in microseconds, each with its way over gRPC, for that is what users pay.
"""

from __future__ import annotations

import random
import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from statehouse import Statehouse
from tests.growth.costs import agent_with
from tests.growth.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

_CALLS = 400
_REPLAYED_EVENTS = 2000


class Seen(NamedTuple):
    """Microseconds: of a commit, a get, an as-of get, and of each event of an agent's replay."""

    commit_us: float
    get_us: float
    get_at_us: float
    replay_us: float


def measure(address: str) -> Seen:
    """What one caller sees of the node at `address`, on a store of tests.growth."""
    with Statehouse(address, namespace="default", timeout=30) as client:
        writer, draw = Writer(seed=4), random.Random(4)
        newest = client.cluster_status().commit_ts

        def commit() -> None:
            tx = client.begin_transaction()
            tx.write(*writer.place(), {"value": draw.random()})
            tx.commit()

        agent_id = agent_with(newest, _REPLAYED_EVENTS)
        return Seen(
            _median_us(commit),
            _median_us(lambda: client.get_state(*writer.place())),
            _median_us(lambda: client.get_state(*writer.place(), at=draw.randrange(1, newest))),
            _replay_us(lambda: sum(1 for _ in client.replay(agent_id))),
        )


def _median_us(call: Callable[[], object]) -> float:
    spent_s = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        call()
        spent_s.append(time.perf_counter() - began)
    return median(spent_s) * 1e6


def _replay_us(replay: Callable[[], int]) -> float:
    spent_s = []
    for _ in range(5):
        began = time.perf_counter()
        events = replay()
        spent_s.append((time.perf_counter() - began) / events)
    return median(spent_s) * 1e6
