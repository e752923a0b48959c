"""Owns one chaos run inside its box: cluster, clients, nemesis, then the verdict on what was seen.

Started by scripts/chaos.py. Leaves report.json in the folder: every figure, every violation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import sandbox, verdict
from tests.chaos.cluster import Cluster, NotReached
from tests.chaos.nemesis import BY_KIND, Nemesis
from tests.chaos.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT_PROCESSES = 2
CLIENTS_EACH = 4
WARM_UP_S = 3.0
SETTLE_TIMEOUT_S = 60.0
CLIENTS_END_TIMEOUT_S = 60.0


class Clients:
    """The client processes; they end when told, or with the box."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int, rate: float) -> None:
        self._running = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.chaos.workload", cluster.endpoints, folder),
                    *(f"p{number}", str(CLIENTS_EACH), str(seed), str(rate / CLIENT_PROCESSES)),
                ],
                stdin=subprocess.PIPE,
            )
            for number in range(CLIENT_PROCESSES)
        ]

    def end(self) -> Iterator[str]:
        """Lets every client finish what it does; yields what went wrong with a process."""
        for number, process in enumerate(self._running):
            if process.stdin is not None:
                process.stdin.close()
            try:
                code = process.wait(CLIENTS_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                yield f"client process p{number} did not end: a call never came back"
            else:
                if code != 0:
                    yield f"client process p{number} ended with exit code {code}"


def run(arguments: argparse.Namespace) -> verdict.Verdict:
    """The whole run; raises nothing that the cluster can cause."""
    sandbox.furnish()
    folder: Path = arguments.folder
    cluster = Cluster(folder, arguments.nodes, Network(), arguments.mutant)
    nemesis = Nemesis(cluster, arguments.seed, tuple(arguments.only), folder)
    troubles: list[str] = []
    logs: verdict.Logs = {}
    began_s = time.monotonic()
    try:
        for node in cluster.members:
            cluster.start(node)
        nemesis.wait_recovered()
        clients = Clients(cluster, folder, arguments.seed, arguments.rate)
        try:
            time.sleep(WARM_UP_S)
            nemesis.rage(arguments.minutes * 60, arguments.faults_min)
        except NotReached as trouble:
            troubles.append(f"not recovered: {trouble}")
        finally:
            troubles += clients.end()
        logs = _settle(cluster)
    except NotReached as trouble:
        troubles.append(str(trouble))
    finally:
        cluster.end()
        nemesis.close()
    lasted_s = time.monotonic() - began_s
    troubles += cluster.offences
    return verdict.judge(folder, nemesis.struck, logs, troubles, lasted_s)


def _settle(cluster: Cluster) -> verdict.Logs:
    """What every node tells as the whole log, once all of them have come to rest at one head."""

    def at_rest() -> bool:
        heads = cluster.heads()
        return len(heads) == len(cluster.members) and len({head[1:] for head in heads}) == 1

    cluster.network.heal()
    cluster.wait_until(at_rest, "the nodes did not come to one chain head", SETTLE_TIMEOUT_S)
    logs = {node.name: verdict.read_log(node.client_address) for node in cluster.members}
    for node in cluster.members:
        cluster.stop(node)
        cluster.offences += verdict.broken_chain(node.name, node.data)
    return logs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--faults-min", type=int, required=True)
    parser.add_argument("--mutant", required=True)
    parser.add_argument("--only", action="append", default=[], choices=sorted(BY_KIND))
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    found = run(arguments)
    (arguments.folder / "report.json").write_text(json.dumps(found.to_dict(), indent=1))
    return 0 if not found.violations else 1


if __name__ == "__main__":
    sys.exit(main())
