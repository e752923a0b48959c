"""A whole cluster in one thread: time, network, disks and faults are inputs drawn from one seed.

A run has two parts: faults while clients work, then a healed cluster that must come to an end, one
leader, equal states, every request answered. Whatever the checker sees to be impossible, any
exception of a node, and a cluster that does not converge, is a Violation.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import pysyncobj.syncobj as library
from statehouse_cluster.interfaces import Member
from statehouse_cluster.membership import Configuration

from tests.simulation.checker import Checker, Violation
from tests.simulation.clients import Clients
from tests.simulation.faults import Faults
from tests.simulation.network import Network
from tests.simulation.node import SimulatedNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from statehouse_cluster.raft_adapter import Engine

    from tests.simulation.machine import Snapshot
    from tests.simulation.options import Options

_BEGIN = 1000.0
_SETTLE_S = 60.0
"""A healed cluster must have converged by then."""
_TRIES_MAX = 10
_EVENTS_MAX = 3_000_000


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
        self.random = Random(f"run {options.seed}")
        self.checker = Checker()
        self.shelf: dict[Path, Snapshot] = {}
        self.snapshot_count = 0
        self.report = Report(options.seed)
        self.is_healed = False
        self.nodes: dict[str, SimulatedNode] = {}
        self.network = Network(self, options)
        self.clients = Clients(self)
        self._faults = Faults(self)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event_count = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self.kinds_sent: Counter[str] = Counter()

    # -- Time

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Runs an action at a virtual time."""
        self._event_count += 1
        heapq.heappush(self._events, (when, self._event_count, action))

    def run_until(self, end: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Lets time pass to `end`, or until `done`, asked every 50 ms of it, says so."""
        next_look = self.now
        while self._events and self._events[0][0] <= end:
            when, _, action = heapq.heappop(self._events)
            self.now = max(self.now, when)
            action()
            if self.now >= next_look:
                next_look = self.now + 0.05
                if done():
                    return True
            if self._event_count > _EVENTS_MAX:
                raise Violation("the cluster is busy without end")
        self.now = end
        return done()

    # -- A run

    def run(self) -> Report:
        """The whole run; a violation is in the report, not raised."""
        with self._virtual_time():
            try:
                self._found()
                self._faults.begin()
                self._clients_work()
                self.run_until(_BEGIN + self.options.faulty_s)
                self._settle()
            except Violation as violation:
                self.report.violation = str(violation)
            except Exception as error:  # whatever a node raises stops it: a violation too
                self.report.violation = f"{type(error).__name__}: {error}"
                self.report.cause = error
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

    # -- The end of a run

    def _settle(self) -> None:
        self.is_healed = True
        self.network.heal()
        for node in self.nodes.values():
            node.crash_in_install = ""
            node.start()
        if not self.run_until(self.now + _SETTLE_S, self._has_converged):
            raise Violation(f"the healed cluster did not converge: {self._picture()}")
        self._serves()
        if not self.run_until(self.now + _SETTLE_S, self._has_converged):
            left = Counter(operation.kind for operation in self.clients.open)
            raise Violation(f"requests were not answered: {dict(left)}; {self._picture()}")
        self._compare()

    def _serves(self) -> None:
        """A write and a read; a fault of a disk that was still to come may cost a try or two."""
        for _ in range(_TRIES_MAX):
            self.run_until(self.now + _SETTLE_S, lambda: self._ready_leader() is not None)
            leader = self._ready_leader()
            if leader is None:
                raise Violation(f"there is no leader any more: {self._picture()}")
            write, read = self.clients.write(leader), self.clients.read(leader)
            self.run_until(
                self.now + 5.0,
                lambda asked=(write, read): not any(one in self.clients.open for one in asked),
            )
            if write.command in self.checker.history:
                return
        raise Violation(f"a healed cluster takes no write: {self._picture()}")

    def _ready_leader(self) -> SimulatedNode | None:
        leading = [n for n in self.nodes.values() if n.engine is not None and n.engine.is_ready()]
        return max(leading, key=lambda n: n.engine.term() if n.engine else 0, default=None)

    def _has_converged(self) -> bool:
        leader = self._ready_leader()
        if leader is None or leader.engine is None:
            return False
        last = leader.engine.log.last_index
        for name in leader.engine.configuration().names:
            engine = self.nodes[name].engine
            if engine is None or engine.applied_index() != last or engine.log.last_index != last:
                return False
        return not self.clients.open

    def _compare(self) -> None:
        leader = self._ready_leader()
        if leader is None or leader.engine is None:
            raise Violation("the leader was lost at the end")
        if leader.machine.commands != self.checker.history:
            raise Violation(f"{leader.name} leads without the whole history")
        for name in sorted(leader.engine.configuration().names):
            commands = self.nodes[name].machine.commands
            if commands != self.checker.history[: len(commands)]:
                raise Violation(f"the state of {name} differs from the others'")

    def _picture(self) -> str:
        return "; ".join(
            f"{node.name} {'removed' if node.removed else 'down'}"
            if node.engine is None
            else f"{node.name} {node.engine.role().value} t{node.engine.term()} log "
            f"{node.engine.log.first_index}..{node.engine.log.last_index} commit "
            f"{node.engine.commit_index()} applied {node.engine.applied_index()} of "
            f"{sorted(node.engine.configuration().names)}"
            for node in self.nodes.values()
        )

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
