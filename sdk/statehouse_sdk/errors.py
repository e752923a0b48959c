"""Owns the tree of everything the SDK raises; knows neither gRPC nor the wire (faults.py does).

    StatehouseError                     catches all of them
    ├── TransactionError                a commit failed, or a transaction was used wrongly
    │   ├── ConflictError               a precondition or a read did not hold; nothing was written
    │   │   └── CursorMovedError        another reader of the same name has moved its cursor
    │   ├── TransactionAbortedError     nothing was written, for the reason in ``cause``
    │   ├── TransactionExpiredError     its timeout passed before the commit
    │   ├── TransactionFinishedError    used after it was committed or aborted
    │   └── OutcomeUnknownError         written or not: commit the same object again to learn it
    ├── InvalidRequestError             the request is wrong and will be wrong again; a ValueError
    │   ├── InvalidValueError           a value that cannot be stored exactly; ``path`` tells where
    │   ├── TooLargeError               a limit is exceeded; ``limit_name``, ``maximum``, ``actual``
    │   ├── FuturePointError            ``at`` lies after everything that is committed
    │   ├── BeforeBeginningError        ``at`` lies before the first commit
    │   ├── AgentExistsError            a fork needs an agent that was never written to
    │   └── UnrelatedAgentsError        a merge needs agents of one lineage
    ├── MergeConflictError              both sides changed it, and nothing says which counts
    ├── HistoryRewrittenError           the record is not the one it was; ``commit_ts`` tells where
    ├── UnavailableError                the cluster cannot answer now; it may later
    │   ├── ConnectionError             no node could be reached
    │   ├── NoLeaderError               nodes answer, but none of them leads
    │   ├── DeadlineExceededError       no answer in time
    │   ├── OverloadedError             the node refuses more work
    │   └── StorageFullError            writes are refused for lack of disk space; reads go on
    ├── NotFoundError                   the thing asked for does not exist
    │   ├── LabelNotFoundError          the agent has no label of that name
    │   └── AgentNotFoundError          the agent was not written to, or not by that point
    ├── MembershipError                 a change of the cluster's members was refused
    ├── PermissionDeniedError           the server does not let this client do that
    ├── ProtocolError                   client and server do not understand each other
    └── ServerError                     the server failed in a way it could not name

A failed ``commit()`` raises a TransactionError, always. OutcomeUnknownError is one too: code that
catches TransactionError and starts anew as if nothing had been written must let it pass first. All
can be pickled. ConnectionError is not the builtin of that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Conflict:
    """One precondition that did not hold, and what was found instead.

    Exactly one of the three expectations is set. ``actual_version`` 0: never written.
    """

    namespace: str
    agent_id: str
    key: str
    expected_version: int | None = None
    expected_absent: bool = False
    unchanged_since: int | None = None
    actual_version: int = 0
    actual_commit_ts: int = 0
    actual_exists: bool = False

    def __str__(self) -> str:
        if self.expected_absent:
            expected = "no value"
        elif self.unchanged_since is not None:
            expected = f"unchanged since commit_ts {self.unchanged_since}"
        else:
            expected = f"version {self.expected_version}"
        if self.actual_version == 0:
            actual = "never written"
        else:
            what = "version" if self.actual_exists else "deleted at version"
            actual = f"{what} {self.actual_version} of commit_ts {self.actual_commit_ts}"
        place = f"{self.namespace}/{self.agent_id}/{self.key}"
        return f"{place}: expected {expected}, found {actual}"


class StatehouseError(Exception):
    """The root of all errors of the SDK; its text says what happened and what to do."""


class TransactionError(StatehouseError):
    """A commit failed, or a transaction was used wrongly."""


class ConflictError(TransactionError):
    """A precondition did not hold, or something that was read has changed; nothing was written."""

    def __init__(self, message: str = "", conflicts: tuple[Conflict, ...] = ()) -> None:
        super().__init__(message)
        self.conflicts = conflicts


class CursorMovedError(ConflictError):
    """Another reader of the same name has moved the cursor; subscribe anew to go on from there."""


class TransactionAbortedError(TransactionError):
    """Nothing was written; ``cause`` is the error that says why."""

    def __init__(self, message: str = "", cause: StatehouseError | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class TransactionExpiredError(TransactionError):
    """The transaction's timeout passed before its commit; nothing was written."""


class TransactionFinishedError(TransactionError):
    """The transaction was already committed or aborted."""


class OutcomeUnknownError(TransactionError):
    """The transaction may or may not have been written.

    ``commit()`` on the same object asks again under the same op id: it returns the first answer, or
    commits now, and never writes twice.
    """


class InvalidRequestError(StatehouseError, ValueError):
    """The request is wrong; sending it again will not help."""


class InvalidValueError(InvalidRequestError):
    """A value that could not be read back as written; ``path`` leads to the offender."""

    def __init__(self, message: str = "", path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class TooLargeError(InvalidRequestError):
    """A limit is exceeded: its name, the most it allows, and what was given."""

    def __init__(
        self, message: str = "", limit_name: str = "", maximum: int = 0, actual: int = 0
    ) -> None:
        super().__init__(message)
        self.limit_name = limit_name
        self.maximum = maximum
        self.actual = actual


class FuturePointError(InvalidRequestError):
    """The point in history lies after everything that is committed."""


class BeforeBeginningError(InvalidRequestError):
    """The moment lies before the first commit; the text says when history begins."""


class AgentExistsError(InvalidRequestError):
    """A fork needs the name of an agent that was never written to."""


class UnrelatedAgentsError(InvalidRequestError):
    """The agents of a merge have no common ancestor: neither is a fork of the other's lineage."""


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """A key that both sides of a merge changed, to different values.

    ``base``, ``source`` and ``target`` are its values in their last common state and on either
    side; ABSENT where it does not exist.
    """

    key: str
    base: Any
    source: Any
    target: Any

    def __str__(self) -> str:
        sides = f"source {self.source!r:.60}, target {self.target!r:.60}"
        return f"{self.key}: base {self.base!r:.60}, {sides}"


class MergeConflictError(StatehouseError):
    """Both sides changed the same keys; nothing was written. ``conflicts`` tells each of them."""

    def __init__(self, message: str = "", conflicts: tuple[MergeConflict, ...] = ()) -> None:
        super().__init__(message)
        self.conflicts = conflicts


class HistoryRewrittenError(StatehouseError):
    """The record does not agree with what was kept of it; ``commit_ts`` is the first that does not.

    Take no answer of this cluster as true before it is known how that came about.
    """

    def __init__(self, message: str = "", commit_ts: int = 0) -> None:
        super().__init__(message)
        self.commit_ts = commit_ts


class UnavailableError(StatehouseError):
    """The cluster cannot answer now; the same call may succeed later."""


class ConnectionError(UnavailableError):
    """No node could be reached."""


class NoLeaderError(UnavailableError):
    """Nodes answer, but none of them leads: an election is on, or a majority is down."""


class DeadlineExceededError(UnavailableError):
    """No answer came in time."""


class OverloadedError(UnavailableError):
    """The node has as much work as it can hold."""


class StorageFullError(UnavailableError):
    """Writes are refused for lack of disk space on the leader; reads go on."""


class NotFoundError(StatehouseError):
    """The thing asked for does not exist. (A missing key is no error: exists is False.)"""


class LabelNotFoundError(NotFoundError):
    """The agent has no label of that name; the text names some it has."""


class AgentNotFoundError(NotFoundError):
    """The agent was never written to, or not by the point that was asked for."""


class MembershipError(StatehouseError):
    """A change of the cluster's members was refused."""


class PermissionDeniedError(StatehouseError):
    """The server does not let this client do that."""


class ProtocolError(StatehouseError):
    """Client and server do not understand each other: versions too far apart, or not our server."""


class ServerError(StatehouseError):
    """The server failed in a way it could not name; its log tells more."""
