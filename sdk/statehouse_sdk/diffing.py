"""Owns what differs between two values, and between two states, in words of keys and fields. Pure.

Values are compared as JSON is read: the order of an object's fields does not count, but 1, 1.0 and
true are three things. Lists are compared place by place.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from statehouse_sdk.absent import ABSENT, Absent
from statehouse_sdk.models import value_to_dict
from statehouse_sdk.values import step_text

if TYPE_CHECKING:
    from statehouse_sdk.models import StateResult

ChangeKind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a value, or the whole of it (path ""), that differs.

    path reads like ``plan.steps[2].name``; steps are its parts, names and places. before or after
    is ABSENT where the field does not exist. Made one after the other, in order, the changes of a
    value turn the one into the other.
    """

    path: str
    kind: ChangeKind
    before: Any
    after: Any
    steps: tuple[str | int, ...]

    def to_dict(self) -> dict[str, Any]:
        """path, kind, and before and after where there is one."""
        facts: dict[str, Any] = {"path": self.path, "kind": self.kind}
        for name, value in (("before", self.before), ("after", self.after)):
            if value is not ABSENT:
                facts |= _named(name, value)
        return facts


def json_diff(before: Any, after: Any) -> tuple[FieldChange, ...]:
    """The changes that turn one value into the other, in the order of the fields."""
    changes: list[FieldChange] = []
    # A stack and no recursion: values may be nested deeper than the interpreter likes.
    pending: list[tuple[tuple[str | int, ...], Any, Any]] = [((), before, after)]
    while pending:
        steps, old, new = pending.pop()
        if isinstance(old, dict) and isinstance(new, dict):
            pending += reversed([((*steps, name), *pair) for name, pair in _fields(old, new)])
        elif isinstance(old, list) and isinstance(new, list):
            pending += reversed([((*steps, place), *pair) for place, pair in _places(old, new)])
        elif not _same_leaf(old, new):
            changes.append(FieldChange(path_text(steps), _kind(old, new), old, new, steps))
    return tuple(changes)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON is read, or as bytes."""
    pending = [(one, other)]
    while pending:
        old, new = pending.pop()
        if isinstance(old, dict) and isinstance(new, dict):
            if old.keys() != new.keys():
                return False
            pending += [(value, new[name]) for name, value in old.items()]
        elif isinstance(old, list) and isinstance(new, list):
            if len(old) != len(new):
                return False
            pending += zip(old, new, strict=True)
        elif not _same_leaf(old, new):
            return False
    return True


def path_text(steps: tuple[str | int, ...]) -> str:
    """``("plan", "steps", 2)`` -> ``plan.steps[2]``."""
    return "".join(step_text(step) for step in steps).removeprefix(".")


def _fields(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, tuple[Any, Any]]]:
    names = [*old, *(name for name in new if name not in old)]
    return [(name, (old.get(name, ABSENT), new.get(name, ABSENT))) for name in names]


def _places(old: list[Any], new: list[Any]) -> list[tuple[int, tuple[Any, Any]]]:
    """What is gone is told from the end, so that no earlier place moves meanwhile."""
    common = min(len(old), len(new))
    places = [(place, (old[place], new[place])) for place in range(common)]
    places += [(place, (old[place], ABSENT)) for place in reversed(range(common, len(old)))]
    places += [(place, (ABSENT, new[place])) for place in range(common, len(new))]
    return places


def _same_leaf(old: Any, new: Any) -> bool:
    if type(old) is not type(new):
        return False
    if isinstance(old, float):
        return old == new and math.copysign(1, old) == math.copysign(1, new)
    return bool(old == new)


def _kind(old: Any, new: Any) -> ChangeKind:
    if old is ABSENT:
        return "added"
    return "removed" if new is ABSENT else "changed"


def _named(name: str, value: Any) -> dict[str, Any]:
    return {name + key.removeprefix("value"): part for key, part in value_to_dict(value).items()}


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A key that differs between two states; None: it does not exist there."""

    key: str
    before: StateResult | None
    after: StateResult | None

    @property
    def kind(self) -> ChangeKind:
        """added, removed or changed."""
        return _kind(_value(self.before), _value(self.after))

    @property
    def fields(self) -> tuple[FieldChange, ...]:
        """What differs within the value; nothing when only the order of its fields does."""
        return json_diff(_value(self.before), _value(self.after))

    def to_dict(self) -> dict[str, Any]:
        """key, kind, before, after; of a changed key the fields too."""
        facts: dict[str, Any] = {
            "key": self.key,
            "kind": self.kind,
            "before": self.before.to_dict() if self.before else None,
            "after": self.after.to_dict() if self.after else None,
        }
        if self.kind == "changed":
            facts["fields"] = [change.to_dict() for change in self.fields]
        return facts


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs between an agent's state at a and, at b, its own or another agent's.

    a and b are commit_ts; keys are in bytewise order. A Diff is true when something differs.
    """

    namespace: str
    agent_id: str
    other: str
    a: int
    b: int
    keys: tuple[KeyChange, ...]

    @property
    def added(self) -> tuple[KeyChange, ...]:
        """The keys that are there only at b."""
        return tuple(change for change in self.keys if change.kind == "added")

    @property
    def removed(self) -> tuple[KeyChange, ...]:
        """The keys that are there only at a."""
        return tuple(change for change in self.keys if change.kind == "removed")

    @property
    def changed(self) -> tuple[KeyChange, ...]:
        """The keys whose values differ."""
        return tuple(change for change in self.keys if change.kind == "changed")

    def __bool__(self) -> bool:
        return bool(self.keys)

    def lines(self) -> list[str]:
        """For people: ``+ key``, ``- key``, ``~ key`` and, below that, the fields that differ."""
        from statehouse_sdk.formatting_history import diff_lines

        return list(diff_lines(self))

    def to_dict(self) -> dict[str, Any]:
        """namespace, agent_id, other, a, b, keys."""
        return {
            "namespace": self.namespace,
            "agent_id": self.agent_id,
            "other": self.other,
            "a": self.a,
            "b": self.b,
            "keys": [change.to_dict() for change in self.keys],
        }

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


def _value(result: StateResult | None) -> Any | Absent:
    return ABSENT if result is None else result.value
