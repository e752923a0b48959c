"""Owns how the node refuses: one exception, one reason from a closed list, facts for the caller.

It must not know gRPC: rpc/status_codes.py gives each reason its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Reason(IntEnum):
    """Why a request was refused; the numbers are those of statehouse.v2.Reason on the wire."""

    INVALID_ARGUMENT = 1
    TOO_LARGE = 2
    NOT_LEADER = 3
    NO_LEADER = 4
    CONFLICT = 5
    OP_ID_REUSED = 6
    OP_ID_EXPIRED = 7
    OUTCOME_UNKNOWN = 8
    OVERLOADED = 9
    FUTURE_POINT = 10
    STORAGE_FULL = 11
    SHUTTING_DOWN = 12
    REMOVED = 13
    MEMBERSHIP_BUSY = 14
    MEMBERSHIP_REFUSED = 15
    TRANSACTION_NOT_FOUND = 16
    TRANSACTION_EXPIRED = 17
    TRANSACTION_FINISHED = 18
    DEADLINE_EXCEEDED = 19
    INTERNAL = 20
    NOT_READY = 21
    LABEL_NOT_FOUND = 22
    AGENT_NOT_FOUND = 23
    AGENT_EXISTS = 24
    BEFORE_BEGINNING = 25


@dataclass(frozen=True, slots=True)
class LeaderHint:
    """Where the leader is, as far as this node knows; `address` is host:port for clients."""

    name: str
    address: str
    term: int


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """The name of a constant in core/limits.py (lower case), its value, and what was sent."""

    name: str
    maximum: int
    actual: int


class Failure(Exception):
    """A request refused for a stated reason; `message` says what happened, to what, what to do."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        leader: LeaderHint | None = None,
        limit: LimitExceeded | None = None,
        conflicts: tuple[object, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.leader = leader
        self.limit = limit
        self.conflicts = conflicts
        """Of `core.model.Conflict`, for the reason CONFLICT."""
