"""Owns what the SDK tells of a cluster: a node's status, a member, the progress of adding one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Member:
    """One member, as the answering node sees it. `match_index` is known to the leader only."""

    name: str
    node_uuid: str
    peer_address: str
    client_address: str
    voter: bool
    connected: bool
    match_index: int

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What one node knows of itself and its cluster; nothing of it is confirmed by a majority.

    role is leader, follower, candidate, joiner or removed; lifecycle is the node's own word
    (starting, serving, ...); an empty leader_name: none is known.
    """

    address: str
    """Where the answer came from."""
    name: str
    node_uuid: str
    cluster_id: str
    role: str
    lifecycle: str
    term: int
    leader_name: str
    leader_address: str
    members: tuple[Member, ...]
    log_first_index: int
    log_last_index: int
    commit_index: int
    applied_index: int
    commit_ts: int
    committed_at: datetime | None
    chain_head: bytes
    version: str
    git_sha: str

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as JSON can hold them."""
        facts = asdict(self)
        facts["committed_at"] = self.committed_at.isoformat() if self.committed_at else None
        facts["chain_head"] = self.chain_head.hex()
        facts["members"] = [member.to_dict() for member in self.members]
        return facts


@dataclass(frozen=True, slots=True)
class AddProgress:
    """How far a new member is: phase is snapshot, catching_up or voting (then it is a member)."""

    phase: str
    bytes_sent: int
    bytes_total: int
    entries_behind: int
    member: Member | None


@dataclass(frozen=True, slots=True)
class Leader:
    """The leader after a transfer."""

    name: str
    address: str
    term: int
