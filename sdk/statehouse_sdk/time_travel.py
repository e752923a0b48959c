"""Owns the methods of the client for threads that look back, branch off and follow.

Each makes a request and has its plan carried out, as those of client.py do, whose class adds these
to its own. async_time_travel.py has the same for asyncio.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, overload

from statehouse_sdk import (
    branching,
    extending,
    history,
    marking,
    merging,
    replay,
    requests,
    requests_history,
)
from statehouse_sdk.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse_sdk.blocking import BlockingSession
    from statehouse_sdk.diffing import Diff
    from statehouse_sdk.history_models import (
        Cursor,
        Explanation,
        ForkPoint,
        Head,
        KeyBlame,
        KeyVersion,
        Label,
        Lineage,
        Verification,
    )
    from statehouse_sdk.merge_models import Merge
    from statehouse_sdk.models import At, Progress, ReplayEvent


class TimeTravel(ABC):
    """What was known, when, why, and what if. `Statehouse` has these methods beside its own.

    A point (`at`, `start_ts`, ...) is a commit_ts, an aware datetime, or a label of the agent.
    **metadata is that of `begin_transaction`: actor, reason, run_id, and so on.
    """

    # -- Points ---------------------------------------------------------------------------------

    def head(
        self,
        at: At | None = None,
        *,
        agent_id: str | None = None,
        namespace: str | None = None,
        address: str | None = None,
    ) -> Head:
        """Where history stands (or stood, `at` a point), with the hash of all of it up to there.

        Keep it, and `prove_extension` shows later that all of that is still as it was. agent_id:
        whose label `at` is. address: by the word of this node, as far as it has come.
        """
        session = self._session_here()
        inside = self._namespace(namespace)
        request = requests_history.resolve(inside, agent_id, at, stale=address is not None)
        return session.run(history.resolve(session, request, address))

    def label(
        self,
        agent_id: str,
        name: str,
        at: At | None = None,
        *,
        namespace: str | None = None,
        **metadata: Any,
    ) -> int:
        """Names a point of the agent (None: now); returns the commit_ts that it names.

        A label that exists is moved; its history keeps where it was. Names that read like a number
        or a time are refused.
        """
        session = self._session_here()
        told = requests.given_metadata(metadata)
        plan = marking.set_label(session, self._namespace(namespace), agent_id, name, at, told)
        return session.run(plan)

    def labels(
        self, agent_id: str, *, namespace: str | None = None, stale: bool = False
    ) -> list[Label]:
        """The labels of the agent, in bytewise order; a fork has its parent's up to the point."""
        session = self._session_here()
        request = requests_history.labels(self._namespace(namespace), agent_id, stale=stale)
        return session.run(history.labels(session, request))

    def delete_label(
        self, agent_id: str, name: str, *, namespace: str | None = None, **metadata: Any
    ) -> int:
        """Deletes a label; returns the commit_ts of that. LabelNotFoundError if there is none."""
        session = self._session_here()
        told = requests.given_metadata(metadata)
        plan = marking.delete_label(session, self._namespace(namespace), agent_id, name, told)
        return session.run(plan)

    # -- What was, when, and why ----------------------------------------------------------------

    def history(
        self,
        agent_id: str,
        key: str,
        *,
        start_ts: At | None = None,
        end_ts: At | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        namespace: str | None = None,
        stale: bool = False,
    ) -> Iterator[KeyVersion]:
        """Every version of the key, tombstones included, with the commit that made it.

        Both bounds are inclusive. For a page at a time: a limit, and then start_ts (or end_ts) at
        the last commit_ts. Versions made while it is read are not among them; a lost connection is
        resumed without gap or repeat.
        """
        request = requests_history.versions(
            self._namespace(namespace),
            agent_id,
            key,
            start_ts,
            end_ts,
            newest_first=newest_first,
            limit=limit,
            stale=stale,
        )
        session = self._session_here()
        return session.iterate(history.versions(session, request))

    def blame(
        self,
        agent_id: str,
        at: At | None = None,
        *,
        prefix: str = "",
        fields: bool = True,
        namespace: str | None = None,
        stale: bool = False,
    ) -> list[KeyBlame]:
        """For each live key, the version that set it; for an object's fields, who set each."""
        session = self._session_here()
        request = requests_history.blame(
            self._namespace(namespace), agent_id, at, prefix, fields=fields, stale=stale
        )
        return session.run(history.blame(session, request))

    def explain(
        self,
        agent_id: str,
        key: str,
        at: At | None = None,
        *,
        version: int | None = None,
        limit: int = 1000,
        namespace: str | None = None,
        stale: bool = False,
    ) -> Explanation:
        """How the key got its value: the commit that set it, what that had read, what caused it.

        Back to the roots, the nearest `limit` commits. What a transaction had read is what it read
        with ``tx.get``; its causes are what it was told in ``caused_by``.
        """
        session = self._session_here()
        request = requests_history.explain(
            self._namespace(namespace), agent_id, key, at, version, limit, stale=stale
        )
        return session.run(history.explain(session, request))

    def diff(
        self,
        agent_id: str,
        a: At | None = None,
        b: At | None = None,
        *,
        other: str | None = None,
        prefix: str = "",
        namespace: str | None = None,
        stale: bool = False,
    ) -> Diff:
        """What differs between the agent's state at a and at b (None: now).

        other: b is a point of that agent, and its state is compared.
        """
        session = self._session_here()
        request = requests_history.diff(
            self._namespace(namespace), agent_id, a, b, other, prefix, stale=stale
        )
        return session.run(history.diff(session, request))

    # -- What if --------------------------------------------------------------------------------

    def fork(
        self,
        agent_id: str,
        new_agent_id: str,
        at: At | None = None,
        *,
        namespace: str | None = None,
        **metadata: Any,
    ) -> ForkPoint:
        """Makes a new agent that begins as this one was (None: is), with its history up to there.

        Nothing is copied, and the parent is never changed by it. Raises AgentExistsError,
        AgentNotFoundError.
        """
        session = self._session_here()
        told = requests.given_metadata(metadata)
        inside = self._namespace(namespace)
        return session.run(marking.fork(session, inside, agent_id, new_agent_id, at, told))

    def lineage(
        self, agent_id: str, *, namespace: str | None = None, stale: bool = False
    ) -> Lineage:
        """Where the agent comes from, its own fork first, and which forks were made of it."""
        session = self._session_here()
        request = requests_history.lineage(self._namespace(namespace), agent_id, stale=stale)
        return session.run(history.lineage(session, request))

    def merge(
        self,
        source: str,
        target: str,
        *,
        choose: merging.Choose | None = None,
        resolve: merging.Resolver | None = None,
        dry_run: bool = False,
        namespace: str | None = None,
        **metadata: Any,
    ) -> Merge:
        """Brings what the source changed since both were one into the target, in one transaction.

        A key that both changed differently is a conflict. choose: for all of them, or by prefix of
        the key, the longest counts: "source", "target", "union" (of lists), "error", or a function.
        resolve: a function for those that choose says nothing of, ``resolve(key, base, ours,
        theirs)``, ours being the target's; it may be called again when the target was written to
        meanwhile. Without a decision: MergeConflictError, and nothing is written. dry_run: only
        tells what would be. Raises UnrelatedAgentsError.
        """
        session = self._session_here()
        asked = branching.Merging(
            self._namespace(namespace),
            source,
            target,
            merging.Choices(choose, resolve),
            requests.given_metadata(metadata),
            dry_run,
        )
        return session.run(branching.merging(session, asked))

    # -- Live -----------------------------------------------------------------------------------

    @overload
    def watch(
        self,
        agent_id: str = "",
        *,
        prefix: str = "",
        namespace: str | None = None,
        after: int | None = None,
        progress: Literal[False] = False,
        stale: bool = False,
    ) -> Iterator[ReplayEvent]: ...

    @overload
    def watch(
        self,
        agent_id: str = "",
        *,
        prefix: str = "",
        namespace: str | None = None,
        after: int | None = None,
        progress: bool,
        stale: bool = False,
    ) -> Iterator[ReplayEvent | Progress]: ...

    def watch(
        self,
        agent_id: str = "",
        *,
        prefix: str = "",
        namespace: str | None = None,
        after: int | None = None,
        progress: bool = False,
        stale: bool = False,
    ) -> Iterator[ReplayEvent] | Iterator[ReplayEvent | Progress]:
        """Events as they are committed, each once, without gap, whatever happens to nodes.

        agent_id "": the whole namespace. after: a commit_ts; 0: from the beginning; None: from when
        the first event is asked for. progress: between events, `Progress` tells how far all is
        told. It ends only by an error: when nothing answers for the client's timeout, go on with
        ``after=`` the last commit_ts you were told.
        """
        inside = self._namespace(namespace)
        request = requests.watch(inside, agent_id, prefix, after, stale=stale)
        session = self._session_here()
        return session.iterate(replay.watch(session, request, progress=progress))

    def subscribe(
        self,
        name: str,
        agent_id: str = "",
        *,
        prefix: str = "",
        namespace: str | None = None,
        start: int | None = None,
    ) -> Subscription:
        """A durable reader: it goes on behind what was acknowledged under this name.

        A new name begins behind the commit_ts `start`; 0: at the beginning; None: now. One reader a
        name: of two, the slower one gets a CursorMovedError.
        """
        session = self._session_here()
        reader = Subscription(self, self._namespace(namespace), name, agent_id, prefix)
        return session.run(reader._beginning(session, start))

    def cursors(self, *, namespace: str | None = None, stale: bool = False) -> list[Cursor]:
        """Where the named readers of the namespace stand, in bytewise order of their names."""
        session = self._session_here()
        request = requests_history.cursors(self._namespace(namespace), stale=stale)
        return session.run(history.cursors(session, request))

    def delete_cursor(self, name: str, *, namespace: str | None = None, **metadata: Any) -> int:
        """Forgets a named reader; returns the commit_ts of that. NotFoundError if there is none."""
        session = self._session_here()
        told = requests.given_metadata(metadata)
        plan = marking.delete_cursor(session, self._namespace(namespace), name, told)
        return session.run(plan)

    # -- Whether it is so -----------------------------------------------------------------------

    def verify(
        self,
        agent_id: str = "",
        namespace: str | None = None,
        *,
        address: str | None = None,
        after: int = 0,
    ) -> Iterator[Verification]:
        """Has a node (address; None: any) check its own record: hashes, and values against them.

        agent_id "": every event, from behind the commit_ts `after` on. Yields how far it is; the
        last one is finished and tells whether all is right.
        """
        inside = self._namespace(namespace)
        request = requests_history.verify(inside, agent_id, after)
        session = self._session_here()
        return session.iterate(history.verify(session, request, address))

    def prove_extension(self, old: Head) -> Head:
        """The head of today, if history up to `old` is still as it was; computed here.

        Fetches everything committed since, with its proofs. Raises HistoryRewrittenError naming the
        first commit that does not fit.
        """
        session = self._session_here()
        checked = requests_history.checked_head(old)
        return session.run(extending.prove_extension(session, checked, self._namespace(None)))

    # -- What the client gives ------------------------------------------------------------------

    @abstractmethod
    def _namespace(self, namespace: str | None) -> str: ...

    @abstractmethod
    def _session_here(self) -> BlockingSession: ...
