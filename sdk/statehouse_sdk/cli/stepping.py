"""Owns `replay --step`: a walk through the events of an agent, forward and back, one at a time.

It keeps only the event it stands on. Each step asks the cluster for the next, and for the state as
it was there: what is shown is exact however long the history is, and even while it grows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Point, Settings, point

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse_sdk.client import Statehouse
    from statehouse_sdk.models import Operation, ReplayEvent

HELP = """\
n, Enter  the next event          p        the one before
g POINT   the first event at or after a commit_ts, a time or a label
s         the state here          s KEY    one key of it, in full
q         the end                 h        this help"""


@dataclass(frozen=True, slots=True)
class Walk:
    """Which events are walked through."""

    client: Statehouse
    agent: str
    start: Point | None
    end: Point | None
    run_id: str

    def after(self, commit_ts: int) -> ReplayEvent | None:
        """The first event after that one; None: there is none."""
        return self._one(commit_ts + 1 if commit_ts else self.start, self.end)

    def before(self, commit_ts: int) -> ReplayEvent | None:
        """The last event before that one; None: there is none."""
        return self._one(self.start, commit_ts - 1, last=1)

    def from_(self, where: Point) -> ReplayEvent | None:
        """The first event at or after that point; None: there is none."""
        return self._one(where, self.end)

    def _one(
        self, start: Point | None, end: Point | None, last: int | None = None
    ) -> ReplayEvent | None:
        limit = None if last else 1
        found = self.client.replay(
            self.agent, start, end, limit=limit, last=last, run_id=self.run_id
        )
        return next(iter(found), None)


def step_through(settings: Settings, walk: Walk) -> None:
    """Reads commands until q or the end of input; shows the first event at once."""
    here = walk.after(0)
    if here is None:
        output.line(f"Agent {walk.agent!r} has no events there.")
        return
    _show(settings, walk, here)
    if _is_for_people(settings):
        _help()
    for word, argument in _commands(settings):
        there: ReplayEvent | None = None
        match word:
            case "" | "n":
                there = walk.after(here.commit_ts)
            case "p":
                there = walk.before(here.commit_ts)
            case "g":
                there = _go(walk, argument)
            case "s":
                _show_state(settings, walk, here, argument)
            case "h":
                _help()
            case _:
                output.note(f"{word!r} is no command here: n, p, g POINT, s, s KEY, q, h")
        if there is not None:
            here = there
            _show(settings, walk, here)
        elif word in ("", "n", "p"):
            output.note("this is the first event" if word == "p" else "this is the last event")


def _help() -> None:
    for text in HELP.splitlines():
        output.note(text)


def _commands(settings: Settings) -> Iterator[tuple[str, str]]:
    while True:
        if _is_for_people(settings):
            click.echo("> ", err=True, nl=False)
        line = sys.stdin.readline()
        if not line:
            return
        word, _, argument = line.strip().partition(" ")
        if word == "q":
            return
        yield word, argument.strip()


def _is_for_people(settings: Settings) -> bool:
    return sys.stdin.isatty() and not settings.json


def _go(walk: Walk, argument: str) -> ReplayEvent | None:
    from statehouse_sdk.errors import InvalidRequestError, NotFoundError

    try:
        there = walk.from_(point(argument))
    except click.BadParameter as error:
        output.note(error.message)
        return None
    except (InvalidRequestError, NotFoundError) as error:
        # A point that does not exist ends no walk.
        output.note(str(error))
        return None
    if there is None:
        output.note(f"there is no event from {argument} on")
    return there


def _show(settings: Settings, walk: Walk, event: ReplayEvent) -> None:
    if settings.json:
        output.json_line(event.to_dict())
        return
    from statehouse_sdk.absent import ABSENT
    from statehouse_sdk.formatting import format_value_summary

    output.line(f"commit_ts {event.commit_ts}  {output.moment(event.committed_at)}")
    for name, fact in event.metadata.to_dict().items():
        output.line(f"  {name}: {format_value_summary(fact)}")
    keys = list(dict.fromkeys(op.key for op in event.operations if op.mark is None))
    # As it was just before, in one read: what each operation changed is told, not only made.
    before = walk.client.get_many(walk.agent, keys, at=event.commit_ts - 1)
    values = {key: record.value if record.exists else ABSENT for key, record in before.items()}
    for operation in event.operations:
        if operation.mark is not None:
            output.line(f"  * {operation.mark}")
            continue
        for text in _changed(operation, values[operation.key]):
            output.line(f"  {text}")
        values[operation.key] = ABSENT if operation.deleted else operation.value


def _changed(operation: Operation, before: Any) -> Iterator[str]:
    """Lines that tell what one operation did to its key."""
    from statehouse_sdk.absent import ABSENT
    from statehouse_sdk.diffing import json_diff

    name = f"{operation.key} v{operation.version}"
    if operation.deleted:
        yield f"- {name}"
        return
    sign = "+" if before is ABSENT else "~"
    yield f"{sign} {name}  {_side(operation.value)}"
    for change in json_diff(before, operation.value) if before is not ABSENT else ():
        if not change.path:
            yield f"    was {_side(change.before)}"
        elif change.kind == "changed":
            yield f"    ~ {change.path}: {_side(change.before)} -> {_side(change.after)}"
        elif change.kind == "added":
            yield f"    + {change.path}: {_side(change.after)}"
        else:
            yield f"    - {change.path}: {_side(change.before)}"


def _side(value: Any) -> str:
    from statehouse_sdk.formatting import format_value_summary

    return format_value_summary(value)


def _show_state(settings: Settings, walk: Walk, event: ReplayEvent, key: str) -> None:
    from statehouse_sdk.formatting import format_value_summary

    if key:
        _show_key(settings, walk, event, key)
        return
    snapshot = walk.client.snapshot(walk.agent, at=event.commit_ts)
    if settings.json:
        output.json_line(snapshot.to_dict())
        return
    output.line(f"state at commit_ts {event.commit_ts}: {len(snapshot.records)} keys")
    for record in snapshot.records.values():
        output.line(f"  {record.key} v{record.version}  {format_value_summary(record.value)}")


def _show_key(settings: Settings, walk: Walk, event: ReplayEvent, key: str) -> None:
    import json

    record = walk.client.get_state(walk.agent, key, at=event.commit_ts)
    if settings.json:
        output.json_line(record.to_dict())
    elif not record.exists:
        output.note(f"there is no {key!r} here")
    elif isinstance(record.value, bytes):
        output.line(f"{key} v{record.version}  {len(record.value)} bytes")
    else:
        value = json.dumps(record.value, ensure_ascii=False, indent=2)
        output.line(f"{key} v{record.version}\n{value}")
