"""Owns the proof, from the cluster's own answers, that history was only extended.

Every event since a head that was kept is fetched with what its hash was made of, and all hashes are
computed here. Its events may come from any node in turn: a wrong one is noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import history
from statehouse_sdk.errors import HistoryRewrittenError
from statehouse_sdk.proofs import Chain
from statehouse_sdk.streams import read_on

if TYPE_CHECKING:
    from statehouse_sdk.history_models import Head
    from statehouse_sdk.plans import Plan
    from statehouse_sdk.session import Session


class _Reading:
    def __init__(self, chain: Chain, through: int) -> None:
        self._chain = chain
        self._through = through

    def rest(self) -> state.ReplayRequest | None:
        if self._chain.commit_ts >= self._through:
            return None
        request = state.ReplayRequest(proof_only=True)
        request.start.commit_ts = self._chain.commit_ts + 1
        request.end.commit_ts = self._through
        return request

    def news_of(self, response: state.ReplayResponse) -> None:
        fault_of = self._chain.fault_of
        for event in response.events:
            fault = fault_of(event.previous_hash, event.body, event.hash)
            if fault is not None:
                raise _rewritten(self._chain.commit_ts + 1, fault)


def prove_extension(session: Session, old: Head, namespace: str) -> Plan[Head]:
    """The head of today, once it is shown that all of `old` still lies before it."""
    new = yield from history.now(session, namespace)
    if new.commit_ts < old.commit_ts:
        raise _rewritten(new.commit_ts + 1, f"history ends at commit_ts {new.commit_ts} before it")
    chain = Chain(old.commit_ts, old.chain_hash)
    yield from read_on(session, "Replay", _Reading(chain, new.commit_ts), stale=False)
    if chain.commit_ts < new.commit_ts:
        raise _rewritten(chain.commit_ts + 1, "the cluster tells of no such event")
    if chain.chain_hash != new.chain_hash:
        raise _rewritten(
            new.commit_ts,
            f"its hash is {new.chain_hash.hex()}, and what leads to it {chain.chain_hash.hex()}",
        )
    return new


def _rewritten(commit_ts: int, fault: str) -> HistoryRewrittenError:
    return HistoryRewrittenError(
        f"history is not the one it was: commit_ts {commit_ts}: {fault}; compare the nodes with"
        " verify before you trust any of them",
        commit_ts,
    )
