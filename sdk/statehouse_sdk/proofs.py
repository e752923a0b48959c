"""Owns the proof that a record is what it was: each event's hash covers the one before it. Pure.

`Chain` follows the hashes; `check_event` compares what an event tells with the bytes that its hash
covers; `check_events` does both for events kept elsewhere, as in a file. No answer of a server is
believed here: everything is computed anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from statehouse_sdk.bodies import BodyError, BodyOperation, begins, body_of
from statehouse_sdk.models import CursorMark, ForkMark, LabelMark, us_of_datetime

if TYPE_CHECKING:
    from collections.abc import Iterable

    from statehouse_sdk.bodies import Body
    from statehouse_sdk.models import Metadata, Operation, Proof, ReplayEvent

GENESIS: Final = bytes(32)
"""The hash before the first event."""


class Chain:
    """The hashes of all events, followed one by one from one that is taken as right."""

    def __init__(self, commit_ts: int = 0, chain_hash: bytes = GENESIS) -> None:
        self.commit_ts = commit_ts
        self.chain_hash = chain_hash

    def fault_of(self, previous_hash: bytes, body: bytes, its_hash: bytes) -> str | None:
        """Goes on to the next event; or says in words why it is not the next one."""
        commit_ts = self.commit_ts + 1
        if previous_hash != self.chain_hash:
            return f"it follows {previous_hash.hex()}, and commit_ts {self.commit_ts} is " + (
                self.chain_hash.hex()
            )
        if sha256(previous_hash + body).digest() != its_hash:
            return f"its hash {its_hash.hex()} is not that of its bytes"
        if not begins(body, commit_ts):
            return f"its bytes are not those of commit_ts {commit_ts}"
        self.commit_ts, self.chain_hash = commit_ts, its_hash
        return None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of kept events came to; bad_commit_ts: the first that does not agree."""

    events: int
    through: int
    chain_hash: bytes
    bad_commit_ts: int | None = None
    fault: str = ""

    @property
    def ok(self) -> bool:
        """Everything agrees."""
        return self.bad_commit_ts is None


def check_events(events: Iterable[ReplayEvent], *, whole: bool = False) -> Checked:
    """Checks events that were replayed with_proof, in commit order, wherever they were kept.

    whole: they must be all events there are, one after the other without a gap; else, as for the
    events of one agent, each is checked by itself, and against the one before where that is there.
    """
    count, through, chain_hash = 0, 0, GENESIS
    for event in events:
        fault = _order_fault(event, through, chain_hash, first=count == 0, whole=whole)
        fault = fault or check_event(event)
        if fault:
            return Checked(count, through, chain_hash, event.commit_ts, fault)
        count, through, chain_hash = count + 1, event.commit_ts, event.hash
    return Checked(count, through, chain_hash)


def check_event(event: ReplayEvent) -> str | None:
    """What does not agree between an event and its proof, in words; None: all does."""
    proof = event.proof
    if proof is None:
        return "it was told without its proof"
    if sha256(proof.previous_hash + proof.body).digest() != event.hash:
        return f"its hash {event.hash.hex()} is not that of its bytes"
    try:
        body = body_of(proof.body)
    except BodyError as error:
        return str(error)
    told_at_us = us_of_datetime(event.committed_at) if event.committed_at else 0
    if (body.commit_ts, body.committed_at_us) != (event.commit_ts, told_at_us):
        return f"its bytes are those of commit_ts {body.commit_ts} at {body.committed_at_us} us"
    if (body.txn_id, body.metadata) != (event.txn_id, _as_written(event.metadata)):
        return "its transaction id or metadata is not what was committed"
    return _operations_fault(event, proof, body)


def _order_fault(
    event: ReplayEvent, through: int, chain_hash: bytes, *, first: bool, whole: bool
) -> str | None:
    if event.commit_ts <= through:
        return f"it stands after commit_ts {through}"
    follows = event.commit_ts == through + 1
    if whole and not follows and not first:
        return f"the events between commit_ts {through} and it are missing"
    known = follows and (not first or event.commit_ts == 1)
    if known and event.proof is not None and event.proof.previous_hash != chain_hash:
        return f"it follows {event.proof.previous_hash.hex()}, and the one before is " + (
            chain_hash.hex()
        )
    return None


def _operations_fault(event: ReplayEvent, proof: Proof, body: Body) -> str | None:
    committed = {operation[:4]: operation for operation in body.operations}
    if len(proof.stored) != len(event.operations):
        return "its proof is of other operations"
    for operation, stored in zip(event.operations, proof.stored, strict=True):
        written = _as_recorded(operation, stored)
        if committed.get(written[:4]) != written:
            what = operation.mark or f"version {operation.version} of key {operation.key!r}"
            return f"{what} is not what was committed"
    return None


def _as_written(metadata: Metadata) -> tuple[Any, ...]:
    return (
        metadata.actor,
        metadata.reason,
        metadata.run_id,
        metadata.tool_call_id,
        list(metadata.caused_by),
        [list(pair) for pair in sorted(metadata.extra.items())],
    )


def _as_recorded(operation: Operation, stored: bytes | None) -> BodyOperation:
    """The operation as the bytes of its event tell it."""
    agent_id, key, kind, value = operation.agent_id, operation.key, 0, b""
    if operation.mark is not None:
        agent_id, key, value = _recorded_mark(operation)
        kind = 1 if value else 0
    elif not operation.deleted:
        value = stored or b""
        kind = 2 if isinstance(operation.value, bytes) else 1
    return BodyOperation(
        operation.namespace, agent_id, key, operation.version, kind, sha256(value).digest()
    )


def _recorded_mark(operation: Operation) -> tuple[str, str, bytes]:
    """Agent, key and value under which a mark is recorded: names that no client can give."""
    mark, agent_id = operation.mark, operation.agent_id
    if isinstance(mark, LabelMark):
        return agent_id, f"\0label\0{mark.name}", _json(mark.commit_ts) if mark.commit_ts else b""
    if isinstance(mark, ForkMark):
        return agent_id, "\0fork", _json([mark.parent_id, mark.commit_ts])
    if isinstance(mark, CursorMark) and not mark.deleted:
        return "\0cursors", mark.name, _json([mark.position, mark.agent_id, mark.prefix])
    return "\0cursors", mark.name if mark else "", b""


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
