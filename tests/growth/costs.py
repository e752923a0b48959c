"""Owns what a commit, the reads and a replay cost inside a node, by the size of its store.

Processor microseconds of the calls that the services make, without gRPC: what may grow with the
history is all in them. Each figure is the best of several rounds, for whatever else runs on the
machine only ever adds; it must not know how the store was made.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple

from statehouse_cluster.interfaces import Entry, Position

from statehouse.core.model import Committed
from statehouse.storage.state_store import StateStore
from tests.growth.writing import AGENTS, NAMESPACE, Writer, agent_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from statehouse.storage.views import StateView

_ROUNDS = 7
_READS_A_ROUND = 1000
_COMMITS_A_ROUND = 2000
_REPLAYED_EVENTS = 2000


class Costs(NamedTuple):
    """Processor microseconds: of a commit's apply, a get, an as-of get, each event of a replay."""

    commit_us: float
    get_us: float
    get_at_us: float
    replay_us: float


def measure(state: Path, scratch: Path, *, group: int = 200) -> Costs:
    """Costs in the closed store at `state`, which stays as it is; `scratch` must not exist."""
    store = StateStore(state, now_us=lambda: 0)
    try:
        with store.view() as view:
            get_us = _reads(view, lambda top: None)
            get_at_us = _reads(view, lambda top: random.Random(top).randrange(1, view.commit_ts))
            replay_us = _replay(view)
        scratch.mkdir(parents=True)
        store.checkpoint(scratch / "copy")
    finally:
        store.close()
    return Costs(_commits(scratch, group), get_us, get_at_us, replay_us)


def _reads(view: StateView, at: Callable[[int], int | None]) -> float:
    writer = Writer(seed=2)
    best = float("inf")
    for round_number in range(_ROUNDS):
        places = [writer.place() for _ in range(_READS_A_ROUND)]
        asked = [at(round_number * _READS_A_ROUND + number) for number in range(_READS_A_ROUND)]
        started = time.thread_time()
        for (agent_id, key), at_ts in zip(places, asked, strict=True):
            view.get(NAMESPACE, agent_id, key, at_ts)
        best = min(best, time.thread_time() - started)
    return best / _READS_A_ROUND * 1e6


def _replay(view: StateView) -> float:
    agent_id = agent_with(view.commit_ts, _REPLAYED_EVENTS)
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.thread_time()
        count = sum(1 for _ in view.events(NAMESPACE, agent_id))
        best = min(best, (time.thread_time() - started) / count)
    return best * 1e6


def agent_with(events: int, of_its_own: int) -> str:
    """An agent that wrote about `of_its_own` of a store's events."""
    shares = sum(1 / rank for rank in range(1, AGENTS + 1))
    return agent_name(min(AGENTS - 1, int(events / shares / of_its_own)))


def _commits(scratch: Path, group: int) -> float:
    store = StateStore(scratch / "store", now_us=lambda: 0)
    store.install(scratch / "copy")
    writer = Writer(seed=3, born_at=store.head.commit_ts)
    best = float("inf")
    try:
        for _ in range(_ROUNDS):
            spent_s = 0.0
            for _ in range(_COMMITS_A_ROUND // group):
                payload = store.group(writer.group(group))
                at = Position(store.position().index + 1, store.position().term)
                started = time.thread_time()
                (answers,) = store.apply([Entry(*at, payload)], at, None)
                spent_s += time.thread_time() - started
                assert all(isinstance(answer, Committed) for answer in answers), answers[0]
            best = min(best, spent_s)
    finally:
        store.close()
    return best / _COMMITS_A_ROUND * 1e6
