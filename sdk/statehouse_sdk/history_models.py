"""Owns the shapes in which history is told: versions, blame, explanations, labels, forks, cursors.

Plain data, no wire. ``to_dict()`` is always JSON, as in models.py, whose shapes these build on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from statehouse_sdk.models import value_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from statehouse_sdk.models import Metadata, Operation
    from statehouse_sdk.values import StateValue


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a key, and the commit that made it; a tombstone has exists False.

    agent_id is who was written to: a fork's early versions are an ancestor's.
    """

    value: StateValue
    version: int
    commit_ts: int
    committed_at: datetime
    exists: bool
    txn_id: str
    metadata: Metadata
    agent_id: str
    key: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return {
            "key": self.key,
            "version": self.version,
            "commit_ts": self.commit_ts,
            "committed_at": self.committed_at.isoformat(),
            "exists": self.exists,
            "txn_id": self.txn_id,
            "metadata": self.metadata.to_dict(),
            "agent_id": self.agent_id,
            **value_to_dict(self.value),
        }


@dataclass(frozen=True, slots=True)
class FieldBlame:
    """The commit that gave a top-level field of an object the value it has."""

    field: str
    version: int
    commit_ts: int
    committed_at: datetime
    txn_id: str
    metadata: Metadata
    agent_id: str

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return {
            "field": self.field,
            "version": self.version,
            "commit_ts": self.commit_ts,
            "committed_at": self.committed_at.isoformat(),
            "txn_id": self.txn_id,
            "metadata": self.metadata.to_dict(),
            "agent_id": self.agent_id,
        }


@dataclass(frozen=True, slots=True)
class KeyBlame:
    """A live key, the version it has, and for each field of an object who set that."""

    key: str
    last: KeyVersion
    fields: Mapping[str, FieldBlame]

    def to_dict(self) -> dict[str, Any]:
        """key, last, fields by name."""
        fields = {name: blame.to_dict() for name, blame in self.fields.items()}
        return {"key": self.key, "last": self.last.to_dict(), "fields": fields}


@dataclass(frozen=True, slots=True)
class Read:
    """A key that a transaction had read when it decided, and the commit that made what it read.

    version and commit_ts are 0 when the key was not there.
    """

    namespace: str
    agent_id: str
    key: str
    version: int
    commit_ts: int

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ExplainedCommit:
    """One commit that led to a value; distance counts the steps from the one that set it.

    Of its operations only those on the key that was asked about tell their values; of the others
    the value is None.
    """

    commit_ts: int
    committed_at: datetime
    txn_id: str
    metadata: Metadata
    operations: tuple[Operation, ...]
    reads: tuple[Read, ...]
    distance: int

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return {
            "commit_ts": self.commit_ts,
            "committed_at": self.committed_at.isoformat(),
            "txn_id": self.txn_id,
            "metadata": self.metadata.to_dict(),
            "operations": [
                {"namespace": operation.namespace, "agent_id": operation.agent_id}
                | operation.to_dict()
                for operation in self.operations
            ],
            "reads": [read.to_dict() for read in self.reads],
            "distance": self.distance,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """What led to the value of a key, back to the roots: each commit once, by commit_ts.

    root is the commit that set it; None: the key was not written by then. truncated: there are more
    commits than were asked for, and the furthest are left out.
    """

    namespace: str
    agent_id: str
    key: str
    root: ExplainedCommit | None
    commits: Mapping[int, ExplainedCommit]
    truncated: bool
    served_at: int

    def causes_of(self, commit: ExplainedCommit | int) -> list[ExplainedCommit]:
        """The commits it was caused by, by its own word; those left out are not among them."""
        found = self._commit(commit)
        return [self.commits[ts] for ts in found.metadata.caused_by if ts in self.commits]

    def reads_of(self, commit: ExplainedCommit | int) -> list[tuple[Read, ExplainedCommit | None]]:
        """What it had read, and the commit that made that; None: it was not there, or left out."""
        return [(read, self.commits.get(read.commit_ts)) for read in self._commit(commit).reads]

    def tree(self) -> list[str]:
        """The explanation for people, a line a commit; what two commits share is shown once."""
        from statehouse_sdk.formatting_history import explanation_lines

        return list(explanation_lines(self))

    def to_dict(self) -> dict[str, Any]:
        """key, served_at, truncated, commits by distance."""
        return {
            "namespace": self.namespace,
            "agent_id": self.agent_id,
            "key": self.key,
            "served_at": self.served_at,
            "truncated": self.truncated,
            "commits": [commit.to_dict() for commit in self.commits.values()],
        }

    def _commit(self, commit: ExplainedCommit | int) -> ExplainedCommit:
        return self.commits[commit] if isinstance(commit, int) else commit


@dataclass(frozen=True, slots=True)
class Head:
    """Where history stood: its last commit, and the hash that chains all up to there.

    Keep one, and `prove_extension` shows later that everything before it still is as it was.
    """

    commit_ts: int
    chain_hash: bytes
    committed_at: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """commit_ts, chain_hash in hexadecimal, committed_at."""
        return {
            "commit_ts": self.commit_ts,
            "chain_hash": self.chain_hash.hex(),
            "committed_at": self.committed_at.isoformat() if self.committed_at else None,
        }


@dataclass(frozen=True, slots=True)
class Label:
    """A name for a point of an agent, and the commit that set it."""

    name: str
    commit_ts: int
    version: int
    set_at: int
    """The commit_ts of the commit that set the label."""
    set_at_time: datetime

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self) | {"set_at_time": self.set_at_time.isoformat()}


@dataclass(frozen=True, slots=True)
class ForkPoint:
    """Where a fork comes from: its parent's state at a commit_ts."""

    agent_id: str
    parent_id: str
    commit_ts: int
    forked_at: int
    """The commit that made the fork."""

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where an agent comes from, its own fork first, and which forks were made of it."""

    agent_id: str
    ancestry: tuple[ForkPoint, ...]
    forks: tuple[ForkPoint, ...]
    """The oldest first, at most 1,000."""

    def levels(self) -> Iterator[tuple[str, int | None]]:
        """The agent and each ancestor, with the last commit_ts of it that counts; None: all."""
        through: int | None = None
        yield self.agent_id, through
        for fork in self.ancestry:
            through = fork.commit_ts if through is None else min(through, fork.commit_ts)
            yield fork.parent_id, through

    def to_dict(self) -> dict[str, Any]:
        """agent_id, ancestry, forks."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a named reader has come, and what it follows."""

    name: str
    position: int
    """Everything in scope up to this commit_ts is done with."""
    agent_id: str
    prefix: str
    version: int
    set_at: int
    """The commit that moved it last."""

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verification:
    """How far a node's check of its own record has come.

    The last one is finished; then ok tells whether all was right, else bad_commit_ts is the first
    event that does not agree, and fault says what is wrong with it.
    """

    address: str
    events: int
    through: int
    chain_hash: bytes
    bad_commit_ts: int | None = None
    fault: str = ""
    finished: bool = False

    @property
    def ok(self) -> bool:
        """Nothing bad was found so far."""
        return self.bad_commit_ts is None

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, chain_hash in hexadecimal."""
        return asdict(self) | {"chain_hash": self.chain_hash.hex(), "ok": self.ok}
