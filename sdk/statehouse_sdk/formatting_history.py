"""Owns the readable lines of explanations and differences; pure. formatting.py has those of events.

Both are indented text for people, and may change; programs take ``to_dict()``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from statehouse_sdk.absent import ABSENT
from statehouse_sdk.formatting import format_ts, format_value_summary, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse_sdk.diffing import Diff, FieldChange, KeyChange
    from statehouse_sdk.history_models import ExplainedCommit, Explanation, Read
    from statehouse_sdk.models import Operation

VALUE_WIDTH_MAX: Final = 60
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_WRITES_SHOWN: Final = 4


# -- Explanations


@dataclass(frozen=True, slots=True)
class _Branch:
    """A line of the tree that is still to come: how it is led to, and what it is about."""

    lead: str
    """What stands before it, and before all below it a continuation of that."""
    below: str
    how: str
    commit_ts: int


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """The commit that set the key, and below each commit its causes and what it had read."""
    place = f"{explanation.agent_id}/{explanation.key}"
    if explanation.root is None:
        yield f"{place} was not written by commit_ts {explanation.served_at}"
        return
    shown: set[int] = set()
    # A stack and no recursion: a chain of causes may be longer than the interpreter likes.
    pending = [_Branch("", "", f"{place} was set by ", explanation.root.commit_ts)]
    while pending:
        branch = pending.pop()
        commit = explanation.commits.get(branch.commit_ts)
        line = branch.lead + branch.how
        if commit is None:
            yield line + (f"{branch.commit_ts} (left out)" if branch.commit_ts else "(not there)")
        elif commit.commit_ts in shown:
            yield f"{line}{commit.commit_ts} (above)"
        else:
            shown.add(commit.commit_ts)
            yield line + _commit_line(commit, explanation)
            pending += reversed(_branches(commit, branch.below))
    if explanation.truncated:
        yield "... and what lies further back: ask with a higher limit"


def _branches(commit: ExplainedCommit, below: str) -> list[_Branch]:
    ways = [("caused by ", cause) for cause in commit.metadata.caused_by]
    by_commit: dict[int, list[Read]] = {}
    for read in commit.reads:
        by_commit.setdefault(read.commit_ts, []).append(read)
    for commit_ts, reads in by_commit.items():
        named = ", ".join(_read_text(read) for read in reads)
        ways.append((f"had read {named} " + ("of " if commit_ts else ""), commit_ts))
    last = len(ways) - 1
    return [
        _Branch(
            below + ("└─ " if place == last else "├─ "),
            below + ("   " if place == last else "│  "),
            how,
            commit_ts,
        )
        for place, (how, commit_ts) in enumerate(ways)
    ]


def _read_text(read: Read) -> str:
    version = f" v{read.version}" if read.version else ""
    return one_line(f"{read.agent_id}/{read.key}{version}")


def _commit_line(commit: ExplainedCommit, explanation: Explanation) -> str:
    metadata = commit.metadata
    parts = [str(commit.commit_ts), format_ts(commit.committed_at)]
    who = ": ".join(part for part in (metadata.actor, metadata.reason) if part)
    parts += [one_line(who)] if who else []
    parts += [f"run={one_line(metadata.run_id)}"] if metadata.run_id else []
    parts += [f"tool={one_line(metadata.tool_call_id)}"] if metadata.tool_call_id else []
    told = sorted(commit.operations, key=lambda one: one.key != explanation.key)
    parts += [_write_text(one, explanation.key) for one in told[:_WRITES_SHOWN]]
    if len(told) > _WRITES_SHOWN:
        parts.append(f"and {len(told) - _WRITES_SHOWN} more")
    return "  ".join(parts)


def _write_text(operation: Operation, key: str) -> str:
    if operation.mark is not None:
        return one_line(str(operation.mark))
    place = one_line(f"{operation.agent_id}/{operation.key} v{operation.version}")
    if operation.deleted:
        return f"{place} deleted"
    if operation.key != key:
        return place
    return f"{place} = {format_value_summary(operation.value, VALUE_WIDTH_MAX)}"


# -- Differences


def diff_lines(diff: Diff) -> Iterator[str]:
    """A line a key, and below a changed one a line a field."""
    for change in diff.keys:
        yield from _key_lines(change)


def _key_lines(change: KeyChange) -> Iterator[str]:
    sign, key = _SIGNS[change.kind], one_line(change.key)
    before, after = change.before, change.after
    if before is not None and after is not None:
        yield f"{sign} {key}  v{before.version} -> v{after.version}"
        fields = change.fields
        for field in fields:
            yield f"    {_field_line(field)}"
        if not fields:
            yield "    (only the order of its fields)"
        return
    only = before or after
    if only is not None:
        yield f"{sign} {key}  v{only.version}  {_value_text(only.value)}"


def _field_line(change: FieldChange) -> str:
    path = one_line(change.path) or "(value)"
    sides = [_value_text(side) for side in (change.before, change.after) if side is not ABSENT]
    return f"{_SIGNS[change.kind]} {path}: {' -> '.join(sides)}"


def _value_text(value: Any) -> str:
    if isinstance(value, int | float | str | bool | None) and not isinstance(value, bytes):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= 2 * VALUE_WIDTH_MAX else format_value_summary(value)
    return format_value_summary(value)
