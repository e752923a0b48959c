"""Owns how a node's data directory grows to any number of events, as it would under its users.

The node's own consensus, journal and store do the work; only the network and the services are left
out, and the clock is made up: a second goes by with each group, up to now.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from statehouse_cluster.consensus import Consensus
from statehouse_cluster.settings import Bounds, ClusterSettings

from statehouse.files import NodeFiles
from tests.growth.writing import Writer
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from statehouse_cluster.interfaces import Outcome
    from statehouse_cluster.journal import Journal

    from scripts.local_cluster import Node

_PROPOSED_AHEAD = 8
_WAIT_S = 60.0


def grow(node: Node, events: int, *, group: int = 200) -> float:
    """Makes the data directory of a node that founded a cluster alone and committed `events`.

    Returns the seconds it took. `node` may be started afterwards, and others may join it.
    """
    node.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    settings = {
        "name": node.name,
        "peer_listen": node.peer_address,
        "client_address": node.client_address,
        "peers": {node.name: node.peer_address},
        "bounds": Bounds(group_commands_max=group),
    }
    with _consensus(node.data, settings, seconds=events // group + 1) as growing:
        growing.write(events, group)
    return time.monotonic() - began


@contextmanager
def founded(folder: Path, bounds: Bounds) -> Iterator[Growing]:
    """A node in this process that is its own cluster, to be written to."""
    with _consensus(folder / "data", {"name": "n1", "bounds": bounds}, seconds=3600) as growing:
        yield growing


@contextmanager
def _consensus(data: Path, settings: dict[str, Any], *, seconds: int) -> Iterator[Growing]:
    files = NodeFiles(data, settings["name"], now_us=_Clock(seconds).now_us)
    room = _Room()
    consensus = Consensus(
        ClusterSettings(directory=files.directory, **settings),
        files.store,
        deliver=room.give,
        on_status=lambda status: None,
        on_fatal=room.fail,
        report=lambda line: None,
    )
    consensus.start()
    try:
        eventually(lambda: consensus.status().ready, what="a leader")
        yield Growing(consensus, room)
    finally:
        consensus.stop(hand_over=False, timeout_s=_WAIT_S)
        files.close()


class Growing:
    """A lone node that takes commits."""

    def __init__(self, consensus: Consensus, room: _Room) -> None:
        self._consensus = consensus
        self._room = room
        self._writer = Writer()

    @property
    def journal(self) -> Journal:
        """Its log; to be looked at while nothing is written."""
        return self._consensus._require_parts().journal

    def write(self, commits: int, at_once: int) -> None:
        """Commits so many, proposing `at_once` together; returns when all are applied."""
        for written in range(0, commits, at_once):
            count = min(at_once, commits - written)
            self._room.take(count, at_once * _PROPOSED_AHEAD)
            self._consensus.propose_all([(c, None) for c in self._writer.group(count)])
        self._room.wait_until_empty()


class _Clock:
    """Microseconds that end about now."""

    def __init__(self, groups: int) -> None:
        self._us = time.time_ns() // 1000 - groups * 1_000_000

    def now_us(self) -> int:
        self._us += 1_000_000
        return self._us


class _Room:
    """How many commits are under way; whatever goes wrong ends the waiting."""

    def __init__(self) -> None:
        self._under_way = 0
        self._changed = threading.Condition()
        self._failure: BaseException | None = None

    def take(self, count: int, most: int) -> None:
        with self._changed:
            self._wait(lambda: self._under_way + count <= most)
            self._under_way += count

    def wait_until_empty(self) -> None:
        with self._changed:
            self._wait(lambda: self._under_way == 0)

    def _wait(self, holds: Callable[[], bool]) -> None:
        waited = self._changed.wait_for(lambda: holds() or self._failure is not None, _WAIT_S)
        if self._failure is not None:
            raise self._failure
        assert waited, f"{self._under_way} commits did not end in {_WAIT_S} s"

    def give(self, outcomes: list[Outcome]) -> None:
        refused = [outcome.error for outcome in outcomes if outcome.error is not None]
        with self._changed:
            self._under_way -= len(outcomes)
            if refused:
                self._failure = refused[0]
            self._changed.notify()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify()
