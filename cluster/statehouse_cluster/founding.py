"""Owns the rule by which listed nodes become one cluster, and never two; pure.

Every node of a new cluster is started with the same list of names. Each has a uuid, durable before
it answers anybody, and founds in two steps:

1. *Bind.* Once it knows all listed nodes, it agrees to the one first configuration that they make
   together: their names, uuids and addresses, sorted; its SHA-256 is the cluster id. The agreement
   is durable before it is told, and a disk agrees once, for ever.
2. *Found.* Once every listed node has told that it is bound to the same configuration, or one of
   them that it is a member of that cluster already, the node is a member. That is durable before
   it speaks Raft, and only members speak Raft.

Why no crash forks a cluster: a configuration is founded only if every uuid in it was bound to it,
and a uuid is bound once. So two founded configurations share no uuid; but whoever founds has seen
every other node of the list, so a second one needs new disks for all names at once, and a node that
meets a member of a cluster it is not bound to refuses. A node that crashes before a step repeats
it, with the same uuid, and can only come to the same configuration; one that crashes after it goes
on from there. What a node heard may be old: it stays true, since a binding never changes. A disk
lost between the steps leaves the others bound to one that is gone: nothing is founded then, and the
text of the refusal says how to begin anew.

Must not know sockets, files or time; formation.py drives it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from statehouse_cluster.interfaces import Member

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from statehouse_cluster.hello import HelloReply

_CLUSTER_ID_LENGTH = 32

_NOT_THIS_DISK = (
    "a cluster with this member exists already and this disk is not the one it knows; remove it "
    "and add this node under a new name"
)
_BEGIN_ANEW = (
    "no cluster has been founded and nothing is stored yet: stop all listed nodes, empty their "
    "data directories and start them again"
)


class FormationRefused(Exception):
    """These nodes cannot become a cluster as they are; the text says why and what to do."""


class Wait(NamedTuple):
    """Nothing to do before more is heard."""

    reason: str


class Bind(NamedTuple):
    """Store these as the node's bound members, then tell and decide again."""

    members: tuple[Member, ...]


class Found(NamedTuple):
    """Store the cluster id: the node is a member."""

    cluster_id: str


Decision = Wait | Bind | Found


def cluster_id_of(members: Collection[Member]) -> str:
    """The id of the cluster that these found; "" for none."""
    if not members:
        return ""
    rows = [
        (member.name, member.uuid, member.peer_address, member.client_address)
        for member in sorted(members, key=lambda member: member.name)
    ]
    return hashlib.sha256(msgspec.msgpack.encode(rows)).hexdigest()[:_CLUSTER_ID_LENGTH]


def decide(
    me: Member, bound: tuple[Member, ...], listed: Collection[str], heard: Mapping[str, HelloReply]
) -> Decision:
    """What a node does that is no member yet.

    `bound` is what it agreed to, empty for nothing yet; `listed` all names, its own included;
    `heard` the last answer of each other node that has answered. FormationRefused if it cannot end
    well.
    """
    if bound and {member.name for member in bound} != set(listed):
        raise FormationRefused(
            f"{me.name} has already agreed to form a cluster of {_names(m.name for m in bound)}, "
            f"but was now started with {_names(listed)}; start it with the first list"
        )
    for name, reply in heard.items():
        _check(me, bound, listed, name, reply)
    if any(reply.state == "member" for reply in heard.values()):
        return Found(cluster_id_of(bound))
    missing = set(listed) - {me.name} - set(heard)
    if missing:
        return Wait(f"{_names(missing)} did not answer yet")
    if not bound:
        return Bind(_first_configuration(me, heard))
    unbound = [name for name, reply in heard.items() if not reply.cluster_id]
    if unbound:
        return Wait(f"{_names(unbound)} did not agree yet")
    return Found(cluster_id_of(bound))


def _check(
    me: Member,
    bound: tuple[Member, ...],
    listed: Collection[str],
    name: str,
    reply: HelloReply,
) -> None:
    if not reply.ok:
        raise FormationRefused(f"the node at the address of {name} refused: {reply.text}")
    if reply.name != name:
        raise FormationRefused(
            f"the node at the address of {name} is {reply.name}; correct the list of peers"
        )
    if reply.state == "member":
        _check_member(me, bound, reply)
    elif reply.state != "forming":
        raise FormationRefused(
            f"{name} is {reply.state}, it does not form a cluster; start all listed nodes with the "
            "same list, with empty data directories and without --join"
        )
    elif {member.name for member in reply.members} != set(listed):
        raise FormationRefused(
            f"{me.name} was told to form a cluster of {_names(listed)}, {name} one of "
            f"{_names(member.name for member in reply.members)}; start all with the same list"
        )
    elif bound:
        _check_bound(me, bound, reply)
    elif reply.cluster_id and all(member.uuid != me.uuid for member in reply.members):
        raise FormationRefused(
            f"{name} has agreed to form a cluster with another disk of {me.name}; {_BEGIN_ANEW}"
        )


def _check_member(me: Member, bound: tuple[Member, ...], reply: HelloReply) -> None:
    if bound and cluster_id_of(bound) == reply.cluster_id:
        return
    if all(member.name != me.name for member in reply.members):
        raise FormationRefused(
            f"{reply.name} is a member of cluster {reply.cluster_id}, which does not know "
            f"{me.name}; start this node with --join and add it, under a name never used there"
        )
    raise FormationRefused(_NOT_THIS_DISK)


def _check_bound(me: Member, bound: tuple[Member, ...], reply: HelloReply) -> None:
    known = next(member for member in bound if member.name == reply.name)
    if known.uuid != reply.uuid:
        raise FormationRefused(
            f"{me.name} has agreed to form a cluster with another disk of {reply.name}; "
            f"{_BEGIN_ANEW}"
        )
    if reply.cluster_id not in ("", cluster_id_of(bound)):
        raise FormationRefused(
            f"{reply.name} has agreed to another first configuration than {me.name}, since a disk "
            f"or an address changed in between; {_BEGIN_ANEW}"
        )


def _first_configuration(me: Member, heard: Mapping[str, HelloReply]) -> tuple[Member, ...]:
    others = [
        Member(name, reply.uuid, reply.peer_address, reply.client_address)
        for name, reply in heard.items()
    ]
    members = tuple(sorted([me, *others], key=lambda member: member.name))
    if len({member.uuid for member in members}) < len(members):
        raise FormationRefused(
            f"two of {_names(m.name for m in members)} have the same uuid: a data directory was "
            f"copied; {_BEGIN_ANEW}"
        )
    for name, reply in heard.items():
        if reply.cluster_id not in ("", cluster_id_of(members)):
            raise FormationRefused(
                f"{name} has agreed to another first configuration, since a disk or an address "
                f"changed in between; {_BEGIN_ANEW}"
            )
    return members


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
