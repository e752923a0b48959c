"""A cluster of a dictionary and a list, and a client of it with the SDK's names.

It keeps what the commands rely on: versions, commit_ts, tombstones, preconditions, points in
history. What a test wants to go wrong it puts into `failure`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from fake_history import FIRST_COMMIT_AT, FakeHistory, FakePast
from statehouse_sdk.cluster_models import AddProgress, Leader, Member, NodeStatus
from statehouse_sdk.errors import Conflict, ConflictError, StatehouseError
from statehouse_sdk.models import Metadata, Operation, ReplayEvent, Snapshot, StateResult


def member(number: int, **changes: Any) -> Member:
    name = f"n{number}"
    usual = Member(
        name=name,
        node_uuid=f"uuid-{number}",
        peer_address=f"127.0.0.1:{51050 + number}",
        client_address=f"127.0.0.1:{50050 + number}",
        voter=True,
        connected=True,
        match_index=9,
    )
    return replace(usual, **changes)


@dataclass
class FakeCluster:
    """What all clients see. `asked` are the arguments each client was opened with."""

    events: list[ReplayEvent] = field(default_factory=list)
    past: FakePast = field(default_factory=FakePast)
    failure: StatehouseError | None = None
    members: list[Member] = field(default_factory=lambda: [member(k) for k in (1, 2, 3)])
    silent: set[str] = field(default_factory=set)
    """Client addresses that do not answer."""
    leader_name: str = "n1"
    asked_for_status: list[str | None] = field(default_factory=list)
    asked: list[tuple[str, str, float]] = field(default_factory=list)

    def open(self, url: str, namespace: str, timeout_s: float) -> FakeClient:
        self.asked.append((url, namespace, timeout_s))
        return FakeClient(self, url, namespace)


@dataclass
class FakeClient(FakeHistory):
    """The part of `Statehouse` that the CLI uses."""

    cluster: FakeCluster
    url: str
    namespace: str

    def __enter__(self) -> FakeClient:
        if self.cluster.failure:
            raise self.cluster.failure
        return self

    def __exit__(self, *_: object) -> None: ...

    def health(self) -> str:
        return "ok"

    def version(self) -> tuple[str, str]:
        return ("9.8.7", "abc1234")

    def records(self, agent_id: str, at: Any = None) -> dict[str, StateResult]:
        found: dict[str, StateResult] = {}
        for event, op in self.told(agent_id, at):
            place = (event.commit_ts, not op.deleted, op.key, event.committed_at)
            found[op.key] = StateResult(op.value, op.version, *place)
        return dict(sorted(found.items()))

    def get_state(
        self, agent_id: str, key: str, *, at: Any = None, version: int | None = None
    ) -> StateResult:
        nothing = StateResult(None, 0, 0, False, key)
        if version is None:
            return self.records(agent_id, at).get(key, nothing)
        for point in range(len(self.cluster.events) + 1):
            then = self.records(agent_id, point).get(key)
            if then and then.version == version:
                return then
        return nothing

    def get_many(self, agent_id: str, keys: Any, *, at: Any = None) -> dict[str, StateResult]:
        return {key: self.get_state(agent_id, key, at=at) for key in keys}

    def snapshot(self, agent_id: str, at: Any = None) -> Snapshot:
        known = self.records(agent_id, at)
        live = {key: record for key, record in known.items() if record.exists}
        return Snapshot(self.namespace, agent_id, self.point(at, agent_id), live)

    def list_keys(self, agent_id: str, *, prefix: str = "", at: Any = None) -> list[str]:
        return [key for key in self.snapshot(agent_id, at).records if key.startswith(prefix)]

    def list_agents(self) -> list[str]:
        operations = [op for event in self.cluster.events for op in event.operations]
        return sorted({op.agent_id for op in operations if op.namespace == self.namespace})

    def list_namespaces(self) -> list[str]:
        return sorted({op.namespace for event in self.cluster.events for op in event.operations})

    def begin_transaction(self, **metadata: Any) -> FakeTransaction:
        return FakeTransaction(self, Metadata(**metadata))

    def replay(
        self,
        agent_id: str,
        start_ts: Any = None,
        end_ts: Any = None,
        *,
        limit: int | None = None,
        last: int | None = None,
        follow: bool = False,
        run_id: str = "",
    ) -> Any:
        bounds = dict(self.lines(agent_id))
        start, end = self.bound(start_ts or 0, agent_id), self.bound(end_ts, agent_id)
        found = [
            event
            for event in self.cluster.events[max(start, 1) - 1 : end]
            if event.commit_ts <= bounds.get(event.operations[0].agent_id, 0)
            and run_id in ("", event.metadata.run_id)
        ]
        yield from found[-last:] if last else found[:limit]

    def cluster_status(self, address: str | None = None) -> NodeStatus:
        if address in self.cluster.silent:
            raise StatehouseError("does not answer")
        me = next((m for m in self.cluster.members if m.client_address == address), member(1))
        self.cluster.asked_for_status.append(address)
        return NodeStatus(
            address=me.client_address,
            name=me.name,
            node_uuid=me.node_uuid,
            cluster_id="c-1",
            role="leader" if me.name == self.cluster.leader_name else "follower",
            lifecycle="serving",
            term=3,
            leader_name=self.cluster.leader_name,
            leader_address="127.0.0.1:50051",
            members=tuple(self.cluster.members),
            log_first_index=1,
            log_last_index=9,
            commit_index=9,
            applied_index=9,
            commit_ts=len(self.cluster.events),
            committed_at=None,
            chain_head=bytes(32),
            version="9.8.7",
            git_sha="abc1234",
        )

    def add_member(self, peer_address: str) -> Any:
        new = member(4, peer_address=peer_address)
        yield AddProgress("snapshot", 50, 200, 0, None)
        yield AddProgress("snapshot", 200, 200, 0, None)
        yield AddProgress("catching_up", 200, 200, 7, None)
        yield AddProgress("voting", 200, 200, 0, new)

    def remove_member(self, name: str) -> list[Member]:
        self.cluster.members = [m for m in self.cluster.members if m.name != name]
        return self.cluster.members

    def transfer_leadership(self, name: str | None = None) -> Leader:
        return Leader(name or "n2", "127.0.0.1:50052", 4)


@dataclass
class FakeTransaction:
    """Buffers, checks and applies like the real one, for one agent a transaction."""

    client: FakeClient
    metadata: Metadata
    operations: list[Operation] = field(default_factory=list)
    expected: list[tuple[str, str, int | None, bool]] = field(default_factory=list)
    commit_ts: int | None = None
    versions: tuple[int, ...] = ()

    def get(self, agent_id: str, key: str) -> StateResult:
        return self.client.get_state(agent_id, key)

    def write(
        self,
        agent_id: str,
        key: str,
        value: Any,
        *,
        if_version: int | None = None,
        if_absent: bool = False,
    ) -> None:
        self._expect(agent_id, key, if_version, if_absent)
        self._add(agent_id, key, value, deleted=False)

    def delete(self, agent_id: str, key: str, *, if_version: int | None = None) -> None:
        self._expect(agent_id, key, if_version, False)
        self._add(agent_id, key, None, deleted=True)

    def abort(self) -> None:
        self.operations.clear()

    def commit(self) -> int:
        cluster = self.client.cluster
        for agent_id, key, version, absent in self.expected:
            there = self.client.get_state(agent_id, key)
            if (absent and there.exists) or (version is not None and version != there.version):
                found = Conflict(self.client.namespace, agent_id, key, version, absent)
                raise ConflictError(f"{key} is not as expected", (found,))
        self.commit_ts = len(cluster.events) + 1
        moment = FIRST_COMMIT_AT + timedelta(minutes=len(cluster.events))
        txn_id = f"txn-{self.commit_ts:012}"
        cluster.events.append(
            ReplayEvent(
                txn_id,
                self.commit_ts,
                self.operations,
                self.client.namespace,
                self.operations[0].agent_id,
                moment,
                self.metadata,
            )
        )
        self.versions = tuple(op.version for op in self.operations)
        return self.commit_ts

    def _expect(self, agent_id: str, key: str, version: int | None, absent: bool) -> None:
        self.expected.append((agent_id, key, version, absent))

    def _add(self, agent_id: str, key: str, value: Any, *, deleted: bool) -> None:
        version = self.get(agent_id, key).version + 1
        place = (self.client.namespace, agent_id)
        self.operations.append(Operation(key, value, version, deleted, *place))
