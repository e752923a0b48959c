"""Users of the SDK: its real session, commits, retries and endpoints, on the simulated cluster.

What the SDK decides is a plan (statehouse_sdk/plans.py); this file takes its steps in virtual time:
a call travels to the node at that address, or fails as gRPC would make it fail. Each user does one
thing at a time, as tests/checkers demand, and records what it did and was told.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from statehouse_proto.v2 import common_pb2 as common
from statehouse_proto.v2 import state_pb2 as state
from statehouse_sdk import errors, faults, op_ids, session
from statehouse_sdk.commits import PendingCommit
from statehouse_sdk.config import ClientConfig
from statehouse_sdk.faults import CallFailed
from statehouse_sdk.plans import Call, Next, Pause

from statehouse.rpc.state_service import submission
from tests.checkers.history import FAILED, OK, Commit, Get, Precondition, Row, Scan, Write
from tests.simulation.checker import Violation
from tests.simulation.service import serve
from tests.simulation.telling import AGENT, KEYS, NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from statehouse_sdk.plans import Open, Plan

    from tests.simulation.node import SimulatedNode
    from tests.simulation.world import World

_TRIES = 3
"""So often a user calls commit() again on a transaction whose outcome it was not told."""


class Users:
    """All users of one cluster."""

    def __init__(self, world: World) -> None:
        names = [f"n{number}" for number in range(1, world.options.nodes + 1)]
        self.all = [
            User(world, f"u{number}", world.random.sample(names, len(names)))
            for number in range(1, world.options.users + 1)
        ]

    def begin(self) -> None:
        for user in self.all:
            user.begin()

    def node_ended(self, node: SimulatedNode) -> None:
        for user in self.all:
            user.node_ended(node)

    @property
    def busy(self) -> list[str]:
        return [user.name for user in self.all if user.is_busy]


@contextmanager
def virtual_sdk(world: World) -> Iterator[None]:
    """The SDK's clock is the world's, and so is its chance."""
    clock = SimpleNamespace(monotonic=lambda: world.now)
    secrets = SimpleNamespace(token_bytes=world.random.randbytes)
    with mock.patch.object(session, "time", clock), mock.patch.object(op_ids, "secrets", secrets):
        yield


class User:
    """One user, with a session of its own."""

    def __init__(self, world: World, name: str, known: list[str]) -> None:
        self.name = name
        self._world = world
        given = tuple(f"{node}:2" for node in known[: world.random.randint(1, len(known))])
        timeout_s = world.random.choice((2.0, 5.0, 15.0))
        self._session = session.Session(ClientConfig(endpoints=given, timeout_s=timeout_s))
        self._session._random = Random(f"{world.options.seed} {name}")
        self.last_words = ""
        """What it was told when something failed last."""
        self._seen: dict[str, Row] = {}
        self._count = 0
        self._call = 0
        """The number of the call under way; answers to earlier ones come too late."""
        self._asked: tuple[SimulatedNode, str] | None = None
        self._plan: Plan[Any] | None = None
        self._then: Callable[[Any], None] = lambda result: None

    @property
    def is_busy(self) -> bool:
        return self._plan is not None

    @property
    def addresses(self) -> tuple[str, ...]:
        """All nodes it knows."""
        return self._session.addresses()

    # -- What it does

    def begin(self) -> None:
        self._later(self._next)

    def _later(self, action: Callable[[], None]) -> None:
        world = self._world
        world.at(world.now + world.random.expovariate(world.options.user_rate), action)

    def _next(self) -> None:
        if self._world.is_healed:
            return
        what = self._world.random.choices((self.commit, self.get, self._scan), (60, 35, 5))[0]
        what(lambda told: self._later(self._next))

    def commit(self, then: Callable[[Commit], None], *, free: bool = False) -> None:
        """A transaction of some keys; its preconditions are what the user has seen of others."""
        random = self._world.random
        keys = [random.choice(KEYS) for _ in range(random.randint(1, self._operations_max))]
        self._count += 1
        txn_id = f"{self.name}-{self._count}"
        told = Commit(
            client=self.name,
            called_at_ns=self._world.now_ns,
            txn_id=txn_id,
            writes=tuple(Write(key, self._value(txn_id, n)) for n, key in enumerate(keys)),
            preconditions=() if free else self._preconditions(keys[0]),
        )
        self._world.history.append(told)
        # A message is the sum of its parts: the SDK adds the op id.
        pending = PendingCommit(self._session, [_request(told).SerializeToString()])
        self._send(pending, told, _TRIES, then)

    def get(self, then: Callable[[Get], None], *, stale: bool | None = None) -> None:
        """One key, two keys, or one as some node last knew it."""
        random = self._world.random
        keys = tuple(random.sample(KEYS, random.choice((1, 1, 2))))
        stale = random.random() < 0.2 if stale is None else stale
        told = Get(client=self.name, called_at_ns=self._world.now_ns, keys=keys, stale=stale)
        consistency = common.CONSISTENCY_STALE if stale else common.CONSISTENCY_LINEARIZABLE
        if len(keys) == 1:
            name = "Get"
            request = state.GetRequest(namespace=NAMESPACE, agent_id=AGENT, key=keys[0])
        else:
            name = "GetMany"
            request = state.GetManyRequest(namespace=NAMESPACE, agent_id=AGENT, keys=keys)
        request.consistency = consistency
        plan = self._session.unary(name, request, stale=stale)
        self._carry_out(plan, partial(self._got, told, then))

    def _scan(self, then: Callable[[Scan], None]) -> None:
        """All keys, in a stream of several messages."""
        told = Scan(client=self.name, called_at_ns=self._world.now_ns, prefix="")
        request = state.ScanRequest(namespace=NAMESPACE, agent_id=AGENT)
        self._carry_out(self._session.collect("Scan", request), partial(self._scanned, told, then))

    @property
    def _operations_max(self) -> int:
        return self._world.options.transaction_operations_max

    def _value(self, txn_id: str, number: int) -> str | None:
        random = self._world.random
        if random.random() < 0.1:
            return None
        filled = random.randint(8, self._world.options.payload_bytes)
        return f'"{txn_id}.{number}'.ljust(filled, ".") + '"'

    def _preconditions(self, key: str) -> tuple[Precondition, ...]:
        random = self._world.random
        row = self._seen.get(key)
        if row is None or random.random() < 0.5:
            return ()
        kind = random.choice(("version", "unchanged_since", "absent"))
        if kind == "version":
            return (Precondition(key, "version", row.version),)
        if kind == "absent":
            return (Precondition(key, "absent"),) if row.value is None else ()
        return (Precondition(key, "unchanged_since", row.commit_ts or 0),)

    # -- What it is told

    def _send(
        self,
        pending: PendingCommit,
        told: Commit,
        tries: int,
        then: Callable[[Commit], None],
    ) -> None:
        def ended(result: Any) -> None:
            if isinstance(result, errors.OutcomeUnknownError) and tries > 1:
                self._world.mark("commit asked for again, to learn its outcome")
                self._send(pending, told, tries - 1, then)
            else:
                pending.finish()
                self._committed(told, result)
                then(told)

        self._carry_out(pending.send(), ended)

    def _committed(self, told: Commit, result: Any) -> None:
        word = "done"
        if isinstance(result, errors.OutcomeUnknownError):
            word = "unknown"
        elif isinstance(result, errors.ConflictError):
            word, told.outcome, told.conflict = "conflict", FAILED, True
        elif isinstance(result, errors.TransactionError):
            self._must_be_excusable(result)
            word, told.outcome = "given up", FAILED
        elif isinstance(result, Exception):
            raise Violation(f"{self.name} is told {result!r} of a commit")
        else:
            told.outcome, told.commit_ts = OK, result.commit_ts
            told.versions = tuple(result.versions)
            self._world.checker.told(result.commit_ts)
        if word != "unknown":
            told.returned_at_ns = self._world.now_ns
        if isinstance(result, Exception):
            self.last_words = str(result)
        self._noted("commit", word, told.txn_id)

    def _must_be_excusable(self, error: errors.TransactionError) -> None:
        """Nothing a user does here is wrong; only the state of the cluster can be in its way."""
        cause = error.cause if isinstance(error, errors.TransactionAbortedError) else None
        if not isinstance(cause, errors.UnavailableError):
            raise Violation(f"{self.name} is told {error!r}, because of {cause!r}")

    def _got(self, told: Get, then: Callable[[Get], None], result: Any) -> None:
        word = "given up"
        if not isinstance(result, Exception):
            word = "done"
            records = [result.record] if len(told.keys) == 1 else result.records
            told.rows = tuple(map(_row, records))
            told.served_at = result.served_at
            told.outcome, told.returned_at_ns = OK, self._world.now_ns
            self._seen.update((row.key, row) for row in told.rows)
            self._world.checker.told(result.served_at)
            self._world.history.append(told)
        elif not isinstance(result, errors.UnavailableError):
            raise Violation(f"{self.name} is told {result!r} of a read")
        else:
            self.last_words = str(result)
        self._noted("stale get" if told.stale else "get", word, told.served_at)
        then(told)

    def _scanned(self, told: Scan, then: Callable[[Scan], None], result: Any) -> None:
        word = "given up"
        if not isinstance(result, Exception):
            word = "done"
            told.rows = tuple(_row(record) for message in result for record in message.records)
            told.served_at = result[0].served_at
            told.outcome, told.returned_at_ns = OK, self._world.now_ns
            self._world.checker.told(told.served_at)
            self._world.history.append(told)
        elif not isinstance(result, errors.UnavailableError):
            raise Violation(f"{self.name} is told {result!r} of a scan")
        self._noted("scan", word, told.served_at)
        then(told)

    def _noted(self, what: str, word: str, *more: object) -> None:
        self._world.count(f"user's {what}: {word}")
        self._world.trace(self.name, what, word, *more)

    # -- How its calls travel

    def _carry_out(self, plan: Plan[Any], then: Callable[[Any], None]) -> None:
        self._plan, self._then = plan, then
        self._step(partial(next, plan))

    def _step(self, advance: Callable[[], Any]) -> None:
        """Lets the plan decide what to do next, until it is at its end."""
        self._call += 1
        self._asked = None
        try:
            step = advance()
        except StopIteration as end:
            self._end(end.value)
        except errors.StatehouseError as error:
            self._end(error)
        else:
            if isinstance(step, Pause):
                self._later_told(step.wait_s, None)
            elif isinstance(step, Next):
                self._asked = step.stream.source
                self._later_told(self._delay_s(), step.stream.take())
            else:
                self._travel(step)

    def _end(self, result: Any) -> None:
        self._plan, then = None, self._then
        then(result)

    def _told(self, call: int, answer: Any) -> None:
        if call != self._call or self._plan is None:
            return
        if isinstance(answer, CallFailed):
            self._note_failure(answer)
            self._step(partial(self._plan.throw, answer))
        else:
            self._step(partial(self._plan.send, answer))

    def _later_told(self, after_s: float, answer: Any) -> None:
        call = self._call
        self._world.at(self._world.now + after_s, lambda: self._told(call, answer))

    def _travel(self, step: Call | Open) -> None:
        world, call = self._world, self._call
        name = step.address.split(":")[0]
        node = world.nodes[name]
        request = step.request
        if step.name == "Commit":
            request = submission(state.CommitRequest.FromString(request))
        limit_s = step.timeout_s if isinstance(step, Call) else step.quiet_s
        self._later_told(limit_s, faults.stalled(step.address))
        if name in world.network.hidden:
            return

        def arrive() -> None:
            if call != self._call:
                return
            if node.engine is None:
                self._later_told(self._delay_s(), faults.not_connected(step.address))
                return
            self._asked = node, step.address
            node.requests.append(
                lambda engine: serve(node, engine, step.name, request, step.address, reply)
            )
            node.wake(world.now)

        def reply(answer: Any) -> None:
            if isinstance(answer, list):
                answer = _Stream(answer, (node, step.address))
            if name not in world.network.hidden:
                at = world.now + node.lag_s + self._delay_s()
                world.at(at, lambda: self._told(call, answer))

        world.at(world.now + self._delay_s(), arrive)

    def node_ended(self, node: SimulatedNode) -> None:
        """Its connection breaks; or, when its machine is gone, nothing is heard any more."""
        if self._asked is not None and self._asked[0] is node and self._world.random.random() < 0.7:
            self._later_told(self._delay_s(), faults.ended(self._asked[1]))

    def _delay_s(self) -> float:
        return self._world.random.uniform(0.0002, 0.003)

    def _note_failure(self, failure: CallFailed) -> None:
        fault = failure.fault
        if fault.leader_address:
            self._world.mark("user sent to the leader")
        if fault.stalled:
            self._world.mark("user kept waiting in vain")
        if fault.op_id_expired:
            self._world.mark("user forgotten by the cluster")


class _Stream:
    """What a node has sent of a stream, all of it from one view, and which node that is."""

    def __init__(self, messages: list[Any], source: tuple[SimulatedNode, str]) -> None:
        self._messages = messages
        self.source = source

    def take(self) -> Any:
        """The next message; None at the end."""
        return self._messages.pop(0) if self._messages else None

    def close(self) -> None:
        self._messages.clear()


def _request(told: Commit) -> state.CommitRequest:
    names = {"namespace": NAMESPACE, "agent_id": AGENT}
    request = state.CommitRequest(txn_id=told.txn_id)
    for write in told.writes:
        operation = request.operations.add(key=write.key, **names)
        if write.value is not None:
            operation.value.json = write.value.encode()
    for wanted in told.preconditions:
        precondition = request.preconditions.add(key=wanted.key, **names)
        number = True if wanted.expectation == "absent" else wanted.number
        setattr(precondition, wanted.expectation, number)
    return request


def _row(record: state.Record) -> Row:
    value = record.value.json.decode() if record.exists else None
    return Row(record.key, record.version, value, record.commit_ts)
