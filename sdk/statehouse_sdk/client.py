"""Owns the public client for threads: each method makes a request and has its plan carried out.

What may be asked is checked in requests.py; how a call finds its node and what is retried is not
here either (session.py, endpoints.py, retry.py). async_client.py has the same methods for asyncio.
"""

from __future__ import annotations

import os
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from statehouse_sdk import (
    cluster,
    commit_bytes,
    config,
    convert,
    formatting,
    history,
    process,
    reads,
    replay,
    requests,
    requests_history,
)
from statehouse_sdk.as_of import AsOf
from statehouse_sdk.blocking import BlockingSession
from statehouse_sdk.errors import ConflictError, CursorMovedError
from statehouse_sdk.models import At, ReplayEvent, Snapshot, StateResult
from statehouse_sdk.reruns import TRANSACT_ATTEMPTS, Reruns
from statehouse_sdk.time_travel import TimeTravel
from statehouse_sdk.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from statehouse_proto.v2 import state_pb2 as state

    from statehouse_sdk.cluster_models import AddProgress, Leader, Member, NodeStatus
    from statehouse_sdk.plans import Plan
    from statehouse_sdk.session import Session

Request = TypeVar("Request")
Result = TypeVar("Result")


class Statehouse(TimeTravel):
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
        self._session = BlockingSession(self._config)

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
        session = self._session_here()
        return session.run(cluster.health(session))

    def version(self) -> tuple[str, str]:
        """Version and git sha of the node that answers."""
        status = self.cluster_status()
        return status.version, status.git_sha

    def cluster_status(self, address: str | None = None) -> NodeStatus:
        """What the node at this address, or any node, knows of itself and of its cluster."""
        return self._run(cluster.status, address)

    def add_member(self, peer_address: str) -> Iterator[AddProgress]:
        """Adds the node that listens for peers there; yields progress until it votes."""
        session = self._session_here()
        return session.iterate(cluster.add_member(session, peer_address))

    def remove_member(self, name: str) -> list[Member]:
        """Removes a member; returns those that remain."""
        return self._run(cluster.remove_member, name)

    def transfer_leadership(self, name: str | None = None) -> Leader:
        """Gives the lead to a member, or to the one that is furthest; returns the new leader."""
        return self._run(cluster.transfer_leadership, name)

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
        metadata = requests.metadata(actor, reason, run_id, tool_call_id, caused_by, extra)
        return Transaction(self, self._namespace(namespace), timeout_ms, metadata)

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
        timeout_s = self.timeout if timeout is None else timeout
        reruns = Reruns(attempts, time.monotonic() + timeout_s)
        while True:
            try:
                with self.begin_transaction(namespace=namespace, **metadata) as tx:
                    result = fn(tx)
                return result
            except CursorMovedError:
                raise  # its subscription stays behind, however often this runs
            except ConflictError:
                pause_s = reruns.pause_s(time.monotonic(), self._session_here().jitter())
                if pause_s is None:
                    raise
            time.sleep(pause_s)

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
        """The key now, or as it was `at` a commit_ts, moment or label, or one version of it.

        stale: from any node, as far as that node has come. A missing key is no error: exists False.
        Raises FuturePointError if `at` is not reached yet.
        """
        if at is None and version is None and not stale:
            place = commit_bytes.place(namespace or self.namespace, agent_id, key)
            session = self._session_here()
            straight = reads.get_straight(session, place)
            if straight is not None:
                response = session.go_straight(straight)
                if response is not None:
                    return convert.result_of(response.record, response.served_at, key)
            return session.run(reads.get_now(session, place, key, straight))
        request = requests.get(self._namespace(namespace), agent_id, key, at, version, stale)
        return convert.MISSING if request is None else self._run(reads.get, request)

    def get_state_at_version(
        self, agent_id: str, key: str, version: int, namespace: str | None = None
    ) -> StateResult:
        """One version of the key; exists False if there is none, or if it is a tombstone."""
        return self.get_state(agent_id, key, namespace, version=version)

    def read_state_at(
        self, agent_id: str, key: str, t: At, namespace: str | None = None
    ) -> StateResult:
        """The key as it was at `t`: a commit_ts, an aware datetime, or a label of the agent."""
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
        request = requests.get_many(self._namespace(namespace), agent_id, keys, at, stale)
        results = self._run(reads.get_many, request) if request.keys else []
        return dict(zip(request.keys, results, strict=True))

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
        request = requests.list_keys(self._namespace(namespace), agent_id, prefix, at, stale)
        return self._run(reads.list_keys, request)

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
        request = requests.scan(self._namespace(namespace), agent_id, prefix, at, stale)
        return self._run(reads.scan, request)[0]

    def snapshot(
        self,
        agent_id: str,
        at: At | None = None,
        namespace: str | None = None,
        *,
        stale: bool = False,
    ) -> Snapshot:
        """Everything an agent held at one commit_ts: now, or `at`."""
        request = requests.scan(self._namespace(namespace), agent_id, "", at, stale)
        results, commit_ts = self._run(reads.scan, request)
        records = {result.key: result for result in results}
        return Snapshot(request.namespace, agent_id, commit_ts, records)

    def list_agents(self, namespace: str | None = None, *, stale: bool = False) -> list[str]:
        """Every agent that was ever written to in the namespace, in bytewise order."""
        request = requests.list_agents(self._namespace(namespace), stale)
        return self._run(reads.list_agents, request)

    def list_namespaces(self, *, stale: bool = False) -> list[str]:
        """Every namespace that was ever written to, in bytewise order."""
        return self._run(reads.list_namespaces, requests.list_namespaces(stale))

    def as_of(
        self, t: At | None, agent_id: str | None = None, *, namespace: str | None = None
    ) -> AsOf:
        """A read-only handle on everything as it was at `t` (None: now), resolved once.

        agent_id: whose label `t` is. Raises FuturePointError, BeforeBeginningError,
        LabelNotFoundError.
        """
        inside = self._namespace(namespace)
        session = self._session_here()
        request = requests_history.resolve(inside, agent_id, t)
        return AsOf(self, session.run(history.resolve(session, request)), inside)

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
        prefix: str = "",
        run_id: str = "",
        caused_by: int | None = None,
        with_proof: bool = False,
    ) -> Iterator[ReplayEvent]:
        """The events of an agent ("": of the whole namespace), with its operations, in order.

        Both bounds, points as `at` is, are inclusive. limit: at most so many events. last: only the
        last so many of the range. follow: goes on, without an end, with events as they are
        committed (not together with end_ts or limit). prefix: only operations on keys that begin
        so. run_id, caused_by: only events whose metadata says so. with_proof: each event brings
        what its hash was made of. The first request is sent when the first event is asked for; a
        lost connection is resumed without gap or repeat.
        """
        request = requests.replay(
            self._namespace(namespace),
            agent_id,
            start_ts,
            end_ts,
            limit=limit,
            last=last,
            follow=follow,
            stale=stale,
            prefix=prefix,
            run_id=run_id,
            caused_by=caused_by,
            with_proof=with_proof,
        )
        return self._events(request)

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

    def _events(self, request: state.ReplayRequest) -> Iterator[ReplayEvent]:
        session = self._session_here()
        yield from session.iterate(replay.events(session, request))

    def _run(self, ask: Callable[[Session, Request], Plan[Result]], request: Request) -> Result:
        session = self._session_here()
        return session.run(ask(session, request))

    def _namespace(self, namespace: str | None) -> str:
        return convert.checked_name(namespace, "namespace") if namespace else self._own_namespace

    @cached_property
    def _own_namespace(self) -> str:
        return convert.checked_name(self.namespace, "namespace")

    def _session_here(self) -> BlockingSession:
        """The session of this process: a forked child must not share its parent's channels."""
        if self._session.pid != process.current:
            self._session = BlockingSession(self._config)
        return self._session
