"""Owns what a node tells of itself and its cluster: to operators, to health, in leader hints.

Plain facts, copied out at one moment; it knows neither how they are found nor how they are sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statehouse.core.errors import LeaderHint
    from statehouse.lifecycle import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """One member of the cluster as the telling node sees it; addresses are host:port."""

    name: str
    node_uuid: str
    peer_address: str
    client_address: str
    voter: bool
    connected: bool
    match_index: int = 0
    """How far its log is known to match; 0 unless the telling node leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node at one moment."""

    name: str
    node_uuid: str
    cluster_id: str
    role: str
    """leader, follower, candidate, joiner or removed."""
    phase: Phase
    term: int
    leader: LeaderHint | None
    ready: bool
    """Leads, and can propose and read."""
    members: tuple[MemberFacts, ...]
    log_first_index: int
    log_last_index: int
    commit_index: int
    applied_index: int
    commit_ts: int
    committed_at_us: int
    chain_head: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AddStep:
    """How far a joining node is; the phase is "snapshot", "catching up" or "voting"."""

    phase: str
    bytes_sent: int
    bytes_total: int
    entries_behind: int
    member: MemberFacts
