"""A stage for scripts: every tick, delivery and broken link is the script's own choice.

The same script can be played by the library as it comes (`StockStage`) and by the adapter
(`EngineStage`). Links are FIFO and lose nothing unless the script says so; an election begins when
the script wants one, which Raft allows at any time.
"""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pysyncobj.syncobj as library
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from statehouse_cluster.interfaces import Member, Offer, Position
from statehouse_cluster.journal import Journal
from statehouse_cluster.membership import Change, Configuration
from statehouse_cluster.raft_adapter import Engine
from statehouse_cluster.recovery import found
from statehouse_cluster.settings import Bounds
from statehouse_cluster.timing import Timing
from statehouse_cluster.wire import decode, encode

from tests.simulation.checker import Checker
from tests.simulation.files import SimulatedFiles
from tests.simulation.list_machine import ListMachine, commands_of

if TYPE_CHECKING:
    from collections.abc import Iterable

NEVER = float("inf")
NO_FALLBACK_S = 1e6


class Stage:
    """What both kinds of stages share: the clock, the wires and the words of scripts."""

    def __init__(self, names: str, *, batch_bytes: int = 65536, chunk_bytes: int = 65536) -> None:
        self.now = 1000.0
        self.acked: set[str] = set()
        """The writes that clients were told are committed."""
        self.batch_bytes = batch_bytes
        self.chunk_bytes = chunk_bytes
        self.nodes: dict[str, Any] = {}
        self.links: set[tuple[str, str]] = set()
        self.queues: dict[tuple[str, str], deque[Any]] = defaultdict(deque)
        self._original = library.monotonicTime
        library.monotonicTime = lambda: self.now
        for name in names:
            self.nodes[name] = self.make(name, names)
        self.connect_all(names)

    def close(self) -> None:
        library.monotonicTime = self._original

    # -- The words of scripts

    def connect(self, a: str, b: str) -> None:
        for pair in ((a, b), (b, a)):
            if pair not in self.links:
                self.links.add(pair)
                self.link_up(*pair)

    def connect_all(self, names: Iterable[str]) -> None:
        for a in names:
            for b in names:
                if a < b:
                    self.connect(a, b)

    def cut(self, a: str, b: str) -> None:
        """The connection is reset; what was under way is lost, both ends know."""
        for pair in ((a, b), (b, a)):
            self.queues[pair].clear()
            if pair in self.links:
                self.links.discard(pair)
                self.link_down(*pair)

    def isolate(self, name: str) -> None:
        for other in self.nodes:
            if other != name:
                self.cut(name, other)

    def double(self, a: str, b: str) -> None:
        """All that is under way from a to b will arrive twice."""
        self.queues[a, b].extend(list(self.queues[a, b]))

    def forget(self, a: str, b: str) -> None:
        """What is under way from a to b is lost."""
        self.queues[a, b].clear()

    def deliver(self, a: str, b: str, count: int | None = None) -> None:
        """Hands over the next messages, or all that are under way now."""
        queue = self.queues[a, b]
        for _ in range(len(queue) if count is None else min(count, len(queue))):
            self.receive(b, a, queue.popleft())

    def settle(self, names: str, rounds: int = 6) -> None:
        """Time passes and everything arrives, among these nodes."""
        for _ in range(rounds):
            self.wait(0.2)
            for name in names:
                self.tick(name)
            for a in names:
                for b in names:
                    if (a, b) in self.links:
                        self.deliver(a, b)
            for name in names:
                self.tick(name)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def beat(self, name: str) -> None:
        """Time for one heartbeat passes, and the node sends it."""
        self.wait(0.2)
        self.tick(name)

    def lost(self, *names: str) -> list[str]:
        """The acknowledged writes that one of the nodes does not have."""
        return sorted(v for v in self.acked if any(v not in self.data(name) for name in names))

    def sends(self, a: str, b: str, message: Any) -> bool:
        if (a, b) not in self.links:
            return False
        self.queues[a, b].append(message)
        return True

    # -- What the two kinds do differently

    def make(self, name: str, names: str) -> Any:
        raise NotImplementedError

    def link_up(self, a: str, b: str) -> None:
        raise NotImplementedError

    def link_down(self, a: str, b: str) -> None:
        raise NotImplementedError

    def receive(self, name: str, sender: str, message: Any) -> None:
        raise NotImplementedError

    def tick(self, name: str) -> None:
        raise NotImplementedError

    def campaign(self, name: str) -> None:
        raise NotImplementedError

    def write(self, name: str, value: str) -> None:
        raise NotImplementedError

    def compact(self, name: str) -> None:
        raise NotImplementedError

    def join(self, name: str, others: str, leader: str) -> None:
        """A new node, and the order to the leader to add it."""
        raise NotImplementedError

    def restart(self, name: str) -> None:
        raise NotImplementedError

    def data(self, name: str) -> list[str]:
        raise NotImplementedError

    def leads(self, name: str) -> bool:
        return bool(self.nodes[name]._SyncObj__raftState == 2)


class _StockTransport(Transport):
    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(None, None, None)
        self.stage = stage
        self.name = name

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        # Entries are immutable; the lists around them are the sender's own.
        return self.stage.sends(self.name, node.id, copy.copy(message))

    def addNode(self, node: Node) -> None: ...

    def dropNode(self, node: Node) -> None: ...


class StockNode(SyncObj):
    """The library as it comes, over a list."""

    def __init__(self, stage: Stage, name: str, others: str, **settings: Any) -> None:
        conf = SyncObjConf(
            autoTick=False,
            useFork=False,
            dynamicMembershipChange=True,
            leaderFallbackTimeout=NO_FALLBACK_S,
            logCompactionMinEntries=10**9,
            logCompactionMinTime=10**9,
            appendEntriesBatchSizeBytes=stage.batch_bytes,
            logCompactionBatchSize=stage.chunk_bytes,
            **settings,
        )
        self.wire = _StockTransport(stage, name)
        super().__init__(
            Node(name),
            [Node(other) for other in others if other != name],
            conf=conf,
            nodeClass=Node,
            transport=self.wire,
        )
        self.values: list[str] = []

    @replicated
    def put(self, value: str) -> str:
        self.values.append(value)
        return value


class StockStage(Stage):
    """Played by the library as it comes; with `folder` it keeps journals and dumps there."""

    def __init__(self, names: str, *, folder: Path | None = None, **sizes: int) -> None:
        self.folder = folder
        super().__init__(names, **sizes)

    def make(self, name: str, names: str) -> StockNode:
        settings = {}
        if self.folder is not None:
            settings = {
                "journalFile": str(self.folder / f"{name}.journal"),
                "fullDumpFile": str(self.folder / f"{name}.dump"),
            }
        node = StockNode(self, name, names, **settings)
        node._SyncObj__raftElectionDeadline = NEVER
        return node

    def close(self) -> None:
        super().close()
        for node in self.nodes.values():
            node.destroy()

    def link_up(self, a: str, b: str) -> None:
        self.nodes[a].wire._onNodeConnected(Node(b))

    def link_down(self, a: str, b: str) -> None:
        self.nodes[a].wire._onNodeDisconnected(Node(b))

    def receive(self, name: str, sender: str, message: Any) -> None:
        self.nodes[name].wire._onMessageReceived(Node(sender), message)

    def tick(self, name: str) -> None:
        self.nodes[name]._SyncObj__raftElectionDeadline = NEVER
        self.nodes[name].doTick()

    def campaign(self, name: str) -> None:
        self.nodes[name]._SyncObj__raftElectionDeadline = -1
        self.nodes[name].doTick()

    def write(self, name: str, value: str) -> None:
        def ended(_: object, error: int) -> None:
            if error == 0:
                self.acked.add(value)

        self.nodes[name].put(value, callback=ended)

    def compact(self, name: str) -> None:
        self.nodes[name].forceLogCompaction()
        self.tick(name)
        self.tick(name)

    def join(self, name: str, others: str, leader: str) -> None:
        self.nodes[name] = self.make(name, others + name)
        self.nodes[leader].addNodeToCluster(Node(name))
        self.tick(leader)

    def restart(self, name: str) -> None:
        self.nodes[name].destroy()
        self.nodes[name] = self.make(name, "ABC")

    def data(self, name: str) -> list[str]:
        return list(self.nodes[name].values)


class _EngineLinks:
    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.name = name

    def send(self, name: str, message: dict[str, Any]) -> bool:
        return self.stage.sends(self.name, name, encode(message))

    def is_full(self, name: str) -> bool:
        return False

    def dial(self, name: str, address: str) -> None: ...

    def drop(self, name: str) -> None: ...

    def linger(self, name: str) -> None: ...


class _EngineDesk:
    """Snapshots that arrive with the next tick, unless the script broke the way for them."""

    def __init__(self, machine: ListMachine) -> None:
        self.machine = machine
        self.is_broken = False
        self.incoming: Offer | None = None
        self.outgoing: Offer | None = None

    def offer_for(self, name: str, least: int) -> Offer | None:
        if self.outgoing is None or self.outgoing.position.index < least:
            position = self.machine.position()
            self.outgoing = Offer(f"{self.machine.name}-{position.index}", position)
            self.machine.checkpoint(Path(self.outgoing.snapshot_id))
        return self.outgoing

    def offered(self, leader: str, offer: Offer) -> None:
        self.incoming = offer

    def pinned_index(self) -> int | None:
        return self.outgoing.position.index if self.outgoing else None


class _NullPoller:
    def poll(self, timeout_s: float) -> None: ...


class EngineStage(Stage):
    """Played by the adapter, over the real journal; a broken promise is raised by the checker."""

    def __init__(
        self, names: str, *, apply_entries_max: int = 64, segment_bytes: int = 100, **sizes: int
    ) -> None:
        self.checker = Checker(commands_of)
        self.apply_entries_max = apply_entries_max
        self.segment_bytes = segment_bytes
        self.shelf: dict[Path, Any] = {}
        self.disks: dict[str, SimulatedFiles] = {}
        self.machines: dict[str, ListMachine] = {}
        self.desks: dict[str, _EngineDesk] = {}
        self.founding = Configuration(tuple(_member(name) for name in names))
        super().__init__(names, **sizes)

    def make(self, name: str, names: str) -> Engine:
        disk = self.disks.setdefault(name, SimulatedFiles())
        machine = self.machines.get(name) or ListMachine(name, self.checker, self.shelf)
        self.machines[name] = machine
        self.desks[name] = _EngineDesk(machine)
        is_founder = self.founding.get(name) is not None
        founding = self.founding if is_founder else Configuration()
        journal = Journal.open(
            Path("/disk/journal"),
            disk,
            segment_bytes=self.segment_bytes,
            report=lambda line: None,
        )
        found(journal, machine, founding)
        return Engine(
            name=name,
            journal=journal,
            machine=machine,
            founding=founding,
            links=_EngineLinks(self, name),
            poller=_NullPoller(),
            snapshots=self.desks[name],
            timing=Timing(leader_fallback_s=NO_FALLBACK_S),
            bounds=Bounds(
                group_commands_max=1,
                group_bytes_max=self.batch_bytes // 2,
                apply_entries_max=self.apply_entries_max,
            ),
            randomness=Random(1),
        )

    def link_up(self, a: str, b: str) -> None:
        self.nodes[a].link_up(b)

    def link_down(self, a: str, b: str) -> None:
        self.nodes[a].link_down(b)

    def receive(self, name: str, sender: str, message: Any) -> None:
        engine = self.nodes[name]
        engine.greet(sender, _member(sender).peer_address)
        engine.received(sender, decode(message))
        # As at the end of each round.
        engine.log.flush()
        engine._transport.release(engine.term())

    def tick(self, name: str) -> None:
        self.nodes[name]._SyncObj__raftElectionDeadline = NEVER
        self._round(name)

    def campaign(self, name: str) -> None:
        engine = self.nodes[name]
        engine._forced_term = engine.term() + 1
        engine._SyncObj__raftElectionDeadline = -NEVER
        self._round(name)

    def write(self, name: str, value: str) -> None:
        self.nodes[name].propose(value.encode(), value)

    def read(self, name: str, ticket: str) -> None:
        self.nodes[name].read([ticket])

    def checkpoint(self, name: str) -> None:
        """Makes the snapshot that it will offer, as of now."""
        self.desks[name].offer_for("", 0)

    def compact(self, name: str) -> None:
        engine, pinned = self.nodes[name], self.desks[name].pinned_index()
        self.machines[name].sync()
        applied = engine.applied_index()
        engine.log.cut_to(applied if pinned is None else min(applied, pinned))

    def join(self, name: str, others: str, leader: str) -> None:
        self.nodes[name] = self.make(name, others)
        self.nodes[leader].change(Change.ADD, _member(name), f"add {name}")
        self.tick(leader)

    def restart(self, name: str) -> None:
        self.disks[name].kill()
        self.nodes[name] = self.make(name, "")

    def data(self, name: str) -> list[str]:
        return [command.decode() for command in self.machines[name].commands]

    def _round(self, name: str) -> None:
        engine, desk = self.nodes[name], self.desks[name]
        engine.step(0.0)
        if desk.incoming is not None and not desk.is_broken:
            offer, desk.incoming = desk.incoming, None
            engine.install(Path(offer.snapshot_id), Position(*offer.position))
        for outcome in engine.take_outcomes():
            if outcome.error is None:
                self.acked.add(str(outcome.ticket))


def _member(name: str) -> Member:
    return Member(name, f"uuid of {name}", f"{name}:1", f"{name}:2")
