"""Owns how long a node takes to start on the store it has, and what memory it needs when idle."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from tests.growth.processes import memory_mib
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from scripts.local_cluster import LocalCluster

_SETTLED_S = 1.0


class Start(NamedTuple):
    """Seconds from the process's beginning until it serves; MiB resident when it does nothing."""

    seconds: float
    memory_mib: float


def start(cluster: LocalCluster) -> Start:
    """Starts the one node of a cluster; it goes on running."""
    node = cluster.node(1)
    node.log.unlink(missing_ok=True)
    began = time.monotonic()
    pid = cluster.spawn(1)
    eventually(
        lambda: node.log.exists() and b"now=serving" in node.log.read_bytes(),
        timeout_s=60,
        what="a node that serves",
    )
    seconds = time.monotonic() - began
    time.sleep(_SETTLED_S)
    return Start(seconds, memory_mib(pid))
