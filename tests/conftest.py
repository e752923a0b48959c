"""Fixtures every test may use: real clusters on this machine, fresh names, a clean environment.

`cluster` is started once for all tests that only use it; who stops, kills or adds nodes makes one
with `fresh_cluster`. Both are real processes, started as everybody starts them. And it tells the
parts of the suite from each other, which scripts/test runs beside or after one another.
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

SHARING = "those who share a cluster"

_numbers = itertools.count(1)


class StartCluster(Protocol):
    """Starts a cluster that ends with the test; see `fresh_cluster`."""

    def __call__(self, *, nodes: int = 3) -> LocalCluster: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part",
        choices=("alone", "patient", "together"),
        help="only tests so marked, or only those marked neither alone nor patient (scripts/test)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    part = config.getoption("--part")
    if part is None:
        return
    config.hook.pytest_deselected(items=[item for item in items if _part(item) != part])
    items[:] = [item for item in items if _part(item) == part]
    if part == "together":
        for item in items:
            if group := _group(item):
                item.add_marker(pytest.mark.xdist_group(group))
        # What takes long begins first, or it would be the last to end, with nothing beside it.
        items.sort(key=lambda item: _group(item) not in ("", SHARING))


def _part(item: pytest.Item) -> str:
    return next(
        (part for part in ("alone", "patient") if item.get_closest_marker(part)), "together"
    )


def _group(item: pytest.Item) -> str:
    """Tests of one group run in one process, one by one, and share what is set up for them."""
    if "cluster" in getattr(item, "fixturenames", ()):
        return SHARING
    return "" if item.get_closest_marker("slow") else item.location[0]


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
