"""Owns clusters whose first node has grown: alone, or with others that joined it by snapshot."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from scripts.local_cluster import LocalCluster
from statehouse import Statehouse
from tests.growth.growing import grow
from tests.growth.processes import tree_bytes
from tests.growth.starting import start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOK_S = 0.02


class Join(NamedTuple):
    """How a new member caught up: the snapshot's bytes and seconds, and how the leader did."""

    megabytes: float
    seconds: float
    silence_s: float
    """The leader's longest silence towards a client that asked it all the time."""
    terms: int
    """Elections held meanwhile; none should be."""

    @property
    def megabytes_a_second(self) -> float:
        return self.megabytes / self.seconds


def grown(folder: Path, events: int) -> LocalCluster:
    """A cluster of one node with so many events, not running; the same folder is grown once."""
    cluster = LocalCluster(folder, nodes=1, base_port=0)
    done = folder / "grown.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        layout = {"nodes": 1, "base_port": cluster.base_port}
        (folder / "cluster.json").write_text(json.dumps(layout))
        grow(cluster.node(1), events)
        done.write_text(json.dumps({"events": events}))
    elif json.loads(done.read_text())["events"] != events:
        raise ValueError(f"{folder} holds a store of another size; choose another folder")
    return cluster


@contextmanager
def running(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """The cluster's one node, started; whatever joined it is stopped with it."""
    start(cluster)
    try:
        cluster.wait(lambda reports: reports[0].serving)
        yield cluster
    finally:
        cluster.stop()


def join(cluster: LocalCluster, number: int) -> Join:
    """Adds a node to a running cluster."""
    address = cluster.join(number)
    with Statehouse(cluster.node(1).client_address, timeout=30) as client:
        before = client.cluster_status().term
        ear = _Ear(client)
        ear.start()
        began, snapshot_s = time.monotonic(), 0.0
        total_bytes = 0
        for step in client.add_member(address):
            total_bytes = max(total_bytes, step.bytes_total)
            if step.phase == "snapshot":
                snapshot_s = time.monotonic() - began
        silence_s = ear.stop()
        terms = client.cluster_status().term - before
    total_bytes = total_bytes or tree_bytes(cluster.node(number).data / "state")
    return Join(total_bytes / 1e6, snapshot_s, silence_s, terms)


class _Ear(threading.Thread):
    """Asks a node for its state over and over, and notes how long it was silent at most."""

    def __init__(self, client: Statehouse) -> None:
        super().__init__(name="ear")
        self._client = client
        self._over = threading.Event()
        self._longest_s = 0.0

    def run(self) -> None:
        while not self._over.wait(_LOOK_S):
            began = time.monotonic()
            self._client.get_state("ear", "nothing")
            self._longest_s = max(self._longest_s, time.monotonic() - began)

    def stop(self) -> float:
        self._over.set()
        self.join(60)
        return self._longest_s
