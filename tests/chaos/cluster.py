"""Owns the nodes of a chaos run: real `statehoused` processes, each on its own wires.

It starts, kills and pauses them, asks what they know, and remembers which of them ought to run: a
node that ends without having been made to is an offence of its own. Which of this happens when is
the nemesis's business.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from statehouse import Statehouse, StatehouseError
from tests.chaos.network import CLIENT_PORT, PEER_PORT, Network, address, entering
from tests.chaos.sandbox import command

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_sdk.cluster_models import NodeStatus

ASK_TIMEOUT_S = 0.7
SMALL_DISK = "400m"
SMALL_DISK_EVERY = 3
"""Every third node has a disk of its own that can be filled, in memory; the box unmounts it."""

POLL_INTERVAL_S = 0.05
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 25.0

_NODE_SITE = Path(__file__).with_name("node_site")


class NotReached(Exception):
    """A state the cluster had to reach and did not, in a sentence."""


@dataclass(eq=False)
class Node:
    """One node; its process is None while it ought not to run."""

    number: int
    folder: Path
    joins: bool
    process: subprocess.Popen[bytes] | None = None
    paused: bool = False
    small_disk: bool = False
    may_end: bool = False
    """What was done to it may be met at any time, and then it has to stop."""
    exit_codes: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def client_address(self) -> str:
        return f"{address(self.number)}:{CLIENT_PORT}"

    @property
    def peer_address(self) -> str:
        return f"{address(self.number)}:{PEER_PORT}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def clock(self) -> Path:
        return self.folder / "clock"

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Cluster:
    """Nodes by number, from 1. `founders` are listed to each other; later ones join."""

    def __init__(self, folder: Path, founders: int, network: Network, mutant: str) -> None:
        self.network = network
        self.offences: list[str] = []
        self._folder = folder
        self._mutant = mutant
        self._founders = range(1, founders + 1)
        self.nodes: dict[int, Node] = {}
        for number in self._founders:
            self._make(number, joins=False)

    @property
    def endpoints(self) -> str:
        return ",".join(node.client_address for node in self.nodes.values())

    @property
    def members(self) -> list[Node]:
        """Nodes that ought to be members, in order of their numbers."""
        return list(self.nodes.values())

    def spare(self) -> Node:
        """A new node, on a new disk and under a new name, that waits to be added."""
        last = max([int(path.name[1:]) for path in self._folder.glob("n[0-9]*")], default=0)
        return self._make(last + 1, joins=True)

    def _make(self, number: int, *, joins: bool) -> Node:
        node = Node(number, self._folder / f"n{number}", joins)
        node.data.mkdir(parents=True)
        if number % SMALL_DISK_EVERY == 0:
            command("mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", node.name, str(node.data))
            node.small_disk = True
        node.clock.write_bytes(bytes(8))
        self.network.add(number)
        self.nodes[number] = node
        return node

    def forget(self, node: Node) -> None:
        """The node is no member any more: it is killed, and its disk may be looked at, not used."""
        if node.process is not None:
            self.kill(node)
        del self.nodes[node.number]

    # -- processes

    def start(self, node: Node) -> None:
        """Starts the process; returns at once."""
        if node.process is not None:
            raise RuntimeError(f"{node.name} runs already")
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(
                [*entering(node.number), *_command_line(node, self._founders)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(node, self._mutant),
                start_new_session=True,
            )

    def kill(self, *nodes: Node) -> None:
        """SIGKILL to all of them in one instant; returns when they are gone."""
        for node in nodes:
            self._signal(node, signal.SIGKILL)
        for node in nodes:
            self._gone(node, (-signal.SIGKILL,), STOP_TIMEOUT_S)

    def stop(self, node: Node) -> None:
        """Asks a node to stop and returns when it has."""
        self._signal(node, signal.SIGTERM)
        self._gone(node, (0,), STOP_TIMEOUT_S)

    def pause(self, node: Node) -> None:
        self._signal(node, signal.SIGSTOP)
        node.paused = True

    def resume(self, node: Node) -> None:
        self._signal(node, signal.SIGCONT)
        node.paused = False

    def wait_ended(self, node: Node, codes: tuple[int, ...], timeout_s: float) -> None:
        """Returns when the node has ended by itself; any other exit code is an offence."""
        self._gone(node, codes, timeout_s)

    def look_for_the_dead(self) -> None:
        """Notes nodes that ended although nobody made them, and starts them again."""
        for node in self.nodes.values():
            if node.process is not None and not node.runs and not node.may_end:
                code = node.process.returncode
                self._note_end(node)
                self.offences.append(f"{node.name} ended by itself with exit code {code}")
                self.start(node)

    def end(self) -> None:
        """Kills what is left."""
        for node in self.nodes.values():
            if node.process is not None:
                self.kill(node)

    def _signal(self, node: Node, number: int) -> None:
        if node.process is None:
            raise RuntimeError(f"{node.name} does not run")
        node.process.send_signal(number)

    def _gone(self, node: Node, codes: tuple[int, ...], timeout_s: float) -> None:
        if node.process is None:
            raise RuntimeError(f"{node.name} does not run")
        try:
            code = node.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.offences.append(f"{node.name} had not ended after {timeout_s:g} s")
            node.process.kill()
            code = node.process.wait()
            self._note_end(node)
            return
        self._note_end(node)
        if code not in codes:
            wanted = " or ".join(map(str, codes))
            self.offences.append(f"{node.name} ended with exit code {code}, not {wanted}")

    @staticmethod
    def _note_end(node: Node) -> None:
        if node.process is not None:
            node.exit_codes.append(node.process.returncode)
        node.process = None
        node.paused = False

    # -- what they say

    def status(self, node: Node) -> NodeStatus | None:
        """What a node tells of itself; None if it does not answer."""
        if not node.runs or node.paused:
            return None
        with Statehouse(node.client_address, timeout=ASK_TIMEOUT_S) as client:
            try:
                return client.cluster_status(node.client_address)
            except StatehouseError:
                return None

    def leader(self) -> Node | None:
        """The node that leads by the newest term any of them tells."""
        told = [(self.status(node), node) for node in self.members]
        leading = [(s.term, n.number) for s, n in told if s is not None and s.role == "leader"]
        return self.nodes[max(leading)[1]] if leading else None

    def wait_leader(self, timeout_s: float = START_TIMEOUT_S) -> Node:
        """The leader, as soon as there is one."""
        self.wait_until(lambda: self.leader() is not None, "no node leads", timeout_s)
        leader = self.leader()
        return self.wait_leader(timeout_s) if leader is None else leader

    def serving(self) -> bool:
        """Whether every member serves and knows the leader."""
        told = [self.status(node) for node in self.members]
        return all(s is not None and s.lifecycle == "serving" and s.leader_name for s in told)

    def heads(self) -> list[tuple[str, int, bytes]]:
        """(name, commit_ts, chain head) of every member that answers."""
        told = [self.status(node) for node in self.members]
        return [(s.name, s.commit_ts, s.chain_head) for s in told if s is not None]

    def wait_until(self, condition: Callable[[], bool], otherwise: str, timeout_s: float) -> None:
        """Returns when the condition holds; NotReached, with `otherwise`, at the deadline."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.look_for_the_dead()
            if time.monotonic() > deadline:
                raise NotReached(f"{otherwise} after {timeout_s:g} s")
            time.sleep(POLL_INTERVAL_S)


def _command_line(node: Node, founders: range) -> list[str]:
    listed = ",".join(f"n{k}={address(k)}:{PEER_PORT}" for k in founders)
    formation = ["--join"] if node.joins else ["--peers", listed]
    listen = ["--listen", node.client_address, "--peer-listen", node.peer_address, "--insecure"]
    place = ["--name", node.name, "--data", str(node.data)]
    return [sys.executable, "-m", "statehouse.daemon", *place, *listen, *formation]


def _environment(node: Node, mutant: str) -> dict[str, str]:
    path = os.pathsep.join([str(_NODE_SITE), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "CHAOS_CLOCK": str(node.clock), "CHAOS_MUTANT": mutant}


def set_clock(node: Node, offset_s: int) -> None:
    """The node's wall clock is wrong by so many seconds from now on."""
    with node.clock.open("r+b") as file:
        file.write(struct.pack("<q", offset_s * 1_000_000_000))


def lose_disk(node: Node) -> None:
    """Removes all a stopped node ever wrote."""
    for path in node.data.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
