#!/usr/bin/env python3
"""Starts, stops and breaks a Statehouse cluster on this machine: one process a node, loopback only.

Tests, the quickstart and people all start clusters through `LocalCluster`. It owns a folder (one
sub-folder a node: data, log, the recorded process) and the processes it started; it signals nothing
else. It knows the nodes from outside only: their command line and what they answer.

    scripts/local_cluster.py start [--nodes 3] [--base-port 50051] [--data ./local-cluster]
    scripts/local_cluster.py status | stop | wipe
    scripts/local_cluster.py kill 2 | restart 2 | join 4

Node K listens for clients on base port + K - 1, for its peers 1000 above. --base-port 0 takes free
ports. A folder remembers its nodes and ports, so later commands need --data only. `kill` is
SIGKILL; `join 4` starts a node that waits for `statehousectl cluster add`. Exit code 0: done, and
for `start` and `status`: every node serves and the cluster takes writes; 1: not so, and why.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.message import Message
    from statehouse_proto.v2.cluster_pb2 import StatusResponse

HOST = "127.0.0.1"
PEER_PORT_OFFSET = 1000
DEFAULT_BASE_PORT = 50051
DEFAULT_NODES = 3
DEFAULT_DATA = Path("local-cluster")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
PROBE_TIMEOUT_S = 1.0
POLL_INTERVAL_S = 0.05
LOG_LINES_SHOWN = 5
# A cluster on free ports leaves some behind its own for nodes that join it.
ROOM_FOR_JOINERS = 3
PORTS_SHARE = 10
# Free ports are looked for below the range from which the kernel takes those of outgoing calls.
FREE_PORTS = range(20_000, 31_000, PORTS_SHARE)

Answer = TypeVar("Answer", bound="Message")


class ClusterError(Exception):
    """What could not be done with the local cluster, to what, and what to do next."""


@dataclass(frozen=True, slots=True)
class Node:
    """Where one node lies and listens; `number` counts from 1."""

    number: int
    folder: Path
    base_port: int

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def client_address(self) -> str:
        return f"{HOST}:{self.base_port + self.number - 1}"

    @property
    def peer_address(self) -> str:
        return f"{HOST}:{self.base_port + self.number - 1 + PEER_PORT_OFFSET}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def record(self) -> Path:
        return self.folder / "process.json"

    def pid(self) -> int | None:
        """The process of this node, or None; never one that merely got the same number later."""
        try:
            recorded = json.loads(self.record.read_text())
        except FileNotFoundError:
            return None
        pid = int(recorded["pid"])
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        started_ticks = _started_ticks(pid)
        if started_ticks is None or started_ticks != recorded["started_ticks"]:
            return None
        # A process that is ending has lost its command line, but it still holds its sockets.
        ours = str(self.data).encode() in _command_line(pid)
        return pid if ours or _has_lost_its_memory(pid) else None

    def last_words(self) -> str:
        """The end of the node's log, for a message."""
        with contextlib.suppress(FileNotFoundError), self.log.open(errors="replace") as lines:
            return "".join(f"\n  {line.rstrip()}" for line in deque(lines, LOG_LINES_SHOWN))
        return ""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one node is seen to do: its process, if it runs, and its answer, if it gave one."""

    node: Node
    pid: int | None
    status: StatusResponse | None
    serving: bool


class LocalCluster:
    """The nodes of one folder. Without `nodes` or `base_port`: as the folder remembers them."""

    def __init__(
        self, data: Path | str, *, nodes: int | None = None, base_port: int | None = None
    ) -> None:
        self.folder = Path(data).resolve()
        self._layout = self.folder / "cluster.json"
        known: dict[str, int] = (
            json.loads(self._layout.read_text()) if self._layout.exists() else {}
        )
        for name, asked in (("nodes", nodes), ("base_port", base_port or None)):
            if known and asked is not None and asked != known[name]:
                raise ClusterError(
                    f"the cluster in {self.folder} has {name} {known[name]}, not {asked}: "
                    "leave the option out, wipe that cluster, or choose another --data"
                )
        self.size: int = known.get("nodes", nodes or DEFAULT_NODES)
        if base_port is None:
            base_port = DEFAULT_BASE_PORT
        self.base_port: int = known.get("base_port", base_port) or free_base_port(
            self.size + ROOM_FOR_JOINERS
        )

    @property
    def nodes(self) -> list[Node]:
        """The nodes the cluster was made of, and those that were started to join it."""
        found = {int(path.name[1:]) for path in self.folder.glob("n[1-9]*") if path.is_dir()}
        return [self.node(number) for number in sorted(found | set(range(1, self.size + 1)))]

    @property
    def endpoints(self) -> str:
        """Every node's client address, as STATEHOUSE_URL takes them."""
        return ",".join(node.client_address for node in self.nodes)

    def node(self, number: int) -> Node:
        return Node(number, self.folder / f"n{number}", self.base_port)

    def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Starts what does not run; returns when all nodes serve and the cluster takes writes.

        When that cannot be reached, what was started is ended again.
        """
        started: list[Node] = []
        try:
            for node in self.nodes:
                if node.pid() is None:
                    self.spawn(node.number)
                    started.append(node)
            self.wait(
                lambda reports: all(report.serving for report in reports), timeout_s=timeout_s
            )
        except BaseException:
            for node in started:
                self._signal(node, signal.SIGKILL)
            raise

    def spawn(self, number: int) -> int:
        """Starts one node's process and returns its pid at once; beyond `size`: one that joins."""
        node = self.node(number)
        if node.pid() is not None:
            raise ClusterError(f"{node.name} runs already")
        for address in (node.client_address, node.peer_address):
            _require_free(address, node.name)
        node.folder.mkdir(parents=True, exist_ok=True)
        self._layout.write_text(json.dumps({"nodes": self.size, "base_port": self.base_port}))
        command = [sys.executable, "-m", "statehouse.daemon", *self._arguments(node)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("STATEHOUSE_")}
        pid = os.posix_spawn(
            sys.executable,
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, node.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            # Its own session: a Ctrl-C meant for the caller does not reach the node.
            setsid=True,
        )
        # The kernel shows the arguments a moment after the program; `pid` knows a node by them.
        while not (_command_line(pid) or _has_lost_its_memory(pid)):
            time.sleep(0.001)
        node.record.write_text(json.dumps({"pid": pid, "started_ticks": _started_ticks(pid)}))
        return pid

    def join(self, number: int, *, timeout_s: float = START_TIMEOUT_S) -> str:
        """Starts a node beyond `size` that waits to be added; returns its peer address."""
        if number <= self.size:
            raise ClusterError(f"n{number} is one of the first {self.size} nodes: start it instead")
        self.spawn(number)
        self.wait(lambda reports: self._answers(reports, number), timeout_s=timeout_s, writes=False)
        return self.node(number).peer_address

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> list[str]:
        """Asks every node to stop; returns the names of those that had to be killed after all."""
        for node in self.nodes:
            self._signal(node, signal.SIGTERM)
        killed = []
        deadline = time.monotonic() + timeout_s
        for node in self.nodes:
            if not _gone(node, deadline):
                self.kill(node.number)
                killed.append(node.name)
        return killed

    def stop_node(self, number: int, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Asks one node to stop and waits until it has."""
        node = self.node(number)
        self._signal(node, signal.SIGTERM)
        if not _gone(node, time.monotonic() + timeout_s):
            raise ClusterError(f"{node.name} did not stop in {timeout_s:g} s: see {node.log}")

    def kill(self, number: int) -> None:
        """SIGKILL, as a crash would be; returns when the process is gone."""
        node = self.node(number)
        if not self._signal(node, signal.SIGKILL):
            raise ClusterError(f"{node.name} does not run: there is nothing to kill")
        if not _gone(node, time.monotonic() + STOP_TIMEOUT_S):
            raise ClusterError(f"{node.name} is still there {STOP_TIMEOUT_S:g} s after SIGKILL")

    def restart(self, number: int, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Stops a node if it runs, starts it, and returns when it serves again.

        Without a running majority nothing can serve: then it returns when the node answers.
        """
        self.stop_node(number)
        self.spawn(number)
        running = sum(self.node(other).pid() is not None for other in range(1, self.size + 1))
        quorate = running > self.size // 2 and number <= self.size

        def up(reports: list[NodeReport]) -> bool:
            serving = any(report.serving for report in reports if report.node.number == number)
            return serving if quorate else self._answers(reports, number)

        self.wait(up, timeout_s=timeout_s, writes=quorate)

    def wipe(self) -> None:
        """Stops every node and removes the folder with all its data."""
        if not self.folder.exists():
            return
        if not self._layout.exists():
            raise ClusterError(f"{self.folder} holds no local cluster: nothing was removed")
        self.stop()
        shutil.rmtree(self.folder)

    def reports(self) -> list[NodeReport]:
        """Every node as it is now, in order of their numbers."""
        return [_report(node) for node in self.nodes]

    def leader(self) -> int | None:
        """The number of the node that leads, by the newest term any node tells; None: none does."""
        return _leader(self.reports())

    def takes_writes(self) -> bool:
        """Whether a leader is there whose majority answers it; nothing is written to find out."""
        leader = self.leader()
        return leader is not None and _barrier(self.node(leader).client_address)

    def wait(
        self,
        ready: Callable[[list[NodeReport]], bool],
        *,
        timeout_s: float = START_TIMEOUT_S,
        writes: bool = True,
    ) -> None:
        """Returns when `ready` holds of the reports and, if asked, the cluster takes writes.

        Raises ClusterError at the deadline, or as soon as a node that ran has ended.
        """
        deadline = time.monotonic() + timeout_s
        ran = [node for node in self.nodes if node.pid() is not None]
        while True:
            reports = self.reports()
            if ready(reports) and (not writes or self.takes_writes()):
                return
            for node in ran:
                if node.pid() is None:
                    raise ClusterError(f"{node.name} ended; {node.log} says:{node.last_words()}")
            if time.monotonic() > deadline:
                seen = "; ".join(describe(report) for report in reports)
                raise ClusterError(f"not ready after {timeout_s:g} s: {seen}; see {self.folder}")
            time.sleep(POLL_INTERVAL_S)

    @staticmethod
    def _answers(reports: list[NodeReport], number: int) -> bool:
        return any(r.status is not None for r in reports if r.node.number == number)

    def _arguments(self, node: Node) -> list[str]:
        members = ",".join(
            f"{other.name}={other.peer_address}"
            for other in map(self.node, range(1, self.size + 1))
        )
        formation = ["--join"] if node.number > self.size else ["--peers", members]
        listen = ["--listen", node.client_address, "--peer-listen", node.peer_address]
        return ["--name", node.name, *listen, *formation, "--data", str(node.data)]

    @staticmethod
    def _signal(node: Node, number: int) -> bool:
        pid = node.pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True


def free_base_port(nodes: int) -> int:
    """A base port for which every client port and every peer port is free at this moment.

    Until this process ends, nobody else who asks here is given one of them: a node that is about to
    start, or to start again, has no port yet.
    """
    for base in random.sample(FREE_PORTS, len(FREE_PORTS)):
        ports = [base + k + offset for k in range(nodes) for offset in (0, PEER_PORT_OFFSET)]
        shares = sorted({port - port % PORTS_SHARE for port in ports})
        # To look at a port takes it for a moment, so nobody looks at what may be a node's.
        if all(map(_reserve, shares)) and all(map(_is_free, ports)):
            return base
    raise ClusterError(f"found no free ports in a row for {nodes} nodes: choose a base port")


def _reserve(share: int) -> bool:
    # A name in Linux's abstract namespace: one process has it, and no file is left of it.
    with socket.socket(socket.AF_UNIX) as sign:
        try:
            sign.bind(f"\0statehouse ports from {share}")
        except OSError:
            return False
        # Left open: it ends with this process.
        sign.detach()
        return True


def describe(report: NodeReport) -> str:
    """One line about one node: name, address, process, role."""
    head = f"{report.node.name}  {report.node.client_address}"
    if report.pid is None:
        return f"{head}  not running"
    if report.status is None:
        return f"{head}  pid {report.pid}  does not answer"
    from statehouse_proto.v2 import cluster_pb2

    role = cluster_pb2.Role.Name(report.status.role).removeprefix("ROLE_").lower()
    doing = "serving" if report.serving else f"{report.status.lifecycle}, not serving"
    place = f"term {report.status.term}  commit_ts {report.status.commit_ts}"
    return f"{head}  pid {report.pid}  {role}  {doing}  {place}"


def _gone(node: Node, deadline: float) -> bool:
    while node.pid() is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def _stat_fields(pid: int) -> list[str]:
    # The second field, the program's name, may hold anything: read on after its closing bracket.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _started_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it is gone.

    A zombie is gone once its last thread is: the first may end before the others.
    """
    try:
        fields = _stat_fields(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return None if ended else int(fields[19])


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _has_lost_its_memory(pid: int) -> bool:
    """Whether a process is ending; one that is just starting has a program, if no arguments yet."""
    try:
        Path(f"/proc/{pid}/exe").readlink()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _require_free(address: str, name: str) -> None:
    if not _is_free(int(address.rpartition(":")[2])):
        raise ClusterError(
            f"{address}, which {name} needs, is in use: "
            "stop what listens there, or choose another --base-port"
        )


def _report(node: Node) -> NodeReport:
    pid = node.pid()
    if pid is None:
        return NodeReport(node, None, None, serving=False)
    from grpc_health.v1 import health_pb2
    from statehouse_proto.v2 import cluster_pb2

    address = node.client_address
    status = _call(
        address,
        "/statehouse.v2.ClusterService/Status",
        cluster_pb2.StatusRequest(),
        cluster_pb2.StatusResponse,
    )
    health = status and _call(
        address,
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(),
        health_pb2.HealthCheckResponse,
    )
    serving = health is not None and health.status == health_pb2.HealthCheckResponse.SERVING
    return NodeReport(node, pid, status, serving)


def _leader(reports: Iterable[NodeReport]) -> int | None:
    from statehouse_proto.v2 import cluster_pb2

    leading = [
        (report.status.term, report.node.number)
        for report in reports
        if report.status is not None and report.status.role == cluster_pb2.ROLE_LEADER
    ]
    return max(leading)[1] if leading else None


def _barrier(address: str) -> bool:
    """A linearizable read of nothing: answered only by a leader whose majority still follows it."""
    from statehouse_proto.v2 import state_pb2

    nothing = state_pb2.GetRequest(namespace="default", agent_id="local-cluster", key="probe")
    answer = _call(address, "/statehouse.v2.StateService/Get", nothing, state_pb2.GetResponse)
    return answer is not None


def _call(address: str, path: str, request: Message, response: type[Answer]) -> Answer | None:
    import grpc

    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            answer: Answer = call(request, timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError:
            return None
    return answer


def _print_status(cluster: LocalCluster) -> int:
    reports = cluster.reports()
    for report in reports:
        print(describe(report))
    writes = cluster.takes_writes()
    print("the cluster takes writes" if writes else "the cluster takes no writes")
    print(f"export STATEHOUSE_URL={cluster.endpoints}")
    return 0 if writes and all(report.serving for report in reports) else 1


def _run(arguments: argparse.Namespace) -> int:
    cluster = LocalCluster(arguments.data, nodes=arguments.nodes, base_port=arguments.base_port)
    match arguments.command:
        case "start":
            cluster.start()
            return _print_status(cluster)
        case "status":
            return _print_status(cluster)
        case "stop":
            for name in (killed := cluster.stop()):
                print(f"{name} did not stop when asked and was killed", file=sys.stderr)
            return 1 if killed else 0
        case "kill":
            cluster.kill(arguments.number)
        case "restart":
            cluster.restart(arguments.number)
        case "join":
            peer_address = cluster.join(arguments.number)
            print(f"export STATEHOUSE_URL={cluster.endpoints}")
            print(f"statehousectl cluster add {peer_address}")
        case "wipe":
            cluster.wipe()
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--nodes", type=int, choices=range(1, 10), metavar="1-9")
    shared.add_argument("--base-port", type=int, help="0: free ones")
    shared.add_argument("--data", type=Path, default=DEFAULT_DATA, help="the cluster's folder")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in ("start", "status", "stop", "wipe"):
        commands.add_parser(name, parents=[shared])
    for name in ("kill", "restart", "join"):
        commands.add_parser(name, parents=[shared]).add_argument(
            "number", type=int, choices=range(1, 100), metavar="N"
        )
    return parser


def _use_project_environment() -> None:
    """Starts this script anew with the Python of .venv, if the present one lacks the project."""
    if importlib.util.find_spec("statehouse_sdk") is not None:
        return
    python = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python"
    if not python.exists():
        raise ClusterError(
            f"the project is not installed for {sys.executable}: run scripts/quickstart, "
            "which makes .venv, or install it with pip"
        )
    os.execv(python, [str(python), *sys.argv])


def main() -> int:
    try:
        _use_project_environment()
        code = _run(_parser().parse_args())
        sys.stdout.flush()
        return code
    except ClusterError as error:
        print(f"local_cluster: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # `... | head -1` has seen enough; the interpreter must not write the rest at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
