"""A whole cluster in one thread: time, network, disks and faults are inputs drawn from one seed.

A run has two parts: faults while clients work, then a healed cluster that must come to an end
(settling.py). Whatever the checker sees to be impossible, any exception of a node, and a cluster
that does not converge, is a Violation. Time jumps from one event to the next.
"""

from __future__ import annotations

import hashlib
import heapq
import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pysyncobj.syncobj as library
from statehouse_cluster.interfaces import Member, Offer
from statehouse_cluster.membership import Configuration

from tests.simulation.checker import Checker, Violation
from tests.simulation.clients import Clients
from tests.simulation.faults import Faults
from tests.simulation.network import Network
from tests.simulation.node import SimulatedNode
from tests.simulation.settling import Settling
from tests.simulation.stores import MemoryStore, RocksStore, Shelf
from tests.simulation.users import Users, virtual_sdk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from statehouse_cluster.raft_adapter import Engine

    from statehouse.core.model import Submission
    from tests.checkers.history import Operation
    from tests.simulation.options import Options
    from tests.simulation.stores import Store

_BEGIN = 1000.0
_BEGIN_US = 1_700_000_000_000_000
_EVENTS_MAX = 5_000_000


@dataclass
class Report:
    """What a run did, and what it met."""

    seed: int
    virtual_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    """How often each rare thing happened."""
    trace: str = ""
    violation: str = ""
    cause: Exception | None = None
    """What a node raised, if that was it."""
    details: str = ""
    """The same as text, which goes from process to process."""


class World:
    """One run. Not reused."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.now = _BEGIN
        self.begin_us = _BEGIN_US
        self.random = Random(f"run {options.seed}")
        self.checker = Checker()
        self.history: list[Operation] = []
        self.snapshot_count = 0
        self.report = Report(options.seed)
        self.is_healed = False
        self.nodes: dict[str, SimulatedNode] = {}
        self.network = Network(self, options)
        self.clients = Clients(self)
        with virtual_sdk(self):
            self.users = Users(self)
        self.event_count = 0
        self.kinds_sent: Counter[str] = Counter()
        self._folder: Path | None = None
        """Where the real stores lie, if this seed has them."""
        self._shelf = Shelf()
        self._faults = Faults(self)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._hash = hashlib.blake2b(digest_size=16)
        self._answers: dict[bytes, tuple[str, object]] = {}

    # -- Time

    @property
    def now_ns(self) -> int:
        """For recordings."""
        return int(self.now * 1e9)

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Runs an action at a virtual time."""
        self.event_count += 1
        heapq.heappush(self._events, (when, self.event_count, action))

    def run_until(self, end: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Lets time pass to `end`, or until `done`, asked every 50 ms of it, says so."""
        next_look = self.now
        events = self._events
        while events and events[0][0] <= end:
            when, _, action = heapq.heappop(events)
            if when > self.now:
                self.now = when
            action()
            if self.now >= next_look:
                next_look = self.now + 0.05
                if done():
                    return True
            if self.event_count > _EVENTS_MAX:
                raise Violation("the cluster is busy without end")
        self.now = end
        return done()

    # -- A run

    def run(self) -> Report:
        """The whole run; a violation is in the report, not raised."""
        with self._virtual_time(), virtual_sdk(self), self._folder_for_stores():
            try:
                self._found()
                self._faults.begin()
                self._clients_work()
                self.users.begin()
                self.run_until(_BEGIN + self.options.faulty_s)
                Settling(self).settle()
            except Violation as violation:
                self.report.violation = str(violation)
            except Exception as error:  # whatever a node raises stops it: a violation too
                self.report.violation = f"{type(error).__name__}: {error}"
                self.report.cause = error
            finally:
                for node in self.nodes.values():
                    node.machine.kill()
        self.report.virtual_s = self.now - _BEGIN
        self.report.trace = self._hash.hexdigest()
        return self.report

    @contextmanager
    def _virtual_time(self) -> Iterator[None]:
        original = library.monotonicTime
        library.monotonicTime = lambda: self.now
        try:
            yield
        finally:
            library.monotonicTime = original

    @contextmanager
    def _folder_for_stores(self) -> Iterator[None]:
        if not self.options.rocksdb:
            yield
            return
        self.mark("state kept in RocksDB")
        memory = Path("/dev/shm")
        self._folder = Path(
            tempfile.mkdtemp(
                prefix="statehouse-simulation-", dir=memory if memory.is_dir() else None
            )
        )
        try:
            yield
        finally:
            shutil.rmtree(self._folder)

    def _found(self) -> None:
        names = [f"n{number}" for number in range(1, self.options.nodes + 1)]
        members = tuple(Member(name, f"uuid of {name}", f"{name}:1", f"{name}:2") for name in names)
        for name in names:
            self.nodes[name] = SimulatedNode(self, name, Configuration(members))
        for node in list(self.nodes.values()):
            node.start()

    def new_node(self) -> SimulatedNode:
        """Starts a node with an empty disk that waits to be added."""
        name = f"n{len(self.nodes) + 1}"
        node = self.nodes[name] = SimulatedNode(self, name, Configuration())
        node.start()
        return node

    def new_store(self, node: SimulatedNode) -> Store:
        """An empty store for a new node."""
        if self._folder is None:
            return MemoryStore(self._shelf, node.now_us)
        return RocksStore(self._folder / node.name, node.now_us)

    def directory_of(self, offer: Offer) -> Path:
        """Where the checkpoint of a snapshot lies."""
        return (self._folder or Path("/")) / "snapshots" / offer.snapshot_id

    def restart_later(self, node: SimulatedNode) -> None:
        """Starts a node that is down again, soon or late."""
        if self.is_healed:
            self.at(self.now + 0.1, node.start)
        else:
            self.at(
                self.now + self.random.choice((0.05, 1.0, 6.0)) * self.random.random(), node.start
            )

    def _clients_work(self) -> None:
        if self.is_healed:
            return
        self.clients.some_requests()
        delay_s = self.random.expovariate(self.options.client_rate)
        self.at(self.now + delay_s, self._clients_work)

    # -- What is noted

    def count(self, what: str) -> None:
        self.report.counts[what] += 1

    def mark(self, what: str) -> None:
        self.report.marks[what] += 1

    def trace(self, *what: object) -> None:
        self._hash.update(repr((self.now, *what)).encode())

    def elected(self, node: SimulatedNode) -> None:
        self.mark("leader elected")
        if self.network.clogged:
            self.mark("leader elected under clog")
        if self.network.blocked:
            self.mark("leader elected in a partition")
        self.trace("leads", node.name)

    def sent(self, message: Mapping[str, Any]) -> None:
        self.kinds_sent[message["type"]] += 1

    def decided(self, name: str, submission: Submission, answer: object) -> None:
        """A node answers a user's commit; a later attempt at it is told the same."""
        told_by, told = self._answers.setdefault(submission.transaction, (name, answer))
        if told != answer:
            raise Violation(f"{told_by} answered {told} to what {name} answers {answer}")
        if told is not answer:
            self.mark("retry answered from its receipt")

    def watch(self, engine: Engine, message: Mapping[str, Any]) -> None:
        """Notes what a message is about to meet."""
        kind, stale = message["type"], message["x_term"] < engine.term()
        if kind == "next_node_idx" and stale and engine.is_leader():
            self.mark("acknowledgement of an earlier term dropped")
        elif kind == "append_entries" and stale:
            self.mark("append of an earlier term rejected")
        elif kind == "x_removed":
            self.mark("removed node told by a peer")
        elif kind == "x_timeout_now":
            self.mark("transfer ordered")
        elif kind == "x_snap_offer":
            self.mark("snapshot offered")
