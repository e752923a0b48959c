"""The clients of the simulated cluster: what they ask, what they are told, what that promises.

A request goes to a node that believes to lead, or now and then to any. Everything a client learns
goes to the checker; a request whose node ended stays open, as a lost connection would leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from statehouse_cluster.interfaces import NotLeader, OutcomeUnknown, Overloaded

from tests.simulation.checker import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_cluster.interfaces import Outcome

    from tests.simulation.node import SimulatedNode
    from tests.simulation.world import World


@dataclass(eq=False)
class Operation:
    """One request of a client; `needed` is what a read must see."""

    kind: str
    asked_at: float
    command: bytes = b""
    needed: int = 0
    then: Callable[[Outcome], None] | None = None


class Clients:
    """Everything asked of the cluster and not answered yet, by node."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0
        self.open: dict[Operation, SimulatedNode] = {}

    def some_requests(self) -> None:
        """A burst of writes or reads, to one node."""
        node = self._somebody()
        if node is None:
            return
        random, options = self._world.random, self._world.options
        for _ in range(random.randint(1, options.burst)):
            if random.random() < options.read_share:
                self.read(node)
            else:
                self.write(node)

    def write(self, node: SimulatedNode) -> Operation:
        self._number += 1
        command = b"%08d" % self._number
        size = self._world.random.randint(8, self._world.options.payload_bytes)
        operation = Operation("write", self._world.now, command.ljust(size, b"."))
        self._ask(node, operation)
        node.requests.append(lambda engine: engine.propose(operation.command, operation))
        return operation

    def read(self, node: SimulatedNode) -> Operation:
        operation = Operation("read", self._world.now, needed=self._world.checker.frontier)
        self._ask(node, operation)
        node.requests.append(lambda engine: engine.read([operation]))
        return operation

    def change(
        self, node: SimulatedNode, kind: str, then: Callable[[Outcome], None] | None = None
    ) -> Operation:
        """For a membership change or a transfer, which the caller puts to the engine itself."""
        operation = Operation(kind, self._world.now, then=then)
        self._ask(node, operation)
        return operation

    def ended(self, node: SimulatedNode, outcome: Outcome) -> None:
        operation = outcome.ticket
        if not isinstance(operation, Operation) or operation not in self.open:
            raise Violation(f"{node.name} answers a request twice, or one that nobody made")
        del self.open[operation]
        word = _word(outcome.error)
        self._world.count(f"{operation.kind}: {word}")
        self._world.trace(node.name, operation.kind, operation.command, word)
        if operation.kind == "write":
            self._write_ended(operation, outcome)
        elif operation.kind == "read":
            self._read_ended(node, operation, outcome)
        elif operation.then is not None:
            operation.then(outcome)

    def node_ended(self, node: SimulatedNode) -> None:
        for operation in [o for o, asked in self.open.items() if asked is node]:
            del self.open[operation]
            self._world.count(f"{operation.kind}: its node ended")

    def _write_ended(self, operation: Operation, outcome: Outcome) -> None:
        checker = self._world.checker
        if outcome.error is None:
            checker.acknowledged(operation.command, outcome.result)
        elif isinstance(outcome.error, NotLeader | Overloaded):
            checker.refused(operation.command)
        elif not isinstance(outcome.error, OutcomeUnknown):
            raise Violation(f"a write ended with {outcome.error!r}")

    def _read_ended(self, node: SimulatedNode, operation: Operation, outcome: Outcome) -> None:
        if outcome.error is None:
            if node.machine.position().index < outcome.result:
                raise Violation(f"{node.name} serves a read at {outcome.result}, not applied yet")
            self._world.checker.read(node.name, operation.needed, len(node.machine.commands))
        elif not isinstance(outcome.error, NotLeader):
            raise Violation(f"a read ended with {outcome.error!r}")

    def _ask(self, node: SimulatedNode, operation: Operation) -> None:
        self.open[operation] = node
        node.wake(self._world.now)

    def _somebody(self) -> SimulatedNode | None:
        up = [node for node in self._world.nodes.values() if node.is_up]
        leading = [node for node in up if node.engine is not None and node.engine.is_leader()]
        choices = leading if leading and self._world.random.random() < 0.95 else up
        return self._world.random.choice(choices) if choices else None


def _word(error: Exception | None) -> str:
    return "done" if error is None else type(error).__name__
