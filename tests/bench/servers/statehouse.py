"""Owns the Statehouse nodes of the bench: three processes, started as everybody starts them."""

from __future__ import annotations

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

    def kill_leader(self) -> int:
        leader = self._cluster.leader()
        if leader is None:
            raise BenchFailed("no node leads: there is no leader to kill")
        self._cluster.kill(leader)
        return leader

    def revive(self, number: int) -> None:
        self._cluster.restart(number)
