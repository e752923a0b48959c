"""Owns what the services ask of the node, as Protocols; node.py answers them, tests fake them.

Every method refuses by raising `core.errors.Failure`; anything else it raises is a fault of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from statehouse.core.model import Committed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from statehouse.core.errors import LeaderHint
    from statehouse.core.model import (
        AgentRow,
        CursorRow,
        DiffRow,
        Event,
        ExplainedCommit,
        ForkRow,
        KeyBlame,
        LabelRow,
        Record,
        Submission,
        VerifyRow,
        VersionRow,
    )
    from statehouse.node_status import AddStep, MemberFacts, NodeStatus


class View(Protocol):
    """The state at one commit_ts, unchanged while it is held; close it.

    `at`, and every other point, is a commit_ts not above the view's own; None is the view's own.
    Iterators are lazy, and end with the view. Where one may look at many rows and find nothing to
    tell, it breathes: it yields None about every 256 rows, so that others get their turn.

    A forked agent reads, up to the point it was forked at, as its parent does, in every method.
    """

    @property
    def commit_ts(self) -> int: ...

    @property
    def committed_at_us(self) -> int: ...

    @property
    def first_committed_at_us(self) -> int | None:
        """When the history begins: the time of commit 1; None before it."""

    # -- Keys

    def get(
        self, namespace: str, agent_id: str, key: str, at: int | None = None
    ) -> Record | None: ...

    def get_version(
        self, namespace: str, agent_id: str, key: str, version: int
    ) -> Record | None: ...

    def keys(
        self, namespace: str, agent_id: str, prefix: str = "", at: int | None = None
    ) -> Iterator[str | None]: ...

    def scan(
        self, namespace: str, agent_id: str, prefix: str = "", at: int | None = None
    ) -> Iterator[Record | None]: ...

    def agents(self, namespace: str) -> Iterator[AgentRow]: ...

    def namespaces(self) -> Iterator[str]: ...

    # -- Marks

    def label(self, namespace: str, agent_id: str, name: str) -> int | None:
        """The commit_ts that the label names; None: there is none."""

    def labels(self, namespace: str, agent_id: str) -> Iterator[LabelRow | None]:
        """By name, in bytewise order."""

    def cursor(self, namespace: str, name: str) -> CursorRow | None:
        """None: it was never set; one that was deleted does not exist, but has a version."""

    def cursors(self, namespace: str) -> Iterator[CursorRow | None]:
        """Those that exist, by name, in bytewise order."""

    def lineage(self, namespace: str, agent_id: str) -> tuple[ForkRow, ...]:
        """The agent's own fork, then its parent's, up to an agent that is no fork."""

    def forks(self, namespace: str, agent_id: str, limit: int) -> tuple[ForkRow, ...]:
        """The first forks of this agent, the oldest first."""

    # -- History

    def resolve_time(self, time_us: int) -> int: ...

    def chain_hash_at(self, commit_ts: int) -> bytes:
        """The hash of that event; of nothing, 32 zero bytes, at 0. ValueError: not in the view."""

    def event(self, commit_ts: int) -> Event | None:
        """One event, its values left empty; None: the view has none of that number."""

    def events(
        self,
        namespace: str | None = None,
        agent_id: str | None = None,
        start_ts: int = 1,
        end_ts: int | None = None,
        newest_first: bool = False,
        *,
        prefix: str = "",
        run_id: str = "",
        caused_by: int = 0,
        with_proof: bool = False,
        read_ahead: int = 1,
    ) -> Iterator[Event | None]:
        """The events that have an operation in scope, with those operations only.

        prefix: only operations on keys that begin so. run_id, caused_by: only events whose metadata
        says so. read_ahead: how many are asked for at once, for those cost less together.
        ValueError: an agent or a run without its namespace, or a run and a cause together.
        """

    def links(self, start_ts: int = 1, end_ts: int | None = None) -> Iterator[Event]:
        """Every event with nothing but commit_ts, hash, and what that is made of."""

    def versions(
        self,
        namespace: str,
        agent_id: str,
        key: str,
        start_ts: int = 1,
        end_ts: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[VersionRow | None]:
        """The versions made from start_ts to end_ts, both included, tombstones too."""

    def blame(
        self,
        namespace: str,
        agent_id: str,
        prefix: str = "",
        at: int | None = None,
        fields: bool = False,
    ) -> Iterator[KeyBlame | None]:
        """For each key that `keys` names: which commit set it, and each field of an object."""

    def explain(
        self,
        namespace: str,
        agent_id: str,
        key: str,
        at: int | None = None,
        version: int = 0,
        limit: int = 1000,
    ) -> Iterator[ExplainedCommit | None]:
        """The commit that set the key, what that had read, what caused it, back to the roots.

        At most `limit`, by distance, then by commit_ts downwards; each once. To learn whether there
        are more, ask for one more than is told. Nothing, when the key was not written by then.
        """

    def diff(
        self,
        namespace: str,
        agent_id: str,
        a: int,
        other_agent_id: str,
        b: int,
        prefix: str = "",
    ) -> Iterator[DiffRow | None]:
        """The keys that differ between agent_id at a and other_agent_id at b, in bytewise order."""

    def verify(
        self, after: int = 0, namespace: str | None = None, agent_id: str | None = None
    ) -> Iterator[VerifyRow | None]:
        """Checks hashes, and values against them; a row now and then tells how far it is.

        The last row is finished; what does not agree is told there and not raised. An agent's
        events are each checked against the one before. ValueError: an agent without its namespace
        or the other way round, or together with after, or `after` beyond the view.
        """

    def close(self) -> None: ...


Answered = Callable[[Committed | Exception], None]
"""Told once how a commit ended, on the event loop; an exception is what `commit` would raise."""


class Backend(Protocol):
    """The node as its services see it. All of it runs on the event loop and never blocks it."""

    def submit(self, commits: Sequence[tuple[Submission, Answered]]) -> None:
        """Proposes commits together; what is refused at once is told before it returns."""

    async def commit(self, submission: Submission) -> Committed:
        """Proposes and waits for the answer; cancelling gives up waiting, not the transaction."""

    def has_commits_under_way(self) -> bool:
        """Whether commits were proposed here and are not answered yet."""

    async def view(self, *, stale: bool) -> View:
        """The applied state; unless `stale`, proven to hold all that was committed before."""

    async def grown(self, commit_ts: int, *, stale: bool) -> None:
        """Waits until more than `commit_ts` is applied.

        Refuses when this node stops, or, unless `stale`, when it leads no more.
        """

    def leads(self) -> bool:
        """Whether commits and linearizable reads can be answered here."""

    def leader(self) -> LeaderHint | None:
        """Who leads, this node included; None when it is not known."""

    def status(self) -> NodeStatus: ...

    def give_up(self, error: Exception) -> None:
        """Stops this node for good, for what `error` says: its record cannot be trusted."""

    def add_member(self, peer_address: str) -> AsyncGenerator[AddStep, None]:
        """Adds the node listening there; tells each step until it votes."""

    async def remove_member(self, name: str) -> tuple[MemberFacts, ...]:
        """Removes a member; returns those that remain."""

    async def transfer(self, name: str) -> LeaderHint:
        """Hands leadership to a member, to the one furthest along when `name` is empty."""
