"""Fixtures every test may use: real clusters on this machine, fresh names, a clean environment.

`cluster` is started once for all tests that only use it; who stops, kills or adds nodes makes one
with `fresh_cluster`. Both are real processes, started as everybody starts them.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Protocol

import pytest

from scripts.local_cluster import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_numbers = itertools.count(1)


class StartCluster(Protocol):
    """Starts a cluster that ends with the test; see `fresh_cluster`."""

    def __call__(self, *, nodes: int = 3) -> LocalCluster: ...


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STATEHOUSE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes shared by all tests: read and write, but leave every node as it is."""
    yield from _running(tmp_path_factory.mktemp("shared-cluster") / "nodes", 3)


@pytest.fixture
def fresh_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """A function that starts a cluster of this test's own, to be treated badly."""
    running: list[LocalCluster] = []

    def start(*, nodes: int = 3) -> LocalCluster:
        started = LocalCluster(tmp_path / f"cluster-{len(running)}", nodes=nodes, base_port=0)
        running.append(started)
        started.start()
        return started

    yield start
    for started in running:
        _end(started)


@pytest.fixture
def agent_id() -> str:
    """An agent no other test of this run uses, so that tests can share a cluster."""
    return f"agent-{os.getpid()}-{next(_numbers)}"


def _running(folder: Path, nodes: int) -> Iterator[LocalCluster]:
    running = LocalCluster(folder, nodes=nodes, base_port=0)
    try:
        running.start()
        yield running
    finally:
        _end(running)


def _end(running: LocalCluster) -> None:
    # The folder stays: pytest keeps those of the last runs, and a red test's logs are in it.
    killed = running.stop()
    if killed:
        raise RuntimeError(f"{', '.join(killed)} did not stop when asked; see {running.folder}")
