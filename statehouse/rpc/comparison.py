"""Owns the rounds in which a node asks the other members for their place in the chain of hashes.

It compares as far as both have come, with one view of its own state. What the answers mean is
comparing.py's; a node that turns out to be wrong is stopped through its Protocol. A member that
does not answer says nothing, so this never stops a node for being alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from statehouse_proto.services import CLUSTER_SERVICE, HISTORY_SERVICE, methods
from statehouse_proto.v2 import cluster_pb2, common_pb2, history_pb2

from statehouse import comparing
from statehouse.comparing import Told, Verdict
from statehouse.core.errors import Failure
from statehouse.lifecycle import Phase
from statehouse.logs import Log

if TYPE_CHECKING:
    from statehouse.node_status import MemberFacts
    from statehouse.rpc.backend import Backend, View
    from statehouse.rpc.channels import Channels

_log = Log("comparison")

_ANSWER_S = 2.0
_SOON_S = 1.0
"""The pause after a round that settled nothing: at a start, or in doubt."""

_STATUS = methods(CLUSTER_SERVICE)["Status"]
_RESOLVE = methods(HISTORY_SERVICE)["Resolve"]


class Comparison:
    """One node's rounds, every `interval_s` seconds."""

    def __init__(self, backend: Backend, channels: Channels, interval_s: float) -> None:
        self._backend = backend
        self._channels = channels
        self._interval_s = interval_s
        self._doubts = 0
        self._differing: frozenset[str] = frozenset()

    async def keep(self) -> None:
        """Goes on until cancelled."""
        while True:
            settled = await self.round()
            await asyncio.sleep(self._interval_s if settled else min(self._interval_s, _SOON_S))

    async def round(self) -> bool:
        """Asks all other voters; whether a majority of the members was heard and none is in doubt.

        Stops the node when its record is not the one the cluster agreed on.
        """
        status = self._backend.status()
        voters = [member for member in status.members if member.voter]
        others = [member for member in voters if member.name != status.name]
        if status.phase is not Phase.SERVING or len(others) == len(voters):
            return False
        told = await self._ask_all(others, status.cluster_id)
        verdict = comparing.judge(len(voters), told)
        self._tell(told)
        self._doubts = self._doubts + 1 if verdict is Verdict.DOUBTFUL else 0
        if verdict is Verdict.WRONG or self._doubts >= comparing.DOUBTS_MAX:
            self._backend.give_up(comparing.fault_of(status.name, len(voters), told))
        return verdict is not Verdict.DOUBTFUL and 1 + len(told) > len(voters) // 2

    async def _ask_all(self, others: list[MemberFacts], cluster_id: str) -> list[Told]:
        try:
            view = await self._backend.view(stale=True)
        except Failure:
            return []
        try:
            asked = [self._ask(member, cluster_id, view) for member in others]
            return [told for told in await asyncio.gather(*asked) if told is not None]
        finally:
            view.close()

    async def _ask(self, member: MemberFacts, cluster_id: str, view: View) -> Told | None:
        """What one member tells; None when it does not answer, or another node does."""
        address = member.client_address
        if not address:
            return None
        try:
            theirs: cluster_pb2.StatusResponse = await self._channels.unary(
                address, _STATUS, cluster_pb2.StatusRequest(), timeout_s=_ANSWER_S
            )
            if (theirs.name, theirs.cluster_id) != (member.name, cluster_id):
                return None
            commit_ts, chain_hash = theirs.commit_ts, theirs.chain_head
            if commit_ts > view.commit_ts:
                resolved = await self._resolve(address, view.commit_ts)
                commit_ts, chain_hash = resolved.commit_ts, resolved.chain_hash
        except Failure:
            return None
        return Told(member.name, address, commit_ts, chain_hash, view.chain_hash_at(commit_ts))

    async def _resolve(self, address: str, commit_ts: int) -> history_pb2.ResolveResponse:
        ask = history_pb2.ResolveRequest(
            at=common_pb2.Point(commit_ts=commit_ts), consistency=common_pb2.CONSISTENCY_STALE
        )
        told: history_pb2.ResolveResponse = await self._channels.unary(
            address, _RESOLVE, ask, timeout_s=_ANSWER_S
        )
        return told

    def _tell(self, told: list[Told]) -> None:
        """Logs who differs, when that is news."""
        differing = [one for one in told if not one.agrees]
        names = frozenset(one.name for one in differing)
        for one in differing:
            if one.name not in self._differing:
                _log.warning(
                    "A member has another record",
                    member=one.name,
                    address=one.address,
                    commit_ts=one.commit_ts,
                    theirs=one.theirs.hex(),
                    own=one.own.hex(),
                )
        self._differing = names
