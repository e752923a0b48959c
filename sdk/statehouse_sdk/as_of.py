"""Owns the read-only handle on history as it stood at one commit_ts.

It holds a point that was resolved once, and asks the client with it; nothing can be written there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from statehouse_sdk.client import Statehouse
    from statehouse_sdk.diffing import Diff
    from statehouse_sdk.history_models import Explanation, Head, KeyBlame, KeyVersion
    from statehouse_sdk.models import At, ReplayEvent, Snapshot, StateResult


class AsOf:
    """Everything as it was at one commit_ts, made by `Statehouse.as_of`; it has no writes.

    The methods are the client's, and mean the same. What can be read here never changes.
    """

    def __init__(self, client: Statehouse, head: Head, namespace: str) -> None:
        self._client = client
        self._head = head
        self._namespace = namespace

    @property
    def commit_ts(self) -> int:
        """The point."""
        return self._head.commit_ts

    @property
    def committed_at(self) -> datetime | None:
        """When it was committed; None for the empty beginning."""
        return self._head.committed_at

    @property
    def head(self) -> Head:
        """The point with the hash of all history up to it."""
        return self._head

    def get_state(
        self, agent_id: str, key: str, namespace: str | None = None, *, stale: bool = False
    ) -> StateResult:
        """The key as it was."""
        return self._client.get_state(
            agent_id, key, self._in(namespace), at=self.commit_ts, stale=stale
        )

    def get_many(
        self,
        agent_id: str,
        keys: Iterable[str],
        namespace: str | None = None,
        *,
        stale: bool = False,
    ) -> dict[str, StateResult]:
        """Several keys as they were, in the order asked; missing ones included."""
        return self._client.get_many(
            agent_id, keys, self._in(namespace), at=self.commit_ts, stale=stale
        )

    def list_keys(
        self,
        agent_id: str,
        namespace: str | None = None,
        *,
        prefix: str = "",
        stale: bool = False,
    ) -> list[str]:
        """The keys that were live, in bytewise order."""
        return self._client.list_keys(
            agent_id, self._in(namespace), prefix=prefix, at=self.commit_ts, stale=stale
        )

    def scan_prefix(
        self, agent_id: str, prefix: str, namespace: str | None = None, *, stale: bool = False
    ) -> list[StateResult]:
        """The keys with that prefix that were live, and their values, in order."""
        return self._client.scan_prefix(
            agent_id, prefix, self._in(namespace), at=self.commit_ts, stale=stale
        )

    def snapshot(
        self, agent_id: str, namespace: str | None = None, *, stale: bool = False
    ) -> Snapshot:
        """Everything the agent held."""
        return self._client.snapshot(agent_id, self.commit_ts, self._in(namespace), stale=stale)

    def history(
        self,
        agent_id: str,
        key: str,
        *,
        start_ts: At | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        namespace: str | None = None,
        stale: bool = False,
    ) -> Iterator[KeyVersion]:
        """The versions the key had by then."""
        return self._client.history(
            agent_id,
            key,
            namespace=self._in(namespace),
            start_ts=start_ts,
            end_ts=self.commit_ts,
            newest_first=newest_first,
            limit=limit,
            stale=stale,
        )

    def blame(
        self,
        agent_id: str,
        *,
        prefix: str = "",
        fields: bool = True,
        namespace: str | None = None,
        stale: bool = False,
    ) -> list[KeyBlame]:
        """Who had set each key, and each field of an object."""
        return self._client.blame(
            agent_id,
            self.commit_ts,
            namespace=self._in(namespace),
            prefix=prefix,
            fields=fields,
            stale=stale,
        )

    def explain(
        self,
        agent_id: str,
        key: str,
        *,
        limit: int = 1000,
        namespace: str | None = None,
        stale: bool = False,
    ) -> Explanation:
        """What had led to the key's value."""
        return self._client.explain(
            agent_id,
            key,
            self.commit_ts,
            limit=limit,
            namespace=self._in(namespace),
            stale=stale,
        )

    def diff(
        self,
        agent_id: str,
        to: At | None = None,
        *,
        other: str | None = None,
        prefix: str = "",
        namespace: str | None = None,
        stale: bool = False,
    ) -> Diff:
        """What differs from here to another point (None: now), or to another agent there."""
        return self._client.diff(
            agent_id,
            self.commit_ts,
            to,
            namespace=self._in(namespace),
            other=other,
            prefix=prefix,
            stale=stale,
        )

    def replay(
        self,
        agent_id: str = "",
        start_ts: At | None = None,
        namespace: str | None = None,
        *,
        limit: int | None = None,
        last: int | None = None,
        prefix: str = "",
        run_id: str = "",
        caused_by: int | None = None,
        stale: bool = False,
    ) -> Iterator[ReplayEvent]:
        """The events up to here."""
        return self._client.replay(
            agent_id,
            start_ts,
            self.commit_ts,
            self._in(namespace),
            limit=limit,
            last=last,
            prefix=prefix,
            run_id=run_id,
            caused_by=caused_by,
            stale=stale,
        )

    def __repr__(self) -> str:
        moment = f" of {self.committed_at.isoformat()}" if self.committed_at else ""
        return f"<{type(self).__name__} commit_ts {self.commit_ts}{moment}>"

    def _in(self, namespace: str | None) -> str:
        return namespace or self._namespace
