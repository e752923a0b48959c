"""G10: whatever arrives at a node's two ports, none of it runs, and the node goes on serving."""

from __future__ import annotations

import os
import pickle
import random
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from statehouse_cluster import hello, wire

from statehouse import Statehouse
from tests.fuzz.targets import seeds
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_cluster import LocalCluster
    from tests.conftest import StartCluster

SECONDS = int(os.environ.get("FUZZ_SECONDS", "15"))
RSS_MIB_MAX = 512
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Canary:
    """Unpickling it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def node(fresh_cluster: StartCluster) -> LocalCluster:
    return fresh_cluster(nodes=1)


def resident_mib(cluster: LocalCluster) -> int:
    pid = cluster.node(1).pid()
    assert pid is not None, "the node has ended"
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // (1024 * 1024)


def throw(address: str, data: bytes) -> None:
    """Sends bytes to a port and reads what comes back, if anything does, for a moment."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.settimeout(0.02)
            connection.sendall(data)
            connection.recv(4096)
    except OSError:
        return


def mutated(draw: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randrange(1, 8)):
        position = draw.randrange(len(changed))
        changed[position] = draw.randrange(256)
    return bytes(changed[: draw.randrange(1, len(changed) + 1)])


def peer_inputs(draw: random.Random, canary: bytes) -> Iterator[bytes]:
    good = list(seeds()["peer_frames"])
    greeting = msgspec.structs.replace(
        hello.Hello("probe", "x", "u", "", "127.0.0.1:1", "127.0.0.1:2"), purpose="probe"
    )
    good.append(wire.frame(hello.encode_hello(greeting)))
    while True:
        yield canary
        yield wire.frame(canary)
        yield draw.randbytes(draw.randrange(1, 4096))
        yield mutated(draw, draw.choice(good))
        yield draw.choice(good) + mutated(draw, draw.choice(good))
        yield (0xFFFFFFF0).to_bytes(4, "big") + draw.randbytes(64)


def client_inputs(draw: random.Random, canary: bytes) -> Iterator[bytes]:
    while True:
        yield canary
        yield draw.randbytes(draw.randrange(1, 4096))
        yield HTTP2_PREFACE + draw.randbytes(draw.randrange(1, 4096))
        # A SETTINGS frame, then frames of random type and length.
        yield HTTP2_PREFACE + bytes(3) + b"\x04" + bytes(5) + draw.randbytes(256)
        yield b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("port", ["peer", "client"])
def test_a_port_under_fire_stays_a_port(node: LocalCluster, tmp_path: Path, port: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    marker = tmp_path / "the-canary-sang"
    canary = pickle.dumps(Canary(marker))
    address = node.node(1).peer_address if port == "peer" else node.node(1).client_address
    inputs = (peer_inputs if port == "peer" else client_inputs)(draw, canary)
    with Statehouse(node.endpoints, timeout=10) as client:
        with client.begin_transaction() as tx:
            tx.write("agent", "key", {"before": True})
        ends_at = time.monotonic() + SECONDS
        thrown = 0
        while time.monotonic() < ends_at:
            throw(address, next(inputs))
            thrown += 1
        print(f"{port}: {thrown} connections")
        assert thrown >= 50
        assert client.get_state("agent", "key").value == {"before": True}
        with client.begin_transaction() as tx:
            tx.write("agent", "key", {"after": True})
    assert not marker.exists(), "a pickle from the wire was run"
    assert resident_mib(node) < RSS_MIB_MAX


@pytest.mark.slow
def test_idle_strangers_cost_little_and_keep_nobody_out(node: LocalCluster) -> None:
    host, _, port = node.node(1).peer_address.rpartition(":")
    strangers = [socket.create_connection((host, int(port)), timeout=5) for _ in range(500)]
    try:
        reply = eventually(lambda: _probe(node.node(1).peer_address), what="an answer to a probe")
        assert reply.name == "n1"
        assert resident_mib(node) < RSS_MIB_MAX
    finally:
        for stranger in strangers:
            stranger.close()


def _probe(address: str) -> hello.HelloReply:
    from statehouse_cluster.probe import probe

    return probe(address, hello.Hello("probe", "x", "u", "", "", ""), 2.0)
