"""Owns what the bench asks of every system's servers, and what they share as child processes.

A server is started for its turn in a round and stopped after it, so that nothing else runs while
another system is measured; what it stored stays in its folder for the next round.
"""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Protocol

from tests.bench.failures import BenchFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.05


class Server(Protocol):
    """The processes of one system on loopback ports of their own."""

    setup: str
    """How it runs, in words for the report."""

    def __init__(self, folder: Path) -> None: ...

    @staticmethod
    def missing() -> str:
        """What it would need and is not here; empty if it can run."""

    def version(self) -> str:
        """As the program tells it; to be asked after it was started once."""

    def start(self) -> None:
        """Returns when writes are taken."""

    def stop(self) -> None:
        """Ends all processes; what is durable stays."""

    @property
    def address(self) -> str:
        """What the client is given, once started."""

    @property
    def pids(self) -> list[int]:
        """The processes; their children count as them."""


class Replicated(Server, Protocol):
    """A server of several nodes that goes on when one is lost."""

    @property
    def addresses(self) -> str:
        """All nodes, for a client that finds its way by itself."""

    def lose_leader(self, signal_number: int) -> int:
        """SIGKILL or SIGSTOP to the node that leads; returns its number."""

    def revive(self, number: int) -> None:
        """Brings that node back and returns when all nodes agree on a leader."""


class Child:
    """One server process, its output in a file; ended by its process id, never by a name."""

    def __init__(
        self, command: list[str], log: Path, *, stop_signal: int, user: str | None = None
    ) -> None:
        self.log = log
        self._stop_signal = stop_signal
        identity = {"user": user, "group": user, "extra_groups": []} if user else {}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=log.parent,
                **identity,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def require_running(self) -> None:
        """Raises BenchFailed with its last words if it has ended."""
        if self._process.poll() is not None:
            words = "\n  ".join(self.log.read_text(errors="replace").splitlines()[-5:])
            raise BenchFailed(f"{self._process.args[0]} ended; {self.log} says:\n  {words}")

    def send(self, signal_number: int) -> None:
        """Sends it a signal."""
        self._process.send_signal(signal_number)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Asks it to stop, kills it if it does not."""
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()


def wait_for(ready: Callable[[], bool], what: str, children: list[Child]) -> None:
    """Returns when `ready` holds; BenchFailed at the deadline or when a child has ended."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not ready():
        for child in children:
            child.require_running()
        if time.monotonic() > deadline_s:
            logs = ", ".join(str(child.log) for child in children)
            raise BenchFailed(f"{what}: not so after {START_TIMEOUT_S:g} s; see {logs}")
        time.sleep(POLL_INTERVAL_S)


def free_ports(count: int) -> list[int]:
    """Ports the kernel had free at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def first_line(command: list[str]) -> str:
    """What a program prints first, such as its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.splitlines()[0]


def missing_library(name: str) -> str:
    """In words, if the Python library is not installed."""
    if importlib.util.find_spec(name) is not None:
        return ""
    return f"no Python library {name}: pip install '.[bench]'"
