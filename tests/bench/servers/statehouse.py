"""Owns the Statehouse nodes of the bench: three processes, started as everybody starts them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from scripts.local_cluster import LocalCluster
from statehouse import Statehouse
from tests.bench.failures import BenchFailed

if TYPE_CHECKING:
    from pathlib import Path

NODES = 3


class Server:
    """See interface.Replicated."""

    setup = "3 nodes, a commit is synced on a majority before it is acknowledged"

    def __init__(self, folder: Path) -> None:
        self._cluster = LocalCluster(folder, nodes=NODES, base_port=0)
        self._version = ""

    @staticmethod
    def missing() -> str:
        return ""

    def version(self) -> str:
        return self._version

    def start(self) -> None:
        self._cluster.start()
        with Statehouse(self._cluster.endpoints) as client:
            self._version = " ".join(filter(None, client.version()))

    def stop(self) -> None:
        self._cluster.stop()

    @property
    def address(self) -> str:
        return self._cluster.endpoints

    @property
    def addresses(self) -> str:
        return self._cluster.endpoints

    @property
    def pids(self) -> list[int]:
        return [pid for node in self._cluster.nodes if (pid := node.pid()) is not None]

    def lose_leader(self, signal_number: int) -> int:
        leader = self._cluster.leader()
        pid = None if leader is None else self._cluster.node(leader).pid()
        if leader is None or pid is None:
            raise BenchFailed("no node of Statehouse leads: there is no leader to lose")
        os.kill(pid, signal_number)
        return leader

    def revive(self, number: int) -> None:
        if (pid := self._cluster.node(number).pid()) is not None:
            os.kill(pid, signal.SIGCONT)
        else:
            self._cluster.spawn(number)
        self._cluster.wait(lambda reports: all(report.serving for report in reports))
