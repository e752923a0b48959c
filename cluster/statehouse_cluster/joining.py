"""Owns how a new node becomes a member: looked at, caught up without a vote, then voted in.

Runs on the caller's thread and touches Raft only through `Consensus.call`. A leader that loses its
leadership on the way lets the newcomer go; it keeps what it fetched and can be added again. It must
not know how snapshots travel.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from statehouse_cluster.interfaces import (
    AddProgress,
    Member,
    MembershipBusy,
    MembershipRefused,
    NotLeader,
)
from statehouse_cluster.membership import Change
from statehouse_cluster.probe import ProbeFailed, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_cluster.consensus import Consensus
    from statehouse_cluster.raft_adapter import Engine
    from statehouse_cluster.startup import Parts

_PROBE_S = 2.0
_LOOK_S = 0.05
_CLOSE_ENOUGH_ENTRIES = 64


def add_member(
    consensus: Consensus,
    parts: Parts,
    peer_address: str,
    progress: Callable[[AddProgress], None],
) -> Member:
    """See `Consensus.add_member`."""
    member = _look_at(parts, peer_address)
    consensus.call(lambda engine: _begin(engine, member))
    try:
        _catch_up(consensus, parts, member, progress)
        consensus.change(Change.ADD, member)
    finally:
        consensus.call(lambda engine: engine.drop_learner(member.name))
    progress(AddProgress("voting", *parts.desk.progress(member.name), 0, member))
    return member


def _look_at(parts: Parts, peer_address: str) -> Member:
    """Asks the node at the address who it is; refuses all but a node that waits to be added."""
    try:
        reply = probe(peer_address, parts.hello("probe"), _PROBE_S)
    except ProbeFailed as error:
        raise MembershipRefused(
            f"no node answers at {error}; start it with --join and its peer address, then try again"
        ) from error
    if reply.state != "joining" or reply.cluster_id not in ("", parts.identity.cluster_id):
        raise MembershipRefused(
            f"the node {reply.name} at {peer_address} is {reply.state}"
            f"{f' in cluster {reply.cluster_id}' if reply.cluster_id else ''}; only a node started "
            "with --join and an empty data directory can be added"
        )
    return Member(reply.name, reply.uuid, reply.peer_address or peer_address, reply.client_address)


def _begin(engine: Engine, member: Member) -> None:
    if not engine.is_ready():
        raise NotLeader
    if engine.learners():
        raise MembershipBusy(f"{sorted(engine.learners())[0]} is being added; try again later")
    configuration = engine.configuration()
    myself = configuration.get(engine.name)
    if myself is not None and not myself.peer_address:
        raise MembershipRefused(
            f"{engine.name} was founded without an address for its peers, so none can be added; "
            f"found a new cluster with --peers {engine.name}=HOST:PORT, and load its agents there"
        )
    if configuration.get(member.name) is not None:
        raise MembershipRefused(
            f"a member named {member.name} exists already; give the new node another name"
        )
    if member.uuid in configuration.removed:
        raise MembershipRefused(
            f"the disk of {member.name} was removed before; start it with an empty data directory"
        )
    engine.add_learner(member)


def _catch_up(
    consensus: Consensus,
    parts: Parts,
    member: Member,
    progress: Callable[[AddProgress], None],
) -> None:
    silence_s = parts.settings.timing.learner_silence_s
    seen: tuple[int, int] = (-1, -1)
    moved_at = time.monotonic()
    while True:
        behind, matched = consensus.call(lambda engine: _behind(engine, member.name))
        sent, total = parts.desk.progress(member.name)
        phase = "snapshot" if matched == 0 else "catching up"
        progress(AddProgress(phase, sent, total, behind, member))
        if behind <= _CLOSE_ENOUGH_ENTRIES and matched > 0:
            return
        if (matched, sent) != seen:
            seen, moved_at = (matched, sent), time.monotonic()
        elif time.monotonic() > moved_at + silence_s:
            raise MembershipRefused(
                f"{member.name} made no progress for {silence_s} s and was let go; see its log"
            )
        time.sleep(_LOOK_S)


def _behind(engine: Engine, name: str) -> tuple[int, int]:
    if not engine.is_leader() or name not in engine.learners():
        raise NotLeader
    matched = engine.match_index(name)
    return engine.log.last_index - matched, matched
