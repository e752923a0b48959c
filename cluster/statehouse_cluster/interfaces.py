"""Owns the words between consensus and the rest of the node; imports nothing of either side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class Position(NamedTuple):
    """A place in the log: the index of an entry and the term it was proposed in."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    term: int


class Entry(NamedTuple):
    """A committed application entry; `payload` is what `StateMachine.group` made."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    term: int
    payload: bytes


class Offer(NamedTuple):
    """A snapshot that a leader has ready: everything up to `position`."""

    snapshot_id: str
    position: Position


class StateMachine(Protocol):
    """What consensus replicates. Called from the raft thread only, but for `send_checkpoint` reads.

    An exception from any method stops the node: content that can be refused is refused in a result.
    """

    def position(self) -> Position:
        """The last position applied; Position(0, 0) for a store that is new."""

    def configuration(self) -> bytes:
        """The blob given with the last apply or install that had one; b"" when there was none."""

    def group(self, commands: Sequence[bytes]) -> bytes:
        """One log entry's payload for commands proposed together; called on the leader only."""

    def apply(
        self, entries: Sequence[Entry], position: Position, configuration: bytes | None
    ) -> Sequence[Sequence[object]]:
        """Applies entries in one atomic step, with the position and, unless None, configuration.

        Returns for each entry one result for each command of its group, in order. `entries` may be
        empty: then only the position (and configuration) moves.
        """

    def sync(self) -> None:
        """Makes all that was applied durable before it returns."""

    def prepare_checkpoint(self) -> bool:
        """Begins in the background what makes a checkpoint short; whether that is done by now."""

    def checkpoint(self, directory: Path) -> None:
        """Writes a consistent copy of the state into `directory`, which must not exist.

        It need not be durable: what is fetched is synced by who fetches it.
        """

    def install(self, directory: Path) -> None:
        """Replaces the state by a checkpoint, atomically and durably; takes the directory over."""


class Role(Enum):
    """What a node is in its cluster."""

    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"
    JOINER = "joiner"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the cluster; `name` is its id in the log, `uuid` is made with its disk."""

    name: str
    uuid: str
    peer_address: str
    client_address: str


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """A member as the telling node sees it."""

    member: Member
    voter: bool
    connected: bool
    match_index: int
    """How far its log is known to match; 0 unless the telling node leads."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a node knows of itself and its cluster, copied out on the raft thread."""

    name: str
    uuid: str
    cluster_id: str
    role: Role
    term: int
    leader: Member | None
    ready: bool
    """Leads, has committed in its own term and so can propose and read; False on other nodes."""
    members: tuple[MemberStatus, ...]
    log_first_index: int
    log_last_index: int
    commit_index: int
    applied_index: int


class NotLeader(Exception):
    """Definite: the command is in no log, the read was not served. `Status.leader` says who may."""


class OutcomeUnknown(Exception):
    """The command may or may not be committed: leadership was lost while it was in flight."""


class Overloaded(Exception):
    """Definite: the queue is full and nothing was proposed."""


class MembershipBusy(Exception):
    """Another change is under way, or this leader has not committed in its own term yet."""


class MembershipRefused(Exception):
    """The change cannot be made; the text says why and what to do."""


Ticket = object
"""What the owner hands in with a request and gets back with its outcome; consensus never looks."""


class Outcome(NamedTuple):
    """The end of one request: `result`, or the `error` that stands for one."""

    ticket: Ticket
    result: object = None
    error: Exception | None = None


Deliver = Callable[[list[Outcome]], None]
"""Called on the raft thread with all that ended in one round; must not block or raise."""


@dataclass(frozen=True, slots=True)
class AddProgress:
    """How far a joining node is: phase is "snapshot", "catching up" or "voting"."""

    phase: str
    bytes_sent: int
    bytes_total: int
    entries_behind: int
    member: Member
