"""Nodes of consensus in one process: real sockets, real journals, a toy state machine."""

from __future__ import annotations

import json
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from statehouse_cluster.consensus import Consensus
from statehouse_cluster.identity import DataDirectory
from statehouse_cluster.interfaces import MembershipRefused, NotLeader, Outcome, Position, Role
from statehouse_cluster.settings import Bounds, ClusterSettings
from statehouse_cluster.startup import StartRefused
from statehouse_cluster.timing import Timing

from scripts.local_cluster import free_base_port
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from statehouse_cluster.interfaces import Entry

QUICK = Timing(heartbeat_s=0.05, election_min_s=0.8, election_max_s=1.2, leader_fallback_s=1.4)


class Words:
    """A durable list of words; every apply rewrites its file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.words: list[str] = []
        self._position = Position(0, 0)
        self._configuration = b""
        if path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        stored = json.loads(path.read_text())
        self.words = stored["words"]
        self._position = Position(*stored["position"])
        self._configuration = bytes.fromhex(stored["configuration"])

    def position(self) -> Position:
        return self._position

    def configuration(self) -> bytes:
        return self._configuration

    def group(self, commands: Sequence[bytes]) -> bytes:
        return b" ".join(commands)

    def apply(
        self, entries: Sequence[Entry], position: Position, configuration: bytes | None
    ) -> list[Sequence[object]]:
        results: list[Sequence[object]] = []
        for entry in entries:
            words = entry.payload.decode().split(" ")
            results.append([len(self.words) + n for n in range(1, len(words) + 1)])
            self.words += words
        self._position = position
        self._configuration = self._configuration if configuration is None else configuration
        self._store(self._path)
        return results

    def _store(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = {
            "words": self.words,
            "position": self._position,
            "configuration": self._configuration.hex(),
        }
        path.write_text(json.dumps(stored))

    def sync(self) -> None: ...

    def prepare_checkpoint(self) -> bool:
        return True

    def checkpoint(self, directory: Path) -> None:
        self._store(directory / "words.json")

    def install(self, directory: Path) -> None:
        self._load(directory / "words.json")
        self._store(self._path)


class Node:
    """One consensus over one directory; `ask` blocks for an outcome."""

    def __init__(
        self, folder: Path, name: str, peers: dict[str, str], *, join: bool = False, **bounds: int
    ) -> None:
        self.name = name
        self.faults: list[BaseException] = []
        self.lines: list[str] = []
        self.directory = DataDirectory.open(folder / name)
        self.machine = Words(folder / name / "state" / "words.json")
        self.consensus = Consensus(
            ClusterSettings(
                name=name,
                directory=self.directory,
                peer_listen=peers[name],
                client_address=f"client-of-{name}",
                peers={} if join else peers,
                join=join,
                timing=QUICK,
                bounds=Bounds(**bounds),
            ),
            self.machine,
            deliver=_deliver,
            on_status=lambda status: None,
            on_fatal=self.faults.append,
            report=self.lines.append,
        )
        self.consensus.start()

    def say(self, word: str) -> int:
        ticket = _Ticket()
        self.consensus.propose(word.encode(), ticket)
        return ticket.result()

    def barrier(self) -> int:
        ticket = _Ticket()
        self.consensus.barrier(ticket)
        return ticket.result()

    @property
    def leads(self) -> bool:
        return self.consensus.status().ready

    def stop(self, *, hand_over: bool = False) -> None:
        self.consensus.stop(hand_over=hand_over, timeout_s=5)
        self.directory.close()


class _Ticket:
    """A request's end, waited for by the test's thread."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self.outcome: Outcome | None = None

    def end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._done.set()

    def result(self) -> int:
        assert self._done.wait(10), "no outcome came"
        assert self.outcome is not None
        if self.outcome.error is not None:
            raise self.outcome.error
        assert isinstance(self.outcome.result, int)
        return self.outcome.result


def _deliver(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        assert isinstance(outcome.ticket, _Ticket)
        outcome.ticket.end(outcome)


def free_addresses(count: int) -> list[str]:
    """Nobody else takes them while a node has not begun, or is begun anew."""
    base = free_base_port(count)
    return [f"127.0.0.1:{base + number}" for number in range(count)]


class Cluster:
    """Nodes by name; each can be stopped and started again over its directory."""

    def __init__(self, folder: Path, size: int, **bounds: int) -> None:
        self.folder = folder
        self.bounds = bounds
        names = [f"n{number}" for number in range(1, size + 1)]
        self.peers = dict(zip(names, free_addresses(size), strict=True))
        self.nodes: dict[str, Node] = {}
        for name in names:
            self.start(name)

    def start(self, name: str) -> Node:
        self.nodes[name] = Node(self.folder, name, self.peers, **self.bounds)
        return self.nodes[name]

    def join(self, name: str) -> Node:
        peers = {name: free_addresses(1)[0]}
        self.nodes[name] = Node(self.folder, name, peers, join=True, **self.bounds)
        return self.nodes[name]

    def kill(self, name: str) -> None:
        self.nodes.pop(name).stop()

    def leader(self) -> Node:
        def look() -> Node | None:
            leading = [node for node in self.nodes.values() if node.leads]
            return max(leading, key=lambda n: n.consensus.status().term) if leading else None

        return eventually(look, timeout_s=15, what="a leader")

    def settle(self) -> None:
        """Waits until each node knows the leader and has a link to each other."""

        def is_settled() -> bool:
            told = [node.consensus.status() for node in self.nodes.values()]
            return all(
                status.leader is not None and all(member.connected for member in status.members)
                for status in told
            )

        eventually(is_settled, timeout_s=15, what="all connected")

    def say(self, word: str) -> int:
        def try_it() -> int | None:
            try:
                return self.leader().say(word)
            except NotLeader:
                return None

        return eventually(try_it, timeout_s=15, what=f"{word} committed")

    def close(self) -> None:
        for node in self.nodes.values():
            node.stop()
        assert [node.faults for node in self.nodes.values() if node.faults] == []


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, 3)
    made.settle()
    yield made
    made.close()


def test_what_is_said_is_heard_by_all_in_one_order(cluster: Cluster) -> None:
    for number in range(20):
        assert cluster.say(f"w{number}") == number + 1
    expected = [f"w{number}" for number in range(20)]
    for node in cluster.nodes.values():
        eventually(lambda node=node: node.machine.words == expected, what=f"{node.name} has all")


def test_one_node_alone_is_a_cluster(tmp_path: Path) -> None:
    alone = Cluster(tmp_path, 1)
    assert alone.say("word") == 1
    assert alone.leader().barrier() >= 1
    alone.kill("n1")
    alone.start("n1")
    assert alone.say("more") == 2
    alone.close()


def test_a_follower_refuses_commands_and_reads(cluster: Cluster) -> None:
    leader = cluster.leader()
    follower = next(node for node in cluster.nodes.values() if node is not leader)
    with pytest.raises(NotLeader):
        follower.say("no")
    with pytest.raises(NotLeader):
        follower.barrier()
    told = follower.consensus.status().leader
    assert told is not None
    assert told.client_address == f"client-of-{leader.name}"


def test_the_others_go_on_when_the_leader_is_gone(cluster: Cluster) -> None:
    cluster.say("before")
    cluster.kill(cluster.leader().name)
    assert cluster.say("after") == 2


def test_all_may_stop_and_nothing_is_forgotten(cluster: Cluster) -> None:
    cluster.say("kept")
    for name in list(cluster.nodes):
        cluster.kill(name)
    for name in ("n1", "n2", "n3"):
        cluster.start(name)
    assert cluster.say("again") == 2


def test_leadership_is_handed_over_on_request_and_at_a_stop(cluster: Cluster) -> None:
    leader = cluster.leader()
    target = next(name for name in cluster.nodes if name != leader.name)
    assert leader.consensus.transfer(target).name == target
    eventually(lambda: cluster.leader().name == target, what=f"{target} leads")
    cluster.nodes.pop(target).stop(hand_over=True)
    assert cluster.leader().name != target


def test_the_lead_is_not_given_to_who_cannot_take_it(cluster: Cluster) -> None:
    leader = cluster.leader()
    with pytest.raises(MembershipRefused, match="n9 is none of the other members"):
        leader.consensus.transfer("n9")
    gone = next(name for name in cluster.nodes if name != leader.name)
    cluster.kill(gone)
    eventually(
        lambda: not leader.consensus.call(lambda engine: engine.is_connected(gone)),
        what=f"{gone} missed",
    )
    with pytest.raises(MembershipRefused, match=f"{gone} is not connected"):
        leader.consensus.transfer(gone)
    assert cluster.leader() is leader


def test_a_node_is_added_catches_up_by_snapshot_and_another_is_removed(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 3, journal_bytes_retained_max=20_000)
    for number in range(50):
        cluster.say(f"{number}" + "x" * 100)
    leader = cluster.leader()
    newcomer = cluster.join("n4")
    address = newcomer.consensus._settings.peer_listen
    eventually(lambda: newcomer.consensus._parts, what="the newcomer waits")
    steps: list[str] = []
    member = leader.consensus.add_member(address, lambda step: steps.append(step.phase))
    assert member.name == "n4"
    assert steps[-1] == "voting"
    eventually(lambda: newcomer.machine.words == leader.machine.words, what="n4 has all")
    gone = next(name for name in ("n1", "n2", "n3") if name != leader.name)
    leader.consensus.remove_member(gone)
    eventually(
        lambda: cluster.nodes[gone].consensus.status().role is Role.REMOVED, what=f"{gone} told"
    )
    cluster.kill(gone)
    cluster.say("after")

    def names() -> set[str]:
        return {status.member.name for status in cluster.leader().consensus.status().members}

    left = {"n1", "n2", "n3", "n4"} - {gone}
    eventually(lambda: names() == left, what="the leader tells the members that are left")
    cluster.close()


def test_a_follower_that_missed_what_was_cut_gets_a_snapshot(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 3, journal_bytes_retained_max=20_000)
    cluster.say("first")
    away = next(name for name in cluster.nodes if name != cluster.leader().name)
    cluster.kill(away)
    for number in range(60):
        cluster.say(f"{number}" + "x" * 1000)
    back = cluster.start(away)
    words = cluster.leader().machine.words
    eventually(lambda: back.machine.words == words, timeout_s=20, what=f"{away} caught up")
    cluster.close()


def test_a_node_that_lost_its_journal_refuses_to_start(tmp_path: Path) -> None:
    alone = Cluster(tmp_path, 1)
    alone.say("kept")
    alone.kill("n1")
    for part in ("journal", "state"):
        shutil.rmtree(tmp_path / "n1" / part)
    forgetful = alone.start("n1")
    eventually(lambda: forgetful.faults, what="a refusal")
    assert isinstance(forgetful.faults[0], StartRefused)
    assert "its journal is lost" in str(forgetful.faults[0])
    forgetful.stop()
