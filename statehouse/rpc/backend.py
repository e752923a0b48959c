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
    from statehouse.core.model import AgentRow, Event, Record, Submission
    from statehouse.node_status import AddStep, MemberFacts, NodeStatus


class View(Protocol):
    """The state at one commit_ts, unchanged while it is held; close it.

    `at` is a commit_ts not above the view's own; iterators are lazy, and end with the view.
    """

    @property
    def commit_ts(self) -> int: ...

    @property
    def committed_at_us(self) -> int: ...

    def get(
        self, namespace: str, agent_id: str, key: str, at: int | None = None
    ) -> Record | None: ...

    def get_version(
        self, namespace: str, agent_id: str, key: str, version: int
    ) -> Record | None: ...

    def keys(
        self, namespace: str, agent_id: str, prefix: str = "", at: int | None = None
    ) -> Iterator[str]: ...

    def scan(
        self, namespace: str, agent_id: str, prefix: str = "", at: int | None = None
    ) -> Iterator[Record]: ...

    def agents(self, namespace: str) -> Iterator[AgentRow]: ...

    def namespaces(self) -> Iterator[str]: ...

    def events(
        self,
        namespace: str | None = None,
        agent_id: str | None = None,
        start_ts: int = 1,
        end_ts: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Event]: ...

    def resolve_time(self, time_us: int) -> int: ...

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

    def add_member(self, peer_address: str) -> AsyncGenerator[AddStep, None]:
        """Adds the node listening there; tells each step until it votes."""

    async def remove_member(self, name: str) -> tuple[MemberFacts, ...]:
        """Removes a member; returns those that remain."""

    async def transfer(self, name: str) -> LeaderHint:
        """Hands leadership to a member, to the one furthest along when `name` is empty."""
