"""Owns how a node of any role gets a native call answered: here when it leads, else by the leader.

Only calls that may be repeated come here: reads, and commits with an op id. A commit whose attempt
ended without an answer is repeated under the same op id; when patience ends before an answer came,
that is OUTCOME_UNKNOWN, never a definite refusal.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from statehouse_proto.services import STATE_SERVICE, methods
from statehouse_proto.v2 import state_pb2

from statehouse.core.errors import Failure, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from google.protobuf.message import Message
    from statehouse_proto.services import Method

    from statehouse.rpc.backend import Backend
    from statehouse.rpc.channels import Channels
    from statehouse.rpc.state_service import StateService

_PATIENCE_S = 10.0
"""How long a call looks for a leader before it gives up."""

_ATTEMPT_S = 2.5
"""How long one leader may take: a stopped process keeps its connections open."""

_PAUSES_S = (0.02, 0.05, 0.1, 0.2)
"""Waits between attempts; the last repeats."""

_AGAIN = frozenset(
    {
        Reason.NOT_LEADER,
        Reason.NO_LEADER,
        Reason.NOT_READY,
        Reason.OVERLOADED,
        Reason.SHUTTING_DOWN,
        Reason.REMOVED,
        Reason.DEADLINE_EXCEEDED,
        Reason.OUTCOME_UNKNOWN,
    }
)
"""Another attempt, or another node, may answer."""

_UNKNOWN = frozenset({Reason.DEADLINE_EXCEEDED, Reason.OUTCOME_UNKNOWN, Reason.INTERNAL})
"""After these the other node may have done what it was asked."""

_METHODS = methods(STATE_SERVICE)


class LeaderRoute:
    """The native service of whoever leads."""

    def __init__(self, backend: Backend, local: StateService, channels: Channels) -> None:
        self._backend = backend
        self._local = local
        self._channels = channels

    async def commit(self, request: state_pb2.CommitRequest) -> state_pb2.CommitResponse:
        told: state_pb2.CommitResponse = await self._unary("Commit", self._local.commit, request)
        return told

    async def get(self, request: state_pb2.GetRequest) -> state_pb2.GetResponse:
        told: state_pb2.GetResponse = await self._unary("Get", self._local.get, request)
        return told

    async def reached(self) -> int:
        """A commit_ts that the cluster has reached."""
        ask = state_pb2.GetManyRequest(namespace="default", agent_id="default")
        told: state_pb2.GetManyResponse = await self._unary("GetMany", self._local.get_many, ask)
        return told.served_at

    async def keys(self, request: state_pb2.ListKeysRequest) -> list[str]:
        async def collect() -> list[str]:
            pages = self._stream("ListKeys", self._local.list_keys, request)
            async with aclosing(pages):
                return [key async for page in pages for key in page.keys]

        keys: list[str] = await _repeated(collect)
        return keys

    async def records(self, request: state_pb2.ScanRequest) -> list[state_pb2.Record]:
        async def collect() -> list[state_pb2.Record]:
            pages = self._stream("Scan", self._local.scan, request)
            async with aclosing(pages):
                return [record async for page in pages for record in page.records]

        records: list[state_pb2.Record] = await _repeated(collect)
        return records

    async def events(
        self, request: state_pb2.ReplayRequest
    ) -> AsyncGenerator[state_pb2.Event, None]:
        """The events of a range, each once, whoever leads while they are told."""
        ask = state_pb2.ReplayRequest()
        ask.CopyFrom(request)
        if not ask.HasField("end"):
            ask.end.commit_ts = await self.reached()
        patience = _Patience()
        while True:
            try:
                async with aclosing(self._stream("Replay", self._replay, ask)) as pages:
                    async for page in pages:
                        for event in page.events:
                            yield event
                        ask.start.commit_ts = page.served_at + 1
                        patience = _Patience()
                return
            except Failure as failure:
                await patience.after(failure)

    async def _replay(
        self, request: state_pb2.ReplayRequest
    ) -> AsyncGenerator[state_pb2.ReplayResponse, None]:
        async with aclosing(self._local.replay(request)) as pages:
            async for page in pages:
                yield state_pb2.ReplayResponse.FromString(page)

    async def _unary(
        self, name: str, local: Callable[[Any], Awaitable[Message]], request: Message
    ) -> Any:
        async def attempt() -> Message:
            if self._backend.leads():
                return await local(request)
            told: Message = await self._channels.unary(
                self._leader_address(), _METHODS[name], request, timeout_s=_ATTEMPT_S
            )
            return told

        return await _repeated(attempt, commits=name == "Commit")

    def _stream(
        self, name: str, local: Callable[[Any], AsyncGenerator[Any, None]], request: Message
    ) -> AsyncGenerator[Any, None]:
        if self._backend.leads():
            return local(request)
        method: Method = _METHODS[name]
        return self._channels.stream(self._leader_address(), method, request, silence_s=_ATTEMPT_S)

    def _leader_address(self) -> str:
        leader = self._backend.leader()
        if leader is None:
            raise Failure(Reason.NO_LEADER, "no leader is known here; try again")
        return leader.address


class _Patience:
    """Decides, after a failed attempt, between a pause before the next one and giving up."""

    def __init__(self, *, commits: bool = False) -> None:
        self._clock = asyncio.get_running_loop().time
        self._give_up_at_s = self._clock() + _PATIENCE_S
        self._attempts = 0
        self._commits = commits
        self._unknown = False

    async def after(self, failure: Failure) -> None:
        """Returns when it is time for the next attempt, or raises what the caller is told."""
        self._unknown = self._unknown or failure.reason in _UNKNOWN
        pause_s = _PAUSES_S[min(self._attempts, len(_PAUSES_S) - 1)]
        if failure.reason not in _AGAIN or self._clock() + pause_s >= self._give_up_at_s:
            raise self._last(failure) from None
        self._attempts += 1
        await asyncio.sleep(pause_s)

    def _last(self, failure: Failure) -> Failure:
        if self._commits and self._unknown:
            return Failure(
                Reason.OUTCOME_UNKNOWN,
                "no answer came; it may or may not be committed: commit it again to learn "
                f"which ({failure.message})",
            )
        if failure.reason in (Reason.OUTCOME_UNKNOWN, Reason.NOT_LEADER):
            return Failure(Reason.NO_LEADER, f"no leader answered; try again ({failure.message})")
        return failure


async def _repeated(attempt: Callable[[], Awaitable[Any]], *, commits: bool = False) -> Any:
    """The first answer, or the failure that ends patience."""
    patience = _Patience(commits=commits)
    while True:
        try:
            return await attempt()
        except Failure as failure:
            await patience.after(failure)
