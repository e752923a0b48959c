"""A toy of the replicated state: dictionaries and lists, shared by all nodes of a fake cluster.

It is the simplest thing that answers the native state service rightly. It counts how often each
transaction was really executed, which is what tests of exactly-once ask.
"""

from __future__ import annotations

import threading
from collections import Counter

from statehouse_proto.v2 import common_pb2 as common
from statehouse_proto.v2 import state_pb2 as state

FIRST_MOMENT_US = 1_700_000_000_000_000


class Refusal(Exception):
    """A typed refusal, as a node sends it."""

    def __init__(self, reason, message="", *, leader=None, limit=None, conflicts=()):
        super().__init__(message)
        self.details = common.ErrorDetails(
            reason=reason, message=message, leader=leader, limit=limit, conflicts=conflicts
        )


class ToyState:
    """Commits, records and events, behind one lock."""

    def __init__(self):
        self.lock = threading.RLock()
        self.grown = threading.Condition(self.lock)
        self.events = []
        self.records = {}
        self.receipts = {}
        self.forgotten = set()
        self.executed = Counter()
        self.acknowledged = {}

    @property
    def commit_ts(self):
        return len(self.events)

    def commit(self, request):
        with self.lock:
            op = (request.op_id.client_id, request.op_id.sequence)
            self._check_op_id(request.op_id)
            if op not in self.receipts:
                self.receipts[op] = self._execute(request)
            receipt = self.receipts[op]
        if isinstance(receipt, Refusal):
            raise receipt
        return receipt

    def forget_client(self, client_id):
        with self.lock:
            self.forgotten.add(client_id)

    def record(self, namespace, agent_id, key, at=None):
        """The last record at a commit_ts, tombstones included; an empty one when never written."""
        with self.lock:
            history = self.records.get((namespace, agent_id, key), [])
            found = [record for record in history if at is None or record.commit_ts <= at]
            return found[-1] if found else state.Record(key=key)

    def live(self, namespace, agent_id, prefix="", at=None):
        with self.lock:
            keys = sorted(
                key
                for (its_namespace, agent, key) in self.records
                if (its_namespace, agent) == (namespace, agent_id) and key.startswith(prefix)
            )
            found = [self.record(namespace, agent_id, key, at) for key in keys]
            return [record for record in found if record.exists]

    def point(self, request):
        """The commit_ts a read is for; refuses the future."""
        if not request.HasField("at"):
            return self.commit_ts
        if request.at.WhichOneof("point") == "time_us":
            moments = [event.committed_at_us for event in self.events]
            return sum(moment <= request.at.time_us for moment in moments)
        if request.at.commit_ts > self.commit_ts:
            raise Refusal(common.REASON_FUTURE_POINT, "that lies in the future")
        return request.at.commit_ts

    def events_in(self, namespace, agent_id, start, end):
        """Events of [start, end] with the operations of the scope only."""
        with self.lock:
            events = self.events[max(start - 1, 0) : end]
        for event in events:
            scoped = state.Event()
            scoped.CopyFrom(event)
            del scoped.operations[:]
            scoped.operations.extend(
                operation
                for operation in event.operations
                if operation.namespace == namespace and agent_id in ("", operation.agent_id)
            )
            if scoped.operations:
                yield scoped

    def _check_op_id(self, op_id):
        if op_id.client_id in self.forgotten:
            raise Refusal(common.REASON_OP_ID_EXPIRED, "this client is forgotten")
        floor = max(self.acknowledged.get(op_id.client_id, 0), op_id.acknowledged_through)
        self.acknowledged[op_id.client_id] = floor
        if op_id.sequence <= floor:
            raise Refusal(common.REASON_OP_ID_EXPIRED, "this op id was acknowledged")

    def _execute(self, request):
        conflicts = [
            conflict for wanted in request.preconditions if (conflict := self._conflict(wanted))
        ]
        if conflicts:
            return Refusal(common.REASON_CONFLICT, "preconditions failed", conflicts=conflicts)
        self.executed[request.txn_id] += 1
        commit_ts = self.commit_ts + 1
        event = state.Event(
            commit_ts=commit_ts,
            committed_at_us=FIRST_MOMENT_US + commit_ts * 1_000_000,
            txn_id=request.txn_id,
            metadata=request.metadata,
            hash=commit_ts.to_bytes(32, "big"),
        )
        for operation in request.operations:
            event.operations.append(self._write(operation, event))
        self.events.append(event)
        self.grown.notify_all()
        return state.CommitResponse(
            commit_ts=commit_ts,
            committed_at_us=event.committed_at_us,
            versions=[operation.version for operation in event.operations],
        )

    def _write(self, operation, event):
        place = (operation.namespace, operation.agent_id, operation.key)
        history = self.records.setdefault(place, [])
        written = operation.HasField("value")
        value = operation.value if written else None
        record = state.Record(
            key=operation.key,
            value=value,
            version=len(history) + 1,
            commit_ts=event.commit_ts,
            committed_at_us=event.committed_at_us,
            exists=written,
        )
        history.append(record)
        return state.EventOperation(
            namespace=operation.namespace,
            agent_id=operation.agent_id,
            key=operation.key,
            version=record.version,
            value=value,
        )

    def _conflict(self, wanted):
        record = self.record(wanted.namespace, wanted.agent_id, wanted.key)
        holds = {
            "version": record.version == wanted.version,
            "absent": not record.exists,
            "unchanged_since": record.commit_ts <= wanted.unchanged_since,
        }
        if holds[wanted.WhichOneof("expected")]:
            return None
        conflict = common.Conflict(
            namespace=wanted.namespace,
            agent_id=wanted.agent_id,
            key=wanted.key,
            actual_version=record.version,
            actual_commit_ts=record.commit_ts,
            actual_exists=record.exists,
        )
        expected = wanted.WhichOneof("expected")
        setattr(conflict, expected, getattr(wanted, expected))
        return conflict
