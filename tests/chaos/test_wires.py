"""The wires of a chaos run: a cut that does not cut would make every run green."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.chaos import sandbox
from tests.chaos.needs import needs
from tests.chaos.network import CLIENTS, Network, address, entering

PORT = 7000

HEAR = f"""
import socket, sys
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind((sys.argv[1], {PORT}))
print("ready", flush=True)
count = 0
while heard.recv(2000) != b"end":
    count += 1
print(count)
"""
SAY = f"""
import socket, sys, time
said = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(200):
    said.sendto(b"word" * 250, (sys.argv[1], {PORT}))
    time.sleep(0.001)
"""


def heard_of(network: Network, source: int, target: int) -> int:
    """How many of 200 packets from source arrive at target; the wires are healed afterwards."""
    python = [sys.executable, "-c"]
    with subprocess.Popen(
        [*entering(target), *python, HEAR, address(target)], stdout=subprocess.PIPE, text=True
    ) as hearing:
        hearing.stdout.readline()
        sandbox.command(*entering(source), *python, SAY, address(target))
        network.heal()
        end = SAY.replace("range(200)", "range(1)").replace('"word" * 250', '"end"')
        sandbox.command(*entering(source), *python, end, address(target))
        return int(hearing.stdout.readline())


def inside() -> None:
    sandbox.furnish()
    network = Network()
    for number in (1, 2, 3):
        network.add(number)
    assert heard_of(network, 1, 2) == 200
    network.cut(1, 2)
    assert heard_of(network, 1, 2) == 0
    network.cut(1, 2)
    assert heard_of(network, 2, 1) == 0
    network.cut(1, 2)
    assert heard_of(network, 3, 2) == 200, "only the cut is cut"
    network.cut(1, 2, both=False)
    assert heard_of(network, 2, 1) == 200, "one way is one way"
    network.cut(1, CLIENTS)
    assert heard_of(network, 1, CLIENTS) == 0
    network.lose(1, 2, 50)
    assert 60 <= heard_of(network, 1, 2) <= 140
    network.slow(1, "8kbit")
    assert heard_of(network, 1, 2) < 100, "a slow wire drops what its queue does not hold"
    assert heard_of(network, 1, 2) == 200, "healed is healed"


@pytest.mark.alone
@pytest.mark.timeout(120)
def test_wires_are_cut_lossy_slow_and_healed_as_asked():
    needs(sandbox.missing())
    assert sandbox.run_inside("tests.chaos.test_wires", []) == 0
    left = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert "plug1" not in left


if __name__ == "__main__":
    inside()
