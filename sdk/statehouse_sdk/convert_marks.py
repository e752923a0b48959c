"""Owns the way between marks on the wire and what users hold: labels, forks, cursors. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk.models import CursorMark, ForkMark, LabelMark

if TYPE_CHECKING:
    from statehouse_sdk.models import Mark


def mark_of(message: state.Mark) -> Mark:
    """A mark as it is read."""
    if message.HasField("fork"):
        return ForkMark(message.fork.parent_id, message.fork.commit_ts)
    if message.HasField("cursor"):
        cursor = message.cursor
        return CursorMark(
            cursor.name, cursor.through, cursor.agent_id, cursor.prefix, cursor.deleted
        )
    return LabelMark(message.label.name, message.label.commit_ts)


def mark_message(mark: Mark, if_version: int | None = None) -> state.Mark:
    """A mark as it is sent; if_version: only if the mark has this version, 0: was never set."""
    message = state.Mark(if_version=if_version or 0, if_version_given=if_version is not None)
    if isinstance(mark, LabelMark):
        message.label.name, message.label.commit_ts = mark.name, mark.commit_ts
        message.label.SetInParent()
    elif isinstance(mark, ForkMark):
        message.fork.parent_id, message.fork.commit_ts = mark.parent_id, mark.commit_ts
        message.fork.SetInParent()
    else:
        message.cursor.CopyFrom(
            state.CursorMark(
                name=mark.name,
                through=mark.position,
                deleted=mark.deleted,
                agent_id=mark.agent_id,
                prefix=mark.prefix,
            )
        )
    return message


def conflict_key(mark: Mark) -> str:
    """How a conflict names the mark, in the place of a key."""
    if isinstance(mark, LabelMark):
        return f"label {mark.name}"
    return "fork" if isinstance(mark, ForkMark) else f"cursor {mark.name}"
