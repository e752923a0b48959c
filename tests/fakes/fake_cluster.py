"""A cluster of fake nodes that fail on demand: real gRPC servers over one toy state.

A test says what the next calls of a method on a node do (`node.will("Commit", LoseAnswer())`);
after that the node behaves. Leadership is what the test says it is. No consensus, no disk.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections import defaultdict, deque
from concurrent import futures
from dataclasses import dataclass

import grpc
from statehouse_proto.services import CLUSTER_SERVICE, STATE_SERVICE, methods
from statehouse_proto.v2 import cluster_pb2 as cluster
from statehouse_proto.v2 import common_pb2 as common
from statehouse_proto.v2 import state_pb2 as state

from tests.fakes.toy_state import Refusal, ToyState
from tests.helpers.waiting import eventually


@dataclass(frozen=True)
class Refuse:
    """Answers with this reason, and does nothing."""

    reason: int
    message: str = "on demand"
    leader: common.LeaderHint | None = None


@dataclass(frozen=True)
class Break:
    """Fails with a bare gRPC code, before doing anything."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True)
class LoseAnswer:
    """Does what is asked, then fails with a bare gRPC code."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True)
class Stall:
    """Keeps silent until the caller leaves; `after`: does what is asked first."""

    after: bool = False


@dataclass(frozen=True)
class BreakAfter:
    """A stream that breaks off after so many messages."""

    messages: int


CALLS = {"commit": "Commit", "get": "Get", "get_many": "GetMany"}

CODES = {
    common.REASON_NOT_LEADER: grpc.StatusCode.FAILED_PRECONDITION,
    common.REASON_CONFLICT: grpc.StatusCode.ABORTED,
    common.REASON_FUTURE_POINT: grpc.StatusCode.OUT_OF_RANGE,
}


class FakeNode:
    """One node; its port is kept over `stop` and `start`."""

    def __init__(self, owner, name):
        self.owner = owner
        self.name = name
        self.calls = []
        self.messages = []
        self.exchanges = True
        self.lifecycle = "serving"
        self._scripts = defaultdict(deque)
        self._port = 0
        self._stopping = threading.Event()
        self._server = None
        self._place = None
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self._port}"

    def start(self):
        if self._place is not None:
            self._place.close()
        self._stopping = threading.Event()
        server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=32), options=(("grpc.so_reuseport", 0),)
        )
        server.add_generic_rpc_handlers((_Handlers(self),))
        self._port = server.add_insecure_port(f"127.0.0.1:{self._port}")
        server.start()
        self._server = server

    def stop(self):
        self._stopping.set()
        with self.owner.state.lock:
            self.owner.state.grown.notify_all()
        self._server.stop(None).wait()
        self._place = eventually(self._kept_place, what=f"{self.address} let go")
        weakref.finalize(self, self._place.close)

    def _kept_place(self):
        """A socket that has the port and does not listen: who calls is refused, and who looks for a
        free port is given another."""
        place = socket.socket()
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind(("127.0.0.1", self._port))
        except OSError:
            place.close()
            return None
        return place

    def will(self, method, *steps):
        """What the next calls of that method do, one step a call; None: as usual."""
        self._scripts[method].extend(steps)

    def count(self, method):
        return sum(called == method for called in self.calls)

    def answer_unary(self, method, request, context):
        self.calls.append(method)
        step = self._scripts[method].popleft() if self._scripts[method] else None
        try:
            self._before(step, context)
            answer = getattr(self, f"_{method}")(request)
        except Refusal as refusal:
            _refuse(context, refusal.details)
        if isinstance(step, LoseAnswer):
            context.abort(step.code, "the answer was lost")
        if isinstance(step, Stall):
            self._stall(context)
        return answer

    def answer_exchange(self, requests, context):
        """Each call by itself, in order; what breaks one breaks the stream, silence is its own."""
        if not self.exchanges:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
        for request in requests:
            self.messages.append(len(request.calls))
            for call in request.calls:
                reply = self._answer_call(call, context)
                if reply is not None:
                    yield state.ExchangeResponse(replies=[reply])

    def _answer_call(self, call, context):
        kind = call.WhichOneof("call")
        method = CALLS[kind]
        self.calls.append(method)
        step = self._scripts[method].popleft() if self._scripts[method] else None
        if isinstance(step, Stall) and not step.after:
            return None
        try:
            self._before(step, context)
            answer = getattr(self, f"_{method}")(getattr(call, kind))
        except Refusal as refusal:
            code, _ = _code_of(refusal.details).value
            return state.Reply(id=call.id, error=refusal.details, code=code)
        if isinstance(step, LoseAnswer):
            context.abort(step.code, "the answer was lost")
        if isinstance(step, Stall):
            return None
        return state.Reply(id=call.id, **{kind: answer})

    def answer_stream(self, method, request, context):
        self.calls.append(method)
        step = self._scripts[method].popleft() if self._scripts[method] else None
        try:
            self._before(step, context)
            for sent, message in enumerate(getattr(self, f"_{method}")(request, context)):
                if isinstance(step, BreakAfter) and sent == step.messages:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "broke off")
                yield message
        except Refusal as refusal:
            _refuse(context, refusal.details)

    def _before(self, step, context):
        if isinstance(step, Refuse):
            raise Refusal(step.reason, step.message, leader=step.leader)
        if isinstance(step, Break):
            context.abort(step.code, "on demand")
        if isinstance(step, Stall) and not step.after:
            self._stall(context)

    def _stall(self, context):
        while context.is_active() and not self._stopping.wait(0.02):
            pass
        context.abort(grpc.StatusCode.CANCELLED, "stalled to the end")

    def _check_leader(self, consistency=common.CONSISTENCY_LINEARIZABLE):
        if consistency == common.CONSISTENCY_STALE or self.owner.leader is self:
            return
        leader = self.owner.leader
        if leader is None:
            raise Refusal(common.REASON_NO_LEADER, "no leader is known")
        hint = common.LeaderHint(name=leader.name, address=leader.address, term=self.owner.term)
        raise Refusal(common.REASON_NOT_LEADER, f"{self.name} does not lead", leader=hint)

    def _Commit(self, request):
        self._check_leader()
        return self.owner.state.commit(request)

    def _Get(self, request):
        self._check_leader(request.consistency)
        toy = self.owner.state
        at = toy.point(request)
        record = toy.record(request.namespace, request.agent_id, request.key, at)
        if request.version:
            history = toy.records.get((request.namespace, request.agent_id, request.key), [])
            found = [record for record in history if record.version == request.version]
            record = found[0] if found else state.Record(key=request.key)
        return state.GetResponse(record=record, served_at=at)

    def _GetMany(self, request):
        self._check_leader(request.consistency)
        toy = self.owner.state
        if len(request.keys) > self.owner.get_many_keys_max:
            limit = common.LimitExceeded(name="message_bytes_max", maximum=1, actual=2)
            raise Refusal(common.REASON_TOO_LARGE, "ask for fewer", limit=limit)
        at = toy.point(request)
        records = [toy.record(request.namespace, request.agent_id, key, at) for key in request.keys]
        return state.GetManyResponse(records=records, served_at=at)

    def _Status(self, request):
        leader = self.owner.leader
        return cluster.StatusResponse(
            name=self.name,
            role=cluster.ROLE_LEADER if leader is self else cluster.ROLE_FOLLOWER,
            lifecycle=self.lifecycle,
            leader_name=leader.name if leader else "",
            commit_ts=self.owner.state.commit_ts,
            members=[
                cluster.Member(name=node.name, client_address=node.address, voter=True)
                for node in self.owner.nodes
            ],
            version="9.9.9",
            git_sha="cafe",
        )

    def _RemoveMember(self, request):
        self._check_leader()
        self.owner.removed.append(request.name)
        return cluster.RemoveMemberResponse(members=[cluster.Member(name=self.name)])

    def _TransferLeadership(self, request):
        self._check_leader()
        return cluster.TransferLeadershipResponse(leader_name=request.name or "n2", term=7)

    def _AddMember(self, request, context):
        self._check_leader()
        phases = cluster.AddMemberResponse
        yield phases(phase=phases.PHASE_CATCHING_UP, entries_behind=5)
        yield phases(phase=phases.PHASE_VOTING, member=cluster.Member(name="n9", voter=True))

    def _ListKeys(self, request, context):
        for response in self._Scan(request, context):
            keys = [record.key for record in response.records]
            yield state.ListKeysResponse(keys=keys, served_at=response.served_at)

    def _Scan(self, request, context):
        self._check_leader(request.consistency)
        toy = self.owner.state
        at = toy.point(request)
        records = toy.live(request.namespace, request.agent_id, request.prefix, at)
        for start in range(0, max(len(records), 1), 2):
            yield state.ScanResponse(records=records[start : start + 2], served_at=at)

    def _ListAgents(self, request, context):
        self._check_leader(request.consistency)
        agents = sorted({place[1] for place in self.owner.state.records})
        yield state.ListAgentsResponse(agents=[state.Agent(agent_id=agent) for agent in agents])

    def _ListNamespaces(self, request, context):
        self._check_leader(request.consistency)
        namespaces = sorted({place[0] for place in self.owner.state.records})
        yield state.ListNamespacesResponse(namespaces=namespaces)

    def _Replay(self, request, context):
        self._check_leader(request.consistency)
        toy = self.owner.state
        start = request.start.commit_ts if request.HasField("start") else 1
        end = request.end.commit_ts if request.HasField("end") else toy.commit_ts
        events = list(toy.events_in(request.namespace, request.agent_id, start, end))
        events = events[-request.last :] if request.last else events
        events = events[: request.limit] if request.limit else events
        for event in events:
            yield state.ReplayResponse(events=[event], served_at=event.commit_ts)
        yield state.ReplayResponse(served_at=end)
        if request.follow:
            yield from self._follow(request, max(start, end + 1), context)

    def _follow(self, request, start, context):
        toy = self.owner.state
        while context.is_active() and not self._stopping.is_set():
            self._check_leader(request.consistency)
            with toy.grown:
                if toy.commit_ts < start:
                    toy.grown.wait(0.05)
                end = toy.commit_ts
            for event in toy.events_in(request.namespace, request.agent_id, start, end):
                yield state.ReplayResponse(events=[event], served_at=event.commit_ts)
            start = max(start, end + 1)


class FakeCluster:
    """Some nodes, one of them the leader, all over one state."""

    def __init__(self, count=3):
        self.state = ToyState()
        self.leader = None
        self.term = 1
        self.removed = []
        self.get_many_keys_max = 1024
        self.nodes = [FakeNode(self, f"n{number}") for number in range(1, count + 1)]
        self.leader = self.nodes[0]

    @property
    def url(self):
        return ",".join(node.address for node in self.nodes)

    def elect(self, node):
        """Makes this node the leader of a new term; None: nobody."""
        self.leader = node
        self.term += 1

    def stop(self):
        for node in self.nodes:
            node.stop()


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, node):
        self._node = node
        self._methods = {
            method.path: method
            for service in (STATE_SERVICE, CLUSTER_SERVICE)
            for method in methods(service).values()
        }

    def service(self, handler_call_details):
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._node.answer_exchange,
                request_deserializer=method.request.FromString,
                response_serializer=method.response.SerializeToString,
            )
        make, answer = (
            (grpc.unary_stream_rpc_method_handler, self._node.answer_stream)
            if method.server_streaming
            else (grpc.unary_unary_rpc_method_handler, self._node.answer_unary)
        )
        return make(
            lambda request, context: answer(method.name, request, context),
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )


def _code_of(details):
    return CODES.get(details.reason, grpc.StatusCode.UNAVAILABLE)


def _refuse(context, details):
    context.set_trailing_metadata((("statehouse-error-bin", details.SerializeToString()),))
    context.abort(_code_of(details), details.message)
