"""Owns the marks: what is recorded beside the keys that clients name, and under which names.

A mark is an ordinary record whose key, or whose agent, begins with a control character, which no
name of a client may hold. So marks have versions and a history, are replicated, chained and
audited like all else, and a scan that begins behind them never meets one:

    label    of an agent: a name for a point      value: the commit_ts
    fork     of an agent: where it comes from     value: [parent, commit_ts]
    cursor   of a namespace: how far a named      value: [through, agent followed or "", prefix]
             reader has come

The values are JSON texts in one form. It must not know when a mark may be set: that is the
engine's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from statehouse.core.model import Kind, Operation

if TYPE_CHECKING:
    from typing import Any

    from statehouse.core.model import Transaction

FIRST: Final = "\x00"
"""What the keys of labels and forks, and the agents that are no client's, begin with."""
LABEL: Final = "\x00label\x00"
"""What the key of a label begins with; its name follows."""
FORK: Final = "\x00fork"
"""The key of an agent's fork."""
CURSORS: Final = "\x00cursors"
"""The agent whose keys are the names of a namespace's cursors."""

_ORDINARY = "\x01"
_JSON, _TOMBSTONE = Kind.JSON.value, Kind.TOMBSTONE.value
_encode = msgspec.json.encode
_decode_point = msgspec.json.Decoder(int).decode
_decode_fork = msgspec.json.Decoder(tuple[str, int]).decode
_decode_cursor = msgspec.json.Decoder(tuple[int, str, str]).decode


class Label(Struct, frozen=True, gc=False):
    """A name for a point of an agent; commit_ts 0: it is deleted."""

    name: str
    commit_ts: int


class Fork(Struct, frozen=True, gc=False):
    """An agent that begins as another was."""

    parent_id: str
    commit_ts: int


class Cursor(Struct, frozen=True, gc=False):
    """How far a named reader has come, and what it follows."""

    name: str
    through: int
    agent_id: str = ""
    prefix: str = ""
    deleted: bool = False


Mark = Label | Fork | Cursor


def operation_of(namespace: str, agent_id: str, mark: Mark) -> Operation:
    """What records the mark; agent_id: whose it is, of no meaning for a cursor."""
    if isinstance(mark, Label):
        key = LABEL + mark.name
        if mark.commit_ts == 0:
            return Operation(namespace, agent_id, key, _TOMBSTONE, b"")
        return Operation(namespace, agent_id, key, _JSON, _encode(mark.commit_ts))
    if isinstance(mark, Fork):
        value = _encode((mark.parent_id, mark.commit_ts))
        return Operation(namespace, agent_id, FORK, _JSON, value)
    if mark.deleted:
        return Operation(namespace, CURSORS, mark.name, _TOMBSTONE, b"")
    value = _encode((mark.through, mark.agent_id, mark.prefix))
    return Operation(namespace, CURSORS, mark.name, _JSON, value)


def is_mark(agent_id: str, key: str) -> bool:
    """Whether these names are not a client's."""
    return key[:1] == FIRST or agent_id[:1] == FIRST


def among(transaction: Transaction) -> bool:
    """Whether a transaction sets a mark. Asked of every one, so it is quick, and sure of a no."""
    for operation in transaction.operations:
        if operation.key < _ORDINARY or operation.agent_id < _ORDINARY:
            return True
    return False


def fault_of(transaction: Transaction) -> str | None:
    """What is wrong with the form of a transaction's marks; None: nothing."""
    for operation in transaction.operations:
        if not is_mark(operation.agent_id, operation.key):
            continue
        try:
            mark = mark_of(operation.agent_id, operation.key, operation.kind, operation.value)
        except ValueError as error:
            return str(error)
        if isinstance(mark, Fork) and len(transaction.operations) > 1:
            return (
                f"the fork of agent {operation.agent_id!r} comes with other operations; commit it "
                "alone, and then write to the fork"
            )
    return None


def mark_of(agent_id: str, key: str, kind: int, value: bytes) -> Mark:
    """The mark that is recorded under these names; ValueError in words when it is none."""
    if agent_id[:1] == FIRST:
        if agent_id != CURSORS or key[:1] == FIRST:
            raise ValueError(f"no mark is kept as key {key!r} of agent {agent_id!r}")
        if kind == _TOMBSTONE:
            return Cursor(key, 0, deleted=True)
        through, followed, prefix = _decoded(_decode_cursor, kind, value, f"cursor {key!r}")
        return Cursor(key, _number(through, f"cursor {key!r}", 0), followed, prefix)
    if key == FORK:
        what = f"the fork of agent {agent_id!r}"
        parent_id, commit_ts = _decoded(_decode_fork, kind, value, what)
        if parent_id[:1] == FIRST:
            raise ValueError(f"{what} has the parent {parent_id!r}, which is nobody's agent")
        return Fork(parent_id, _number(commit_ts, what, 0))
    if not key.startswith(LABEL):
        raise ValueError(f"no mark is kept as key {key!r}")
    name = key[len(LABEL) :]
    if kind == _TOMBSTONE:
        return Label(name, 0)
    what = f"label {name!r}"
    return Label(name, _number(_decoded(_decode_point, kind, value, what), what, 1))


def shown(agent_id: str, key: str) -> str:
    """A key in words for people: a mark's names hold what cannot be printed."""
    if agent_id == CURSORS:
        return f"cursor {key}"
    if key == FORK:
        return "fork"
    return f"label {key[len(LABEL) :]}" if key.startswith(LABEL) else key


def _decoded(decode: Any, kind: int, value: bytes, what: str) -> Any:
    try:
        decoded = decode(value) if kind == _JSON else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        decoded = None
    if decoded is None or _encode(decoded) != value:
        raise ValueError(f"{what} holds something else than its mark")
    return decoded


def _number(number: int, what: str, least: int) -> int:
    if number < least:
        raise ValueError(f"{what} names the point {number}; it must be {least} at least")
    return number
