"""Fixtures of the SDK's tests: a fake cluster that fails on demand, and a client of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from statehouse_sdk import Statehouse

from tests.fakes.fake_cluster import FakeCluster
from tests.helpers.on_a_loop import OnALoop


@pytest.fixture
def fake():
    """Three fake nodes; n1 leads."""
    running = FakeCluster()
    yield running
    running.stop()


@pytest.fixture(params=[Statehouse, OnALoop], ids=["threads", "asyncio"])
def connect(request):
    """Makes a client, as Statehouse() does: what is told of one client holds for the other."""
    return request.param


@pytest.fixture
def client(connect, fake):
    """A client that knows all nodes and waits at most 5 s."""
    with connect(fake.url, timeout=5) as made:
        yield made


@pytest.fixture
def blocking(fake):
    """As `client`, for threads only."""
    with Statehouse(fake.url, timeout=5) as made:
        yield made


@pytest.fixture
def elsewhere():
    """The url of a fake cluster in a process of its own; a fork of the test leaves it alone."""
    code = (
        "from tests.fakes.fake_cluster import FakeCluster; import sys;"
        "print(FakeCluster(1).url, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process.stdout.readline().strip()
    process.communicate(timeout=10)
