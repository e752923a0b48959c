"""What clients did and were told, and what the log says: the records the checkers work on.

A history is a list of operations, those of one client in the order it made them. Each is recorded
by the process that made it, with `now_ns`: one clock for all processes of a machine. A key is one
flat name; who tests several agents joins the parts ("agent/key"). A value is text: who writes other
values records their JSON text, so that 1, 1.0 and true differ. None as a value means that there is
none: deleted, or never written. Nothing here knows how a history is checked.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Outcome = Literal["ok", "failed", "unknown"]

OK: Outcome = "ok"
FAILED: Outcome = "failed"
UNKNOWN: Outcome = "unknown"

now_ns = time.monotonic_ns


class MalformedHistory(Exception):
    """The recording itself is wrong, so nothing can be said about the system."""


class Write(Struct, frozen=True, array_like=True, gc=False):
    """One write of a commit; value None: a delete."""

    key: str
    value: str | None


class Precondition(Struct, frozen=True, array_like=True, gc=False):
    """What a commit demands of a key, as in the product; `number` is a version or a commit_ts."""

    key: str
    expectation: Literal["version", "absent", "unchanged_since"]
    number: int = 0


class Row(Struct, frozen=True, array_like=True, gc=False):
    """What a read was told of one key; version 0: never written; commit_ts None: not told."""

    key: str
    version: int
    value: str | None
    commit_ts: int | None = None


class Written(Struct, frozen=True, array_like=True, gc=False):
    """One write as the log tells it, with the version it made."""

    key: str
    version: int
    value: str | None


class Event(Struct, frozen=True, array_like=True, gc=False):
    """One committed transaction as the log tells it; `chain` is its hash in hex, if known."""

    commit_ts: int
    txn_id: str
    writes: tuple[Written, ...]
    committed_at_us: int = 0
    chain: str = ""


class _Operation(Struct, kw_only=True, tag_field="kind", gc=False):
    """What every operation has: who, when, and how it ended.

    A client does one thing at a time; "ok" and "failed" have a `returned_at_ns`. "failed" is
    definite: nothing was done. "unknown": it may take effect at any time after the call, or never.
    """

    client: str
    called_at_ns: int
    returned_at_ns: int | None = None
    outcome: Outcome = UNKNOWN


class Commit(_Operation, tag="commit", gc=False):
    """One transaction. Every attempt to commit it, until the client gave up, is one operation."""

    txn_id: str
    """As the log tells it; no two commits of a history share one."""
    writes: tuple[Write, ...]
    preconditions: tuple[Precondition, ...] = ()
    conflict: bool = False
    """Failed because a precondition did not hold."""
    commit_ts: int = 0
    versions: tuple[int, ...] = ()
    """One for each write; empty: not told."""


class Get(_Operation, tag="get", gc=False):
    """A read of one or several keys at one commit_ts; `rows` stand in the order of the keys."""

    keys: tuple[str, ...]
    at: int | None = None
    """The commit_ts asked for; None: now."""
    stale: bool = False
    """A stale read: true at served_at, which may lie in the past."""
    served_at: int = 0
    rows: tuple[Row, ...] = ()


class Scan(_Operation, tag="scan", gc=False):
    """A read of all live keys with a prefix, in bytewise order. As `Get` otherwise.

    An answer that does not tell its served_at cannot be placed, so it is not recorded.
    """

    prefix: str
    at: int | None = None
    stale: bool = False
    served_at: int = 0
    rows: tuple[Row, ...] = ()


class Replay(_Operation, tag="replay", gc=False):
    """The log's events after a commit_ts and through served_at, each with its writes in scope.

    A bounded replay from the leader tells a served_at as any read does. A follower, and who read
    only up to some event, records the last event's commit_ts as served_at and sets `stale`.
    """

    after: int
    """Events from the next commit_ts on."""
    prefix: str = ""
    """Only writes of keys with this prefix, and only events that have one; "": everything."""
    stale: bool = False
    served_at: int = 0
    events: tuple[Event, ...] = ()


Read = Get | Scan | Replay
Operation = Commit | Read

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Operation).decode


class Recorder:
    """Appends operations to a file of JSON lines; any thread may add.

    A process that may be killed adds a commit twice: before it is sent, as unknown, and after. The
    last line of a txn_id counts.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def add(self, operation: Operation) -> None:
        """Hands the line to the kernel, so that it outlives this process."""
        line = _encode(operation) + b"\n"
        with self._lock:
            self._file.write(line)

    def close(self) -> None:
        self._file.close()


def write_history(path: Path, history: Iterable[Operation]) -> None:
    with path.open("wb") as file:
        file.writelines(_encode(operation) + b"\n" for operation in history)


def read_history(paths: Iterable[Path]) -> list[Operation]:
    """The operations of all files; a torn last line (its process was killed) is left out."""
    operations: list[Operation] = []
    for path in paths:
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            try:
                operations.append(_decode(line))
            except msgspec.DecodeError as error:
                raise MalformedHistory(f"{path}:{number}: {error}") from error
    return _last_of_each(operations)


def _last_of_each(operations: list[Operation]) -> list[Operation]:
    last = {one.txn_id: one for one in operations if isinstance(one, Commit)}
    return [one for one in operations if not isinstance(one, Commit) or last[one.txn_id] is one]


def validate(history: Sequence[Operation]) -> None:
    """Raises MalformedHistory for what no recording of sequential clients can hold."""
    txn_ids: set[str] = set()
    free_at_ns: dict[str, int] = {}
    for place, one in enumerate(history):
        if wrong := _wrong(one, free_at_ns.get(one.client)):
            raise MalformedHistory(f"operation {place}: {wrong}: {one}")
        if isinstance(one, Commit):
            if one.txn_id in txn_ids:
                raise MalformedHistory(f"operation {place}: its txn_id was used before: {one}")
            txn_ids.add(one.txn_id)
        free_at_ns[one.client] = one.returned_at_ns or one.called_at_ns


def _wrong(one: Operation, client_free_at_ns: int | None) -> str:
    if client_free_at_ns is not None and one.called_at_ns < client_free_at_ns:
        return "its client was still busy, or its lines are out of order"
    if one.returned_at_ns is None:
        return "" if one.outcome == UNKNOWN else "it ended, but not when"
    if one.returned_at_ns < one.called_at_ns:
        return "it returned before it was called"
    if one.outcome != OK:
        return ""
    if isinstance(one, Commit):
        if one.commit_ts < 1:
            return "it was committed, and not told a commit_ts"
        if one.versions and len(one.versions) != len(one.writes):
            return "it was not told one version for each write"
    elif isinstance(one, Get) and [row.key for row in one.rows] != list(one.keys):
        return "its rows are not those of its keys"
    return ""
