"""Owns the public client: each method checks its arguments, asks the session, converts the answer.

How a call finds its node and what is retried is not here (session.py, endpoints.py, retry.py).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import cluster, config, convert, formatting, reads, replay
from statehouse_sdk.errors import (
    ConflictError,
    InvalidRequestError,
    TooLargeError,
)
from statehouse_sdk.limits import GET_MANY_KEYS_MAX
from statehouse_sdk.models import At, ReplayEvent, Snapshot, StateResult
from statehouse_sdk.session import Session
from statehouse_sdk.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from statehouse_sdk.cluster_models import AddProgress, Leader, Member, NodeStatus

Result = TypeVar("Result")

_NO_METADATA: Final = ("", "", "", "", (), None)

TRANSACT_ATTEMPTS: Final = 16
CONFLICT_PAUSE_FIRST_S: Final = 0.005
CONFLICT_PAUSE_MAX_S: Final = 0.5


class Statehouse:
    """A client of one cluster; thread-safe, and usable after a fork (the child connects anew).

    url: ``host:port``, several divided by commas or in a list; one is enough, the others are
    learned. timeout: seconds each call may take with all its retries. Left out, they come from
    STATEHOUSE_URL, STATEHOUSE_NAMESPACE and STATEHOUSE_TIMEOUT, else localhost:50051, "default" and
    30. Nothing is connected until the first call.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        namespace: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._config = config.resolve(url, namespace, timeout, os.environ)
        self._session = Session(self._config)

    @property
    def namespace(self) -> str:
        """The namespace of calls that name none."""
        return self._config.namespace

    @property
    def timeout(self) -> float:
        """Seconds each call may take with all its retries."""
        return self._config.timeout_s

    # -- the cluster ----------------------------------------------------------------------------

    def health(self) -> str:
        """ "ok" if a node serves and knows a leader; else ConnectionError, within seconds."""
        return cluster.health(self._session_here())

    def version(self) -> tuple[str, str]:
        """Version and git sha of the node that answers."""
        status = self.cluster_status()
        return status.version, status.git_sha

    def cluster_status(self, address: str | None = None) -> NodeStatus:
        """What the node at this address, or any node, knows of itself and of its cluster."""
        return cluster.status(self._session_here(), address)

    def add_member(self, peer_address: str) -> Iterator[AddProgress]:
        """Adds the node that listens for peers there; yields progress until it votes."""
        return cluster.add_member(self._session_here(), peer_address)

    def remove_member(self, name: str) -> list[Member]:
        """Removes a member; returns those that remain."""
        return cluster.remove_member(self._session_here(), name)

    def transfer_leadership(self, name: str | None = None) -> Leader:
        """Gives the lead to a member, or to the one that is furthest; returns the new leader."""
        return cluster.transfer_leadership(self._session_here(), name)

    # -- transactions ---------------------------------------------------------------------------

    def begin_transaction(
        self,
        timeout_ms: int | None = None,
        namespace: str | None = None,
        *,
        actor: str = "",
        reason: str = "",
        run_id: str = "",
        tool_call_id: str = "",
        caused_by: int | Sequence[int] = (),
        extra: Mapping[str, str] | None = None,
    ) -> Transaction:
        """A new transaction; no round trip. After timeout_ms it can no longer be committed.

        The other arguments are kept with the event: who, why, in which run, by which tool call,
        led to by which earlier commit_ts, and free-form strings.
        """
        timeout_s = None
        if timeout_ms is not None:
            timeout_s = convert.checked_number(timeout_ms, "timeout_ms") / 1000
        metadata = None
        if (actor, reason, run_id, tool_call_id, caused_by, extra) != _NO_METADATA:
            metadata = convert.make_metadata(actor, reason, run_id, tool_call_id, caused_by, extra)
        return Transaction(self, self._namespace(namespace), timeout_s, metadata)

    def transact(
        self,
        fn: Callable[[Transaction], Result],
        *,
        attempts: int = TRANSACT_ATTEMPTS,
        timeout: float | None = None,
        namespace: str | None = None,
        **metadata: Any,
    ) -> Result:
        """Runs ``fn(tx)`` and commits; on a conflict again, with a new transaction.

        Read with ``tx.get`` what the writes depend on. fn may run several times, so it must have no
        other effect. Gives up after so many attempts or seconds with the last ConflictError; every
        other error is raised at once.
        """
        if attempts < 1:
            raise InvalidRequestError(f"attempts is {attempts}; at least one is needed")
        deadline_s = time.monotonic() + (self.timeout if timeout is None else timeout)
        pause_s = CONFLICT_PAUSE_FIRST_S
        while True:
            attempts -= 1
            try:
                with self.begin_transaction(namespace=namespace, **metadata) as tx:
                    result = fn(tx)
                return result
            except ConflictError:
                wait_s = pause_s * self._session_here().jitter()
                if attempts == 0 or time.monotonic() + wait_s >= deadline_s:
                    raise
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, CONFLICT_PAUSE_MAX_S)

    # -- reads ----------------------------------------------------------------------------------

    def get_state(
        self,
        agent_id: str,
        key: str,
        namespace: str | None = None,
        *,
        at: At | None = None,
        version: int | None = None,
        stale: bool = False,
    ) -> StateResult:
        """The key now, or as it was `at` a commit_ts or moment, or one version of it.

        stale: from any node, as far as that node has come. A missing key is no error: exists False.
        Raises FuturePointError if `at` is not reached yet.
        """
        if version is not None:
            if at is not None:
                raise InvalidRequestError("give at or version, not both")
            if convert.checked_number(version, "version") == 0:
                return convert.MISSING
        request = state.GetRequest(
            namespace=self._namespace(namespace),
            agent_id=convert.checked_name(agent_id, "agent_id"),
            key=convert.checked_name(key, "key"),
            at=convert.point(at),
            version=version or 0,
            consistency=convert.consistency(stale),
        )
        return reads.get(self._session_here(), request)

    def get_state_at_version(
        self, agent_id: str, key: str, version: int, namespace: str | None = None
    ) -> StateResult:
        """One version of the key; exists False if there is none, or if it is a tombstone."""
        return self.get_state(agent_id, key, namespace, version=version)

    def read_state_at(
        self, agent_id: str, key: str, t: At, namespace: str | None = None
    ) -> StateResult:
        """The key as it was at `t`: a commit_ts, or an aware datetime."""
        return self.get_state(agent_id, key, namespace, at=t)

    def get_many(
        self,
        agent_id: str,
        keys: Iterable[str],
        namespace: str | None = None,
        *,
        at: At | None = None,
        stale: bool = False,
    ) -> dict[str, StateResult]:
        """Several keys of an agent at one commit_ts, in the order asked; missing ones included."""
        if isinstance(keys, str):
            raise InvalidRequestError(f"keys is the string {keys!r:.60}; give a list of keys")
        wanted = list(dict.fromkeys(convert.checked_name(key, "key") for key in keys))
        if len(wanted) > GET_MANY_KEYS_MAX:
            raise TooLargeError(
                f"{len(wanted)} keys asked for, and get_many_keys_max is {GET_MANY_KEYS_MAX}",
                "get_many_keys_max",
                GET_MANY_KEYS_MAX,
                len(wanted),
            )
        if not wanted:
            return {}
        request = state.GetManyRequest(
            namespace=self._namespace(namespace),
            agent_id=convert.checked_name(agent_id, "agent_id"),
            keys=wanted,
            at=convert.point(at),
            consistency=convert.consistency(stale),
        )
        return dict(zip(wanted, reads.get_many(self._session_here(), request), strict=True))

    def list_keys(
        self,
        agent_id: str,
        namespace: str | None = None,
        *,
        prefix: str = "",
        at: At | None = None,
        stale: bool = False,
    ) -> list[str]:
        """The live keys of an agent at one commit_ts, in bytewise order."""
        request = state.ListKeysRequest(
            namespace=self._namespace(namespace),
            agent_id=convert.checked_name(agent_id, "agent_id"),
            prefix=convert.checked_name(prefix, "prefix", empty=True),
            at=convert.point(at),
            consistency=convert.consistency(stale),
        )
        return reads.list_keys(self._session_here(), request)

    def scan_prefix(
        self,
        agent_id: str,
        prefix: str,
        namespace: str | None = None,
        *,
        at: At | None = None,
        stale: bool = False,
    ) -> list[StateResult]:
        """The live keys with that prefix ("": all) and their values at one commit_ts, in order."""
        return self._scan(agent_id, prefix, namespace, at, stale)[0]

    def snapshot(
        self,
        agent_id: str,
        at: At | None = None,
        namespace: str | None = None,
        *,
        stale: bool = False,
    ) -> Snapshot:
        """Everything an agent held at one commit_ts: now, or `at`."""
        results, commit_ts = self._scan(agent_id, "", namespace, at, stale)
        records = {result.key: result for result in results}
        return Snapshot(self._namespace(namespace), agent_id, commit_ts, records)

    def list_agents(self, namespace: str | None = None, *, stale: bool = False) -> list[str]:
        """Every agent that was ever written to in the namespace, in bytewise order."""
        request = state.ListAgentsRequest(
            namespace=self._namespace(namespace), consistency=convert.consistency(stale)
        )
        return reads.list_agents(self._session_here(), request)

    def list_namespaces(self, *, stale: bool = False) -> list[str]:
        """Every namespace that was ever written to, in bytewise order."""
        request = state.ListNamespacesRequest(consistency=convert.consistency(stale))
        return reads.list_namespaces(self._session_here(), request)

    # -- history --------------------------------------------------------------------------------

    def replay(
        self,
        agent_id: str = "",
        start_ts: At | None = None,
        end_ts: At | None = None,
        namespace: str | None = None,
        *,
        limit: int | None = None,
        last: int | None = None,
        follow: bool = False,
        stale: bool = False,
    ) -> Iterator[ReplayEvent]:
        """The events of an agent ("": of the whole namespace), with its operations, in order.

        Both bounds, commit_ts or aware datetimes, are inclusive. limit: at most so many events.
        last: only the last so many of the range. follow: goes on, without an end, with events as
        they are committed (not together with end_ts or limit). The first request is sent when the
        first event is asked for; a lost connection is resumed without gap or repeat.
        """
        if follow and (end_ts is not None or limit):
            raise InvalidRequestError("follow has no end: leave out end_ts and limit")
        if limit and last:
            raise InvalidRequestError("limit and last exclude each other: leave out one")
        scope = self._namespace(namespace)
        request = state.ReplayRequest(
            namespace=scope,
            agent_id=convert.checked_name(agent_id, "agent_id", empty=True),
            start=convert.point(start_ts or None, "start_ts"),
            end=convert.point(end_ts, "end_ts"),
            limit=convert.checked_number(limit or 0, "limit"),
            last=convert.checked_number(last or 0, "last"),
            follow=follow,
            consistency=convert.consistency(stale),
        )
        return self._events(request, scope, agent_id, stale)

    replay_events = replay

    def replay_pretty(
        self,
        agent_id: str = "",
        start_ts: At | None = None,
        end_ts: At | None = None,
        namespace: str | None = None,
        verbose: bool = False,
        *,
        limit: int | None = None,
        last: int | None = None,
        follow: bool = False,
    ) -> Iterator[str]:
        """The same history as readable text, one string for each operation."""
        lines = formatting.format_event_verbose if verbose else formatting.format_event_pretty
        for event in self.replay(
            agent_id, start_ts, end_ts, namespace, limit=limit, last=last, follow=follow
        ):
            yield from lines(event)

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes all connections; calls under way in other threads fail."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Statehouse {','.join(self._config.endpoints)} namespace={self.namespace!r}>"

    def _scan(
        self, agent_id: str, prefix: str, namespace: str | None, at: At | None, stale: bool
    ) -> tuple[list[StateResult], int]:
        request = state.ScanRequest(
            namespace=self._namespace(namespace),
            agent_id=convert.checked_name(agent_id, "agent_id"),
            prefix=convert.checked_name(prefix, "prefix", empty=True),
            at=convert.point(at),
            consistency=convert.consistency(stale),
        )
        return reads.scan(self._session_here(), request)

    def _events(
        self, request: state.ReplayRequest, namespace: str, agent_id: str, stale: bool
    ) -> Iterator[ReplayEvent]:
        for event in replay.events(self._session_here(), request, stale=stale):
            yield convert.event_of(event, namespace, agent_id)

    def _namespace(self, namespace: str | None) -> str:
        return convert.checked_name(namespace or self.namespace, "namespace")

    def _session_here(self) -> Session:
        """The session of this process: a forked child must not share its parent's channels."""
        if self._session.pid != os.getpid():
            self._session = Session(self._config)
        return self._session

    def _deadline_s(self) -> float:
        return time.monotonic() + self.timeout
