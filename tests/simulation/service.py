"""What a simulated node answers to users of the SDK: as node.py and the services, without threads.

The conversions are the product's, from the wire's messages and back; what stands between them here
is the order of things in `statehouse.node.Node`: refuse, ask consensus, answer or refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statehouse_cluster.interfaces import NotLeader, Role
from statehouse_proto.v2 import cluster_pb2 as cluster
from statehouse_proto.v2 import state_pb2
from statehouse_sdk.faults import CallFailed, fault_of_details

from statehouse import cluster_facts
from statehouse.core import codec
from statehouse.core.errors import Failure, Reason
from statehouse.core.model import Committed
from statehouse.rpc import convert, point_reads
from statehouse.rpc.status_codes import details_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_cluster.interfaces import Outcome
    from statehouse_cluster.raft_adapter import Engine

    from statehouse.core.errors import LeaderHint
    from statehouse.core.model import Submission
    from tests.simulation.node import SimulatedNode

    Reply = Callable[[Any], None]
    """Gets a response, a list of them for a stream, or CallFailed."""

_ROWS_A_MESSAGE = 2
"""Few, so that a stream is more than one message."""


def serve(
    node: SimulatedNode, engine: Engine, name: str, request: Any, address: str, reply: Reply
) -> None:
    """Answers one call now, or when consensus has; a commit's request is its `Submission`."""
    try:
        if name == "Status":
            reply(_status(node, engine))
        elif name == "Commit":
            _require_leading(engine)
            _require_room(node)
            ticket = _CommitTicket(address, reply, request)
            engine.propose(codec.encode_submission(request), ticket)
        elif point_reads.is_stale(request.consistency):
            _require_serving(engine)
            reply(_read(node, name, request))
        else:
            _require_leading(engine)
            engine.read([_ReadTicket(address, reply, name, request)])
    except Failure as failure:
        reply(_refused(failure, address))


class _Ticket:
    """One call that waits for consensus."""

    def __init__(self, address: str, reply: Reply) -> None:
        self._address = address
        self._reply = reply

    def ended(self, node: SimulatedNode, outcome: Outcome) -> None:
        try:
            if outcome.error is not None:
                raise _refusal(node, outcome.error)
            self._reply(self.answer(node, outcome))
        except Failure as failure:
            self._reply(_refused(failure, self._address))

    def answer(self, node: SimulatedNode, outcome: Outcome) -> Any:
        raise NotImplementedError


class _CommitTicket(_Ticket):
    def __init__(self, address: str, reply: Reply, submission: Submission) -> None:
        super().__init__(address, reply)
        self._submission = submission

    def answer(self, node: SimulatedNode, outcome: Outcome) -> Any:
        answer: Any = outcome.result
        node.decided(self._submission, answer)
        if isinstance(answer, Committed):
            return convert.committed_to_wire(answer)
        raise Failure(Reason(answer.reason), answer.message, conflicts=answer.conflicts)


class _ReadTicket(_Ticket):
    def __init__(self, address: str, reply: Reply, name: str, request: Any) -> None:
        super().__init__(address, reply)
        self._name = name
        self._request = request

    def answer(self, node: SimulatedNode, outcome: Outcome) -> Any:
        return _read(node, self._name, self._request)


def _read(node: SimulatedNode, name: str, request: Any) -> Any:
    if name == "Scan":
        return _scan(node, request)
    read = point_reads.get if name == "Get" else point_reads.get_many
    with node.machine.view() as view:
        return read(view, request, node.now_us)


def _scan(node: SimulatedNode, request: state_pb2.ScanRequest) -> list[state_pb2.ScanResponse]:
    """A stream of messages, all from one view."""
    with node.machine.view() as view:
        rows = view.scan(request.namespace, request.agent_id, request.prefix)
        told = [convert.record_to_wire(record.key, record) for record in rows]
        served_at = view.commit_ts
    parts = [
        told[start : start + _ROWS_A_MESSAGE] for start in range(0, len(told), _ROWS_A_MESSAGE)
    ]
    return [state_pb2.ScanResponse(records=part, served_at=served_at) for part in parts or [[]]]


def _status(node: SimulatedNode, engine: Engine) -> cluster.StatusResponse:
    leader = engine.leader_name()
    members = engine.configuration().members
    return cluster.StatusResponse(
        name=node.name,
        leader_name=leader or "",
        members=[cluster.Member(name=m.name, client_address=m.client_address) for m in members],
        commit_ts=node.machine.head.commit_ts,
    )


def _require_room(node: SimulatedNode) -> None:
    if not node.has_room:
        node.met("write refused for want of room")
        raise Failure(Reason.STORAGE_FULL, f"the data disk of {node.name} is nearly full")


def _require_serving(engine: Engine) -> None:
    role = engine.role()
    if role is Role.REMOVED:
        raise Failure(Reason.REMOVED, f"{engine.name} was removed from its cluster")
    if role is Role.JOINER:
        raise Failure(Reason.NOT_READY, f"{engine.name} waits to be added to a cluster")


def _require_leading(engine: Engine) -> None:
    _require_serving(engine)
    if not engine.is_ready():
        raise _not_leading(engine)


def _not_leading(engine: Engine) -> Failure:
    hint = _hint(engine)
    if hint is None or hint.name == engine.name:
        return Failure(Reason.NO_LEADER, f"{engine.name} knows no leader")
    return Failure(Reason.NOT_LEADER, f"{engine.name} does not lead", leader=hint)


def _hint(engine: Engine) -> LeaderHint | None:
    name = engine.leader_name()
    leader = None if name is None else engine.configuration().get(name)
    return cluster_facts.hint_of(leader, engine.term())


def _refusal(node: SimulatedNode, error: Exception) -> Failure:
    if isinstance(error, NotLeader) and node.engine is not None:
        return _not_leading(node.engine)
    failure = cluster_facts.failure_of(error)
    if failure is None:
        raise error
    return failure


def _refused(failure: Failure, address: str) -> CallFailed:
    return CallFailed(fault_of_details(details_message(failure), address))
