"""Owns the etcd nodes of the bench: three processes with every setting as etcd comes."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import grpc

from tests.bench.clients import etcd_wire as wire
from tests.bench.failures import BenchFailed
from tests.bench.servers.interface import HOST, Child, first_line, free_ports, wait_for

if TYPE_CHECKING:
    from pathlib import Path

NODES = 3
ASK_TIMEOUT_S = 2.0


class Server:
    """See interface.Replicated."""

    setup = "3 nodes, defaults: a put is synced on a majority before it is acknowledged"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ports = free_ports(2 * NODES)
        self._client_ports, self._peer_ports = ports[:NODES], ports[NODES:]
        self._children: dict[int, Child] = {}

    @staticmethod
    def missing() -> str:
        return "" if shutil.which("etcd") else "no program etcd: apt-get install etcd-server"

    def version(self) -> str:
        return first_line(["etcd", "--version"]).rpartition(" ")[2]

    def start(self) -> None:
        for number in range(NODES):
            self._start(number)
        self._wait_until_agreed()

    def stop(self) -> None:
        for child in self._children.values():
            child.stop()
        self._children.clear()

    @property
    def address(self) -> str:
        return self._addresses()[self._leader() or 0]

    @property
    def addresses(self) -> str:
        return ",".join(self._addresses())

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children.values()]

    def lose_leader(self, signal_number: int) -> int:
        leader = self._leader()
        if leader is None:
            raise BenchFailed("no node of etcd leads: there is no leader to lose")
        self._children[leader].send(signal_number)
        if signal_number == signal.SIGKILL:
            self._children.pop(leader).kill()
        return leader

    def revive(self, number: int) -> None:
        if number in self._children:
            self._children[number].send(signal.SIGCONT)
        else:
            self._start(number)
        self._wait_until_agreed()

    def _addresses(self) -> list[str]:
        return [f"{HOST}:{port}" for port in self._client_ports]

    def _start(self, number: int) -> None:
        self._folder.mkdir(exist_ok=True)
        peers = [f"http://{HOST}:{port}" for port in self._peer_ports]
        client = f"http://{HOST}:{self._client_ports[number]}"
        self._children[number] = Child(
            [
                "etcd",
                *("--name", f"e{number}", "--data-dir", str(self._folder / f"e{number}")),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peers[number]),
                *("--initial-advertise-peer-urls", peers[number]),
                "--initial-cluster",
                ",".join(f"e{other}={peer}" for other, peer in enumerate(peers)),
            ],
            self._folder / f"e{number}.log",
            stop_signal=signal.SIGTERM,
        )

    def _wait_until_agreed(self) -> None:
        wait_for(
            lambda: self._leader() is not None,
            "three nodes of etcd agree on a leader",
            list(self._children.values()),
        )

    def _leader(self) -> int | None:
        """The number of the node that all nodes take for the leader."""
        told = [_status(address) for address in self._addresses()]
        leaders = {status.leader for status in told if status is not None}
        if None in told or len(leaders) != 1:
            return None
        members = [status.header.member_id for status in told]
        return members.index(leader) if (leader := leaders.pop()) in members else None


def _status(address: str) -> wire.StatusResponse | None:
    with grpc.insecure_channel(address) as channel:
        ask = wire.unary(channel, wire.STATUS, wire.StatusRequest, wire.StatusResponse)
        try:
            return ask(wire.StatusRequest(), timeout=ASK_TIMEOUT_S)
        except grpc.RpcError:
            return None
