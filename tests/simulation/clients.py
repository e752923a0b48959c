"""Clients that know no SDK: what they ask, what they are told, what that promises.

A request goes to a node that believes to lead, or now and then to any, and is never repeated. So a
definite no can be held against the log: nobody may ever apply that command. Everything a client
learns goes to the checker and to the history; a request whose node ended stays open, as a lost
connection would leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from statehouse_cluster.interfaces import NotLeader, OutcomeUnknown, Overloaded

from statehouse.core import codec
from statehouse.core.errors import Reason
from statehouse.core.model import Committed, Kind, Operation, Refused, Submission, Transaction
from tests.checkers.history import FAILED, OK, Commit, Get, Scan, Write
from tests.simulation.checker import Violation
from tests.simulation.telling import AGENT, KEYS, NAMESPACE, row_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_cluster.interfaces import Outcome

    from tests.simulation.node import SimulatedNode
    from tests.simulation.world import World


@dataclass(eq=False)
class Request:
    """One request of a client, and the ticket by which its node ends it.

    `told`: what goes into the history; `needed`: the commit_ts a read must have come to.
    """

    clients: Clients
    kind: str
    command: bytes = b""
    client_id: bytes = b""
    told: Commit | Get | Scan | None = None
    needed: int = 0
    then: Callable[[Outcome], None] | None = None

    def ended(self, node: SimulatedNode, outcome: Outcome) -> None:
        self.clients.ended(node, self, outcome)


class Clients:
    """Everything asked of the cluster and not answered yet, by node."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0
        self._client_id = b""
        self._born_at = 0
        self._sequence = 0
        self._renew()
        self.open: dict[Request, SimulatedNode] = {}

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

    def write(self, node: SimulatedNode) -> Request:
        """One key, or now and then a delete."""
        random = self._world.random
        client = self._next_client("w")
        key = random.choice(KEYS)
        value: str | None = None
        if random.random() < 0.9:
            value = f'"{client}'.ljust(random.randint(8, self._world.options.payload_bytes), ".")
            value += '"'
        told = Commit(
            client=client,
            called_at_ns=self._world.now_ns,
            txn_id=client,
            writes=(Write(key, value),),
        )
        request = Request(self, "write", self._encode(client, key, value), self._client_id, told)
        self._world.history.append(told)
        self._world.checker.proposed_once(request.command)
        self._ask(node, request)
        node.requests.append(lambda engine: engine.propose(request.command, request))
        return request

    def read(self, node: SimulatedNode) -> Request:
        """One key, or now and then all of them."""
        client, now_ns = self._next_client("r"), self._world.now_ns
        told: Get | Scan
        if self._world.random.random() < 0.9:
            key = self._world.random.choice(KEYS)
            told = Get(client=client, called_at_ns=now_ns, keys=(key,))
        else:
            told = Scan(client=client, called_at_ns=now_ns, prefix="")
        request = Request(self, "read", told=told, needed=self._world.checker.frontier)
        self._ask(node, request)
        node.requests.append(lambda engine: engine.read([request]))
        return request

    def change(
        self, node: SimulatedNode, kind: str, then: Callable[[Outcome], None] | None = None
    ) -> Request:
        """For a membership change or a transfer, which the caller puts to the engine itself."""
        request = Request(self, kind, then=then)
        self._ask(node, request)
        return request

    def ended(self, node: SimulatedNode, request: Request, outcome: Outcome) -> None:
        if request not in self.open:
            raise Violation(f"{node.name} answers a request twice, or one that nobody made")
        del self.open[request]
        word = _word(outcome)
        self._world.count(f"{request.kind}: {word}")
        self._world.trace(node.name, request.kind, request.command, word)
        if request.kind == "write":
            self._write_ended(request, outcome)
        elif request.kind == "read":
            self._read_ended(node, request, outcome)
        elif request.then is not None:
            request.then(outcome)

    def node_ended(self, node: SimulatedNode) -> None:
        for request in [request for request, asked in self.open.items() if asked is node]:
            del self.open[request]
            self._world.count(f"{request.kind}: its node ended")

    def _write_ended(self, request: Request, outcome: Outcome) -> None:
        checker, told, answer = self._world.checker, request.told, outcome.result
        if isinstance(outcome.error, OutcomeUnknown):
            return
        told.returned_at_ns = self._world.now_ns
        if outcome.error is None and isinstance(answer, Committed):
            told.outcome = OK
            told.commit_ts, told.versions = answer.commit_ts, answer.versions
            checker.told(answer.commit_ts)
        elif outcome.error is None and isinstance(answer, Refused):
            # The cluster has forgotten this client: nothing was written, and it needs a new id.
            told.outcome = FAILED
            if answer.reason != Reason.OP_ID_EXPIRED:
                raise Violation(f"a write was refused: {answer}")
            self._world.mark("client forgotten by the cluster")
            if request.client_id == self._client_id:
                self._renew()
        elif isinstance(outcome.error, NotLeader | Overloaded):
            told.outcome = FAILED
            checker.refused(request.command)
        else:
            raise Violation(f"a write ended with {outcome.error!r}")

    def _read_ended(self, node: SimulatedNode, request: Request, outcome: Outcome) -> None:
        if isinstance(outcome.error, NotLeader):
            return
        if outcome.error is not None:
            raise Violation(f"a read ended with {outcome.error!r}")
        if node.machine.position().index < outcome.result:
            raise Violation(f"{node.name} serves a read at {outcome.result}, not applied yet")
        told = request.told
        with node.machine.view() as view:
            self._world.checker.read(node.name, request.needed, view.commit_ts)
            told.served_at = view.commit_ts
            if isinstance(told, Get):
                told.rows = tuple(row_of(view.get(NAMESPACE, AGENT, k), k) for k in told.keys)
            else:
                told.rows = rows_of(view.scan(NAMESPACE, AGENT))
        told.outcome, told.returned_at_ns = OK, self._world.now_ns
        self._world.history.append(told)

    def _encode(self, txn_id: str, key: str, value: str | None) -> bytes:
        kind = Kind.TOMBSTONE if value is None else Kind.JSON
        operation = Operation(NAMESPACE, AGENT, key, kind.value, (value or "").encode())
        self._sequence += 1
        transaction = Transaction(self._client_id, self._sequence, txn_id, (operation,))
        encoded = codec.encode_transaction(transaction)
        # Many are under way at once, so none is acknowledged but what is long gone.
        return codec.encode_submission(
            Submission(self._born_at, max(self._sequence - 10_000, 0), encoded)
        )

    def _renew(self) -> None:
        self._client_id = b"plain%011d" % self._number
        self._born_at = self._world.checker.frontier
        self._sequence = 0

    def _next_client(self, kind: str) -> str:
        self._number += 1
        return f"{kind}{self._number}"

    def _ask(self, node: SimulatedNode, request: Request) -> None:
        self.open[request] = node
        node.wake(self._world.now)

    def _somebody(self) -> SimulatedNode | None:
        up = [node for node in self._world.nodes.values() if node.is_up]
        leading = [node for node in up if node.engine is not None and node.engine.is_leader()]
        choices = leading if leading and self._world.random.random() < 0.95 else up
        # Most clients wait until they hear of a leader.
        if not choices or (not leading and self._world.random.random() < 0.8):
            return None
        return self._world.random.choice(choices)


def _word(outcome: Outcome) -> str:
    if outcome.error is not None:
        return type(outcome.error).__name__
    return "refused" if isinstance(outcome.result, Refused) else "done"
