"""Fixtures of the SDK's tests: a fake cluster that fails on demand, and a client of it."""

from __future__ import annotations

import pytest
from statehouse_sdk import Statehouse

from tests.fakes.fake_cluster import FakeCluster


@pytest.fixture
def fake():
    """Three fake nodes; n1 leads."""
    running = FakeCluster()
    yield running
    running.stop()


@pytest.fixture
def client(fake):
    """A client that knows all nodes and waits at most 5 s."""
    with Statehouse(fake.url, timeout=5) as made:
        yield made
