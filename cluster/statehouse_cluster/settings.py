"""Owns what a node's consensus is told at its start: who it is, where its data and peers are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from statehouse_cluster.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from statehouse_cluster.identity import DataDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one leader takes at once."""

    group_commands_max: int = 1024
    """Commands that share one log entry."""
    group_bytes_max: int = 4 * 1024 * 1024
    """Bytes of commands after which an entry takes no more; each command must be smaller."""
    entries_in_flight_max: int = 256
    """Entries proposed and not yet committed; more commands wait in the queue."""
    queue_commands_max: int = 8192
    """Commands waiting or in flight; one more is refused."""
    apply_entries_max: int = 64
    """Entries applied in one atomic step."""
    journal_bytes_retained_max: int = 64 * 1024 * 1024
    """Above this the journal is cut, down to half its entries, once they are durable in the state
    machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """One node's place in its cluster; addresses are host:port."""

    name: str
    """The node's id in the log; never used again for another disk."""
    directory: DataDirectory
    """The data directory, locked by the owner; consensus keeps identity.json, journal/, incoming/
    and outgoing/ there."""
    peer_listen: str = ""
    """Where peers connect; empty: nowhere, for a node that stays alone."""
    client_address: str = ""
    """Where clients connect, told to peers for their leader hints."""
    peers: Mapping[str, str] = field(default_factory=dict)
    """Name to peer address of each founding member, this one included; empty: founded alone."""
    join: bool = False
    """A new node that waits until a cluster adds it."""
    timing: Timing = field(default_factory=Timing)
    bounds: Bounds = field(default_factory=Bounds)
