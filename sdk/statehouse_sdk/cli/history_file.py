"""Owns the file that `dump --history` writes and `verify --file` reads: events with their proofs.

Lines of JSON: a header that says what it is and where history stood, one event a line, and an end
that says how many there are, so that a file cut short is noticed. A value's stored bytes stand
beside it only where they are not how this client would write the value.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from statehouse_sdk.diffing import same
from statehouse_sdk.models import (
    ForkMark,
    LabelMark,
    Metadata,
    Operation,
    Proof,
    ReplayEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from statehouse_sdk.history_models import Head
    from statehouse_sdk.models import Mark

KIND = "statehouse history"
FORMAT = 1

# A cursor is of a namespace and no event of an agent.
_MARKS: Final[dict[str, Callable[..., Mark]]] = {"label": LabelMark, "fork": ForkMark}


class FileError(ValueError):
    """The file is not what `dump --history` writes; the text says where and why."""


class Header(NamedTuple):
    """Whose events the file holds, and where history stood when it was written."""

    namespace: str
    agent_id: str
    commit_ts: int
    chain_hash: str


def write(
    file: IO[str], namespace: str, agent_id: str, head: Head, events: Iterable[ReplayEvent]
) -> int:
    """Writes the events, replayed with_proof up to the head; returns how many there are."""
    scope = {"namespace": namespace, "agent_id": agent_id}
    _write_line(file, {"kind": KIND, "format": FORMAT, **scope, "head": head.to_dict()})
    count = 0
    for event in events:
        _write_line(file, _event_to_dict(event))
        count += 1
    _write_line(file, {"end": count})
    return count


def read(file: IO[str]) -> tuple[Header, Iterator[ReplayEvent]]:
    """The header, and the events as they are asked for; FileError for what is no such file."""
    first = next(iter(file), "")
    header = _parsed(1, first)
    if header.get("kind") != KIND:
        raise FileError("it is not a history: write one with `statehousectl dump --history`")
    if header.get("format") != FORMAT:
        raise FileError(f"it has format {header.get('format')!r}, and this program reads {FORMAT}")
    try:
        head = header["head"]
        place = (head["commit_ts"], head["chain_hash"])
        return Header(header["namespace"], header["agent_id"], *place), _events(file, header)
    except (KeyError, TypeError) as error:
        raise FileError(f"line 1 is no header: {error!r}") from None


def _events(file: IO[str], header: dict[str, Any]) -> Iterator[ReplayEvent]:
    count, agents = 0, _Agents()
    for number, line in enumerate(file, 2):
        told = _parsed(number, line)
        if "end" in told:
            if told["end"] != count:
                raise FileError(f"it should hold {told['end']} events, and holds {count}")
            if next(iter(file), ""):
                raise FileError(f"line {number} is the end, and more lines follow")
            agents.check(header["agent_id"])
            return
        try:
            event = _event_of(told, header)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileError(f"line {number} is no event: {error!r}") from None
        agents.see(event)
        yield event
        count += 1
    raise FileError(f"it is cut short after {count} events")


class _Agents:
    """Who the events are of: the agent that the file is named for, and those it was forked from."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._parents: dict[str, str] = {}

    def see(self, event: ReplayEvent) -> None:
        for operation in event.operations:
            self._seen.add(operation.agent_id)
            if isinstance(operation.mark, ForkMark):
                self._parents[operation.agent_id] = operation.mark.parent_id

    def check(self, agent_id: str) -> None:
        """FileError if there is an event of somebody else."""
        line, here = {agent_id}, agent_id
        while (parent := self._parents.get(here, here)) not in line:
            line.add(parent)
            here = parent
        for stranger in sorted(self._seen - line):
            raise FileError(f"it is not of agent {agent_id!r}: it tells of {stranger!r}")


def _write_line(file: IO[str], told: dict[str, Any]) -> None:
    file.write(json.dumps(told, separators=(",", ":")) + "\n")


def _parsed(number: int, line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FileError(f"line {number} is not JSON: {error}") from None
    if not isinstance(told, dict):
        raise FileError(f"line {number} is no object")
    return told


# -- One event, there and back


def _event_to_dict(event: ReplayEvent) -> dict[str, Any]:
    if event.proof is None:
        raise ValueError(f"event {event.commit_ts} was replayed without its proof")
    operations = zip(event.operations, event.proof.stored, strict=True)
    facts = event.to_dict()
    # Each operation tells its own; a fork's early ones are an ancestor's.
    del facts["namespace"], facts["agent_id"]
    return {
        **facts,
        "operations": [_operation_to_dict(operation, stored) for operation, stored in operations],
        "previous_hash": event.proof.previous_hash.hex(),
        "body": _base64(event.proof.body),
    }


def _operation_to_dict(operation: Operation, stored: bytes | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"namespace": operation.namespace, "agent_id": operation.agent_id}
    facts |= operation.to_dict()
    if operation.mark is None and not operation.deleted and stored != _usual(operation.value):
        facts["stored"] = _base64(stored or b"")
    return facts


def _event_of(told: dict[str, Any], header: dict[str, Any]) -> ReplayEvent:
    metadata = dict(told["metadata"])
    metadata["caused_by"] = tuple(metadata.get("caused_by", ()))
    operations = [_operation_of(operation) for operation in told["operations"]]
    moment = told["committed_at"]
    return ReplayEvent(
        txn_id=told["txn_id"],
        commit_ts=told["commit_ts"],
        operations=[operation for operation, _ in operations],
        namespace=header["namespace"],
        agent_id=header["agent_id"],
        committed_at=datetime.fromisoformat(moment) if moment else None,
        metadata=Metadata(**metadata),
        hash=bytes.fromhex(told["hash"]),
        proof=Proof(
            bytes.fromhex(told["previous_hash"]),
            _bytes(told["body"]),
            tuple(stored for _, stored in operations),
        ),
    )


def _operation_of(told: dict[str, Any]) -> tuple[Operation, bytes | None]:
    """The operation, and its value's stored bytes."""
    scope = {"namespace": told["namespace"], "agent_id": told["agent_id"]}
    if "mark" in told:
        facts = dict(told["mark"])
        mark = _MARKS[facts.pop("kind")](**facts)
        return Operation("", None, told["version"], mark=mark, **scope), None
    raw = told.get("value_base64")
    if told["value"] is not None and (raw is not None or told["deleted"]):
        raise ValueError(f"the value of {told['key']!r} is told twice, or deleted")
    value = told["value"] if raw is None else _bytes(raw)
    operation = Operation(told["key"], value, told["version"], told["deleted"], **scope)
    if operation.deleted:
        return operation, None
    stored = _bytes(told["stored"]) if "stored" in told else _usual(value)
    if "stored" in told and not same(json.loads(stored), value):
        raise ValueError(f"the value of {operation.key!r} is not what is stored")
    return operation, stored


def _usual(value: Any) -> bytes:
    """The bytes as which this client stores a value."""
    if isinstance(value, bytes):
        return value
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{text!r:.40} is not base64: {error}") from None
