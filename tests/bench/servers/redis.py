"""Owns the Redis server of the bench: one, that syncs its log before it answers."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from tests.bench.servers.interface import (
    HOST,
    Child,
    first_line,
    free_ports,
    missing_library,
    wait_for,
)

if TYPE_CHECKING:
    from pathlib import Path


class Server:
    """See interface.Server."""

    setup = "1 server, appendonly yes, appendfsync always, no snapshots; no replica"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (self._port,) = free_ports(1)
        self._child: Child | None = None

    @staticmethod
    def missing() -> str:
        if shutil.which("redis-server") is None:
            return "no program redis-server: apt-get install redis-server"
        return missing_library("redis")

    def version(self) -> str:
        words = first_line(["redis-server", "--version"]).split()
        return next(word.removeprefix("v=") for word in words if word.startswith("v="))

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self._child = Child(
            [
                "redis-server",
                *("--bind", HOST, "--port", str(self._port), "--dir", str(self._folder)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            ],
            self._folder / "log",
            stop_signal=signal.SIGTERM,
        )
        wait_for(self._ready, "Redis has read its log and answers", [self._child])

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _ready(self) -> bool:
        from redis import Redis, RedisError

        # It listens from the start, but refuses whatever is asked until its log is read again.
        try:
            with Redis.from_url(self.address) as client:
                return bool(client.ping())
        except RedisError:
            return False

    @property
    def address(self) -> str:
        return f"redis://{HOST}:{self._port}"

    @property
    def pids(self) -> list[int]:
        return [self._child.pid] if self._child is not None else []
