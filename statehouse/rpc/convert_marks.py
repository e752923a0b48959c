"""Owns the translation of marks: labels, forks and cursors, between the wire and the core. Pure.

On the wire a mark is a message of its own; no client ever sees, or can send, the names under which
the core records it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_proto.v2 import state_pb2

from statehouse.core import marks
from statehouse.core.errors import Failure, Reason
from statehouse.core.marks import Cursor, Fork, Label
from statehouse.core.model import Expectation, Precondition

if TYPE_CHECKING:
    from statehouse.core.marks import Mark
    from statehouse.core.model import EventOperation, Operation


def operation_from_wire(field: str, told: state_pb2.Operation) -> Operation:
    """What records the mark of an operation that has one; `field` is where it stands."""
    if told.key:
        raise _invalid(f"{field}.key is {told.key!r}, but a mark has no key: leave it empty")
    which = told.mark.WhichOneof("mark")
    if which is None:
        raise _invalid(f"{field}.mark holds neither label, fork nor cursor; set one")
    if which == "cursor":
        if told.agent_id:
            raise _invalid(
                f"{field}.agent_id is {told.agent_id!r}, but a cursor belongs to its namespace: "
                "leave it empty, and say in mark.cursor.agent_id whom it follows"
            )
    elif not told.agent_id:
        raise _invalid(f"{field}.agent_id is empty; name the agent that the {which} is for")
    return marks.operation_of(told.namespace, told.agent_id, _mark(told.mark))


def precondition_from_wire(
    field: str, told: state_pb2.Mark, recorded: Operation
) -> Precondition | None:
    """What a mark asks of its own version; None: nothing."""
    if told.if_version_given:
        return Precondition(
            recorded.namespace,
            recorded.agent_id,
            recorded.key,
            Expectation.VERSION.value,
            told.if_version,
        )
    if told.if_version:
        raise _invalid(f"{field}.mark.if_version is set; it counts with if_version_given only")
    return None


def _mark(told: state_pb2.Mark) -> Mark:
    if told.HasField("label"):
        return Label(told.label.name, told.label.commit_ts)
    if told.HasField("fork"):
        return Fork(told.fork.parent_id, told.fork.commit_ts)
    cursor = told.cursor
    return Cursor(cursor.name, cursor.through, cursor.agent_id, cursor.prefix, cursor.deleted)


def fill_event_operation(told: state_pb2.EventOperation, operation: EventOperation) -> None:
    """Tells whose mark an operation recorded, and which."""
    mark = marks.mark_of(operation.agent_id, operation.key, operation.kind, operation.value)
    told.agent_id, _ = names_to_wire(operation.agent_id, operation.key)
    told.mark.CopyFrom(_mark_to_wire(mark))


def names_to_wire(agent_id: str, key: str) -> tuple[str, str]:
    """Agent and key as clients are told of them where there is no place for a mark: in words."""
    if not marks.is_mark(agent_id, key):
        return agent_id, key
    return "" if agent_id == marks.CURSORS else agent_id, marks.shown(agent_id, key)


def _mark_to_wire(mark: Mark) -> state_pb2.Mark:
    if isinstance(mark, Label):
        told = state_pb2.LabelMark(name=mark.name, commit_ts=mark.commit_ts)
        return state_pb2.Mark(label=told)
    if isinstance(mark, Fork):
        fork = state_pb2.ForkMark(parent_id=mark.parent_id, commit_ts=mark.commit_ts)
        return state_pb2.Mark(fork=fork)
    return state_pb2.Mark(
        cursor=state_pb2.CursorMark(
            name=mark.name,
            through=mark.through,
            deleted=mark.deleted,
            agent_id=mark.agent_id,
            prefix=mark.prefix,
        )
    )


def _invalid(message: str) -> Failure:
    return Failure(Reason.INVALID_ARGUMENT, message)
