"""The part of the fake client that tells of history: points, versions, why, forks, readers, checks.

It answers by looking at all events; what no event can tell, such as what a transaction had read or
what is wrong with a node, a test puts into `FakePast`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from statehouse_sdk.diffing import Diff, KeyChange, same
from statehouse_sdk.errors import (
    AgentExistsError,
    FuturePointError,
    LabelNotFoundError,
    StatehouseError,
)
from statehouse_sdk.history_models import (
    Cursor,
    ExplainedCommit,
    Explanation,
    FieldBlame,
    ForkPoint,
    Head,
    KeyBlame,
    KeyVersion,
    Label,
    Lineage,
    Read,
    Verification,
)
from statehouse_sdk.models import LabelMark, Metadata, Operation, ReplayEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_COMMIT_AT = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)


@dataclass
class FakePast:
    """What is known beside the events."""

    labels: dict[tuple[str, str], Label] = field(default_factory=dict)
    """By agent and name."""
    forks: list[ForkPoint] = field(default_factory=list)
    cursors: dict[str, Cursor] = field(default_factory=dict)
    reads: dict[int, tuple[Read, ...]] = field(default_factory=dict)
    """What the transactions had read, by commit_ts."""
    faults: dict[str, tuple[int, str]] = field(default_factory=dict)
    """What the check of a node finds, by its client address."""
    strays: dict[str, int] = field(default_factory=dict)
    """Nodes whose history is another one from a commit_ts on, by their client address."""


class FakeHistory:
    """What `FakeClient` inherits; it has `cluster`, `namespace` and the reads of state."""

    cluster: Any
    namespace: str

    # -- Points

    def point(self, at: Any, agent_id: str = "") -> int:
        events = self.cluster.events
        if at is None:
            return len(events)
        if isinstance(at, datetime):
            return sum(
                event.committed_at is not None and event.committed_at <= at for event in events
            )
        if isinstance(at, str):
            label = self.cluster.past.labels.get((agent_id, at))
            if label is None:
                raise LabelNotFoundError(f"agent {agent_id!r} has no label {at!r}")
            return label.commit_ts
        if at > len(events):
            raise FuturePointError(f"commit_ts {at} is not reached yet: the last is {len(events)}")
        return int(at)

    def bound(self, at: Any, agent_id: str) -> int:
        """A point of a range, which may lie in the future."""
        return at if isinstance(at, int) else self.point(at, agent_id)

    def lines(self, agent_id: str) -> Iterator[tuple[str, int]]:
        """The agent and its ancestors, each with the last commit_ts of it that counts."""
        yield agent_id, len(self.cluster.events)
        for fork in self.lineage(agent_id).ancestry:
            yield fork.parent_id, fork.commit_ts

    def told(self, agent_id: str, at: Any = None) -> Iterator[tuple[ReplayEvent, Operation]]:
        """The operations on keys of the agent up to a point, in commit order."""
        bounds = dict(self.lines(agent_id))
        for event in self.cluster.events[: self.point(at, agent_id)]:
            for op in event.operations:
                known = op.namespace == self.namespace and op.mark is None
                if known and event.commit_ts <= bounds.get(op.agent_id, 0):
                    yield event, op

    # -- What was, and why

    def history(
        self,
        agent_id: str,
        key: str,
        *,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Iterator[KeyVersion]:
        found = [_version(event, op) for event, op in self.told(agent_id) if op.key == key]
        yield from (found[::-1] if newest_first else found)[:limit]

    def blame(
        self, agent_id: str, at: Any = None, *, prefix: str = "", fields: bool = True
    ) -> list[KeyBlame]:
        versions: dict[str, list[KeyVersion]] = {}
        for event, op in self.told(agent_id, at):
            if op.key.startswith(prefix):
                versions.setdefault(op.key, []).append(_version(event, op))
        return [
            KeyBlame(key, found[-1], _field_blame(found) if fields else {})
            for key, found in sorted(versions.items())
            if found[-1].exists
        ]

    def explain(
        self,
        agent_id: str,
        key: str,
        at: Any = None,
        *,
        version: int | None = None,
        limit: int = 1000,
    ) -> Explanation:
        made = [(e, op) for e, op in self.told(agent_id, at) if op.key == key]
        made = [(e, op) for e, op in made if version in (None, op.version)]
        commits: dict[int, ExplainedCommit] = {}
        pending = [(made[-1][0].commit_ts, 0)] if made else []
        while pending:
            commit_ts, distance = pending.pop(0)
            if commit_ts and commit_ts not in commits:
                found = self._explained(commit_ts, distance)
                commits[commit_ts] = found
                causes = [*found.metadata.caused_by, *(read.commit_ts for read in found.reads)]
                pending += [(cause, distance + 1) for cause in causes]
        nearest = dict(list(commits.items())[:limit])
        root = next(iter(nearest.values()), None)
        scope = (self.namespace, agent_id, key)
        return Explanation(*scope, root, nearest, len(nearest) < len(commits), self.point(None))

    def _explained(self, commit_ts: int, distance: int) -> ExplainedCommit:
        event = self.cluster.events[commit_ts - 1]
        reads = self.cluster.past.reads.get(commit_ts, ())
        place = (event.commit_ts, event.committed_at, event.txn_id, event.metadata)
        return ExplainedCommit(*place, tuple(event.operations), reads, distance)

    def diff(
        self,
        agent_id: str,
        a: Any = None,
        b: Any = None,
        *,
        other: str | None = None,
        prefix: str = "",
    ) -> Diff:
        points = (self.point(a, agent_id), self.point(b, other or agent_id))
        before = self.snapshot(agent_id, points[0]).records
        after = self.snapshot(other or agent_id, points[1]).records
        keys = sorted(key for key in before.keys() | after.keys() if key.startswith(prefix))
        changes = [KeyChange(key, before.get(key), after.get(key)) for key in keys]
        differing = [one for one in changes if one.kind != "changed" or one.fields]
        return Diff(self.namespace, agent_id, other or agent_id, *points, tuple(differing))

    # -- Names of points, forks

    def label(self, agent_id: str, name: str, at: Any = None, **_: Any) -> int:
        point = self.point(at, agent_id)
        commit_ts = self.record(LabelMark(name, point), agent_id)
        moment = self.cluster.events[-1].committed_at
        self.cluster.past.labels[agent_id, name] = Label(name, point, 1, commit_ts, moment)
        return point

    def labels(self, agent_id: str) -> list[Label]:
        found = self.cluster.past.labels.items()
        return [label for (owner, _), label in sorted(found) if owner == agent_id]

    def delete_label(self, agent_id: str, name: str, **_: Any) -> int:
        self.point(name, agent_id)
        del self.cluster.past.labels[agent_id, name]
        return self.record(LabelMark(name, 0), agent_id)

    def fork(self, agent_id: str, new_agent_id: str, at: Any = None, **_: Any) -> ForkPoint:
        if new_agent_id in self.list_agents():
            raise AgentExistsError(f"agent {new_agent_id!r} was written to: take another name")
        point = self.point(at, agent_id)
        made = ForkPoint(new_agent_id, agent_id, point, len(self.cluster.events) + 1)
        self.record(made, new_agent_id)
        self.cluster.past.forks.append(made)
        return made

    def lineage(self, agent_id: str) -> Lineage:
        forks = self.cluster.past.forks
        ancestry: list[ForkPoint] = []
        here = agent_id
        while fork := next((fork for fork in forks if fork.agent_id == here), None):
            ancestry.append(fork)
            here = fork.parent_id
        own = tuple(fork for fork in forks if fork.parent_id == agent_id)
        return Lineage(agent_id, tuple(ancestry), own)

    def record(self, mark: Any, agent_id: str) -> int:
        """A commit of a mark and nothing else."""
        events = self.cluster.events
        operation = Operation("", None, 1, False, self.namespace, agent_id, mark)
        commit_ts = len(events) + 1
        moment = FIRST_COMMIT_AT + timedelta(minutes=len(events))
        place = (f"txn-{commit_ts:012}", commit_ts, [operation], self.namespace, agent_id, moment)
        events.append(ReplayEvent(*place))
        return commit_ts

    # -- Readers

    def watch(
        self, agent_id: str = "", *, prefix: str = "", after: int | None = None
    ) -> Iterator[ReplayEvent]:
        """Ends where a real one would wait."""
        start = len(self.cluster.events) if after is None else after
        for event in self.cluster.events[start:]:
            scoped = [op for op in event.operations if agent_id in ("", op.agent_id)]
            if any(op.key.startswith(prefix) for op in scoped):
                yield event

    def subscribe(
        self, name: str, agent_id: str = "", *, prefix: str = "", start: int | None = None
    ) -> FakeSubscription:
        position = len(self.cluster.events) if start is None else start
        made = Cursor(name, position, agent_id, prefix, 1, 0)
        return FakeSubscription(self, self.cluster.past.cursors.setdefault(name, made))

    def cursors(self) -> list[Cursor]:
        return [cursor for _, cursor in sorted(self.cluster.past.cursors.items())]

    def delete_cursor(self, name: str, **_: Any) -> None:
        del self.cluster.past.cursors[name]

    # -- Whether it is so

    def verify(self, agent_id: str = "", *, address: str) -> Iterator[Verification]:
        if address in self.cluster.silent:
            raise StatehouseError("does not answer")
        end = len(self.cluster.events)
        bad = self.cluster.past.faults.get(address)
        through = bad[0] - 1 if bad else end
        place = (address, through, through, self.head(through, address=address).chain_hash)
        yield Verification(*place)
        yield Verification(*place, *(bad or (None, "")), finished=True)

    def head(
        self, at: Any = None, *, agent_id: str | None = None, address: str | None = None
    ) -> Head:
        point = self.point(at, agent_id or "")
        stray = self.cluster.past.strays.get(address or "", point + 1) <= point
        return Head(point, sha256(f"{point} {stray}".encode()).digest(), FIRST_COMMIT_AT)


class FakeSubscription:
    """Ends where a real one would wait."""

    def __init__(self, client: FakeHistory, cursor: Cursor) -> None:
        self._client = client
        self._cursor = cursor

    def __enter__(self) -> FakeSubscription:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[ReplayEvent]:
        cursor = self._cursor
        scope = {"prefix": cursor.prefix, "after": cursor.position}
        return self._client.watch(cursor.agent_id, **scope)

    def ack(self, event: ReplayEvent) -> int:
        was = self._cursor
        moved = Cursor(was.name, event.commit_ts, was.agent_id, was.prefix, was.version + 1, 0)
        self._client.cluster.past.cursors[was.name] = self._cursor = moved
        return event.commit_ts


def _version(event: ReplayEvent, op: Operation) -> KeyVersion:
    moment = event.committed_at or FIRST_COMMIT_AT
    who: tuple[str, Metadata, str] = (event.txn_id, event.metadata, op.agent_id)
    return KeyVersion(op.value, op.version, event.commit_ts, moment, not op.deleted, *who, op.key)


def _field_blame(versions: list[KeyVersion]) -> dict[str, FieldBlame]:
    last = versions[-1].value
    found: dict[str, FieldBlame] = {}
    for name, value in last.items() if isinstance(last, dict) else ():
        setter = versions[-1]
        for one in reversed(versions):
            if not (isinstance(one.value, dict) and same(one.value.get(name, found), value)):
                break
            setter = one
        place = (setter.version, setter.commit_ts, setter.committed_at, setter.txn_id)
        found[name] = FieldBlame(name, *place, setter.metadata, setter.agent_id)
    return found
