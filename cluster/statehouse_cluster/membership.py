"""Owns the cluster's configuration: which nodes vote, which were removed, how one change follows
another.

Pure. The configuration in force is the state machine's (as of what it applied) plus every change
further up in the log, committed or not: a change counts from the moment it is appended, as Raft
demands, and stops counting when it is truncated.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from statehouse_cluster.interfaces import Member

if TYPE_CHECKING:
    from collections.abc import Iterable

_REMOVED_KEPT_MAX = 1024


class Change(Enum):
    """What one membership entry does."""

    ADD = "add"
    REMOVE = "rem"


class _MemberRow(msgspec.Struct, frozen=True, array_like=True):
    name: str
    uuid: str
    peer_address: str
    client_address: str


class _ConfigurationRow(msgspec.Struct, frozen=True, array_like=True):
    members: tuple[_MemberRow, ...]
    removed: tuple[str, ...]


class _ChangeRow(msgspec.Struct, frozen=True, array_like=True):
    change: str
    member: _MemberRow


class Configuration(msgspec.Struct, frozen=True):
    """The voters by name, and the uuids that were removed and may never come back."""

    members: tuple[Member, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(member.name for member in self.members)

    def get(self, name: str) -> Member | None:
        """The member of that name, or None."""
        return next((member for member in self.members if member.name == name), None)

    def after(self, change: Change, member: Member) -> Configuration:
        """The configuration one change later; a change that changes nothing gives an equal one."""
        others = tuple(m for m in self.members if m.name != member.name)
        if change is Change.ADD:
            members = tuple(sorted((*others, member), key=lambda m: m.name))
            return Configuration(members, self.removed)
        gone = self.get(member.name)
        if gone is None:
            return self
        removed = (*(u for u in self.removed if u != gone.uuid), gone.uuid)
        return Configuration(others, removed[-_REMOVED_KEPT_MAX:])


def majority(voters: int) -> int:
    """How many of so many voters decide."""
    return voters // 2 + 1


def encode_configuration(configuration: Configuration) -> bytes:
    """The blob that the state machine keeps and snapshots carry."""
    rows = tuple(_row(member) for member in configuration.members)
    return msgspec.msgpack.encode(_ConfigurationRow(rows, configuration.removed))


def decode_configuration(blob: bytes) -> Configuration:
    """The inverse; msgspec.DecodeError on anything else."""
    row = msgspec.msgpack.decode(blob, type=_ConfigurationRow)
    return Configuration(tuple(_member(m) for m in row.members), row.removed)


def encode_change(change: Change, member: Member) -> bytes:
    """The payload of a membership entry, after its type byte."""
    return msgspec.msgpack.encode(_ChangeRow(change.value, _row(member)))


def decode_change(payload: bytes) -> tuple[Change, Member]:
    """The inverse; msgspec.DecodeError or ValueError on anything else."""
    row = msgspec.msgpack.decode(payload, type=_ChangeRow)
    return Change(row.change), _member(row.member)


def fold(base: Configuration, changes: Iterable[bytes]) -> Configuration:
    """The configuration in force: `base` and, in log order, the changes above it."""
    for payload in changes:
        base = base.after(*decode_change(payload))
    return base


def refusal(
    configuration: Configuration, change: Change, member: Member, me: str, connected: Iterable[str]
) -> str:
    """Why this leader must not propose the change, or "" when it may.

    `connected` are the names this leader reaches, itself included; a change that would leave the
    reachable voters without a majority would stop the cluster, so it is refused.
    """
    if change is Change.ADD:
        known = configuration.get(member.name)
        if known is not None:
            return f"a member named {member.name} exists already; give the new node another name"
        if member.uuid in configuration.removed:
            return f"the disk of {member.name} was removed before; start it with an empty one"
    else:
        if configuration.get(member.name) is None:
            return f"there is no member named {member.name}"
        if member.name == me:
            return f"{me} leads; transfer the leadership first, then remove it at the new leader"
        if len(configuration.members) == 1:
            return f"{member.name} is the only member"
    after = configuration.after(change, member)
    reachable = len(after.names & frozenset(connected))
    needed = majority(len(after.members))
    if reachable < needed:
        return (
            f"the cluster would have {len(after.members)} voters of which {reachable} can be "
            f"reached, {needed} are needed; bring a node back or remove a lost one first"
        )
    return ""


def _row(member: Member) -> _MemberRow:
    return _MemberRow(member.name, member.uuid, member.peer_address, member.client_address)


def _member(row: _MemberRow) -> Member:
    return Member(row.name, row.uuid, row.peer_address, row.client_address)
