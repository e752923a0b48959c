"""Owns the readable lines of a history; the pretty form stays stable within a major version.

One line an operation, fields divided by two spaces:
``HH:MM:SSZ  [ns=N]  agent=ID  OP  key=K  v=N  summary``. The time is the UTC time of day at which
the commit was made. Verbose adds txn, event index and the whole payload. JSON is one event a line.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse_sdk.models import Operation, ReplayEvent
    from statehouse_sdk.values import JsonValue, StateValue

AGENT_WIDTH_MAX: Final = 20
KEY_WIDTH_MAX: Final = 48
SUMMARY_WIDTH_MAX: Final = 120
_STRING_MARGIN: Final = 6
_TXN_WIDTH: Final = 12
_WORDS: Final = (
    ("tool/", "TOOL"),
    ("note/", "NOTE"),
    ("annotation/", "NOTE"),
    ("final/", "FINAL"),
    ("answer/", "FINAL"),
)
_ESCAPES: Final = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})


def format_ts(committed_at: datetime | None) -> str:
    """``HH:MM:SSZ`` in UTC; dashes when the moment is not known."""
    return "--:--:--Z" if committed_at is None else f"{committed_at.astimezone(UTC):%H:%M:%SZ}"


def format_key(key: str, width_max: int = KEY_WIDTH_MAX) -> str:
    """The key, cut to `width_max`: a path keeps its first and last part when they fit."""
    if len(key) <= width_max:
        return key
    parts = key.split("/")
    short = f"{parts[0]}/.../{parts[-1]}"
    if len(parts) >= 3 and len(short) <= width_max:
        return short
    return key[: width_max - 3] + "..."


def format_value_summary(value: StateValue, width_max: int = SUMMARY_WIDTH_MAX) -> str:
    """A value in one line of about `width_max` characters."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str):
        return _quoted(value, width_max - _STRING_MARGIN)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(text) <= width_max:
        return text
    if isinstance(value, list):
        return _list_preview(value)
    if isinstance(value, dict):
        return _dict_preview(value)
    return text[: width_max - 3] + "..."


def one_line(text: str) -> str:
    """The text with what would break a line written as escapes."""
    return text.translate(_ESCAPES)


def format_event_pretty(event: ReplayEvent) -> Iterator[str]:
    """One line for each operation."""
    for operation in event.operations:
        word = _word(operation)
        fields = _head(event, operation)
        if operation.mark is not None:
            yield "  ".join([*fields, "MARK ", one_line(str(operation.mark))])
            continue
        fields += [f"{word:<5}", f"key={format_key(operation.key):<20}", f"v={operation.version}"]
        if not operation.deleted:
            fields.append(format_value_summary(operation.value))
        yield "  ".join(fields)


def format_event_verbose(event: ReplayEvent) -> Iterator[str]:
    """One text for each operation: its line, then the whole value, indented."""
    for index, operation in enumerate(event.operations):
        fields = _head(event, operation)
        if operation.mark is not None:
            fields += ["MARK", one_line(str(operation.mark)), f"v={operation.version}"]
            yield "  ".join([*fields, f"txn={event.txn_id[:_TXN_WIDTH]}", f"event={index}"])
            continue
        fields += [
            "DELETE" if operation.deleted else "WRITE",
            f"key={format_key(operation.key)}",
            f"v={operation.version}",
            f"txn={event.txn_id[:_TXN_WIDTH]}",
            f"event={index}",
        ]
        line = "  ".join(fields)
        yield line if operation.deleted else f"{line}\n{_payload(operation.value)}"


def format_event_json(event: ReplayEvent) -> str:
    """The event as one line of JSON."""
    return json.dumps(event.to_dict(), ensure_ascii=False)


def _head(event: ReplayEvent, operation: Operation) -> list[str]:
    namespace = event.namespace or operation.namespace
    agent_id = event.agent_id or operation.agent_id
    if len(agent_id) > AGENT_WIDTH_MAX:
        agent_id = agent_id[: AGENT_WIDTH_MAX - 3] + "..."
    scope = [] if namespace == "default" else [f"ns={namespace}"]
    return [format_ts(event.committed_at), *scope, f"agent={agent_id}"]


def _word(operation: Operation) -> str:
    for prefix, word in _WORDS:
        if operation.key.startswith(prefix):
            return word
    return "DEL" if operation.deleted else "WRITE"


def _payload(value: StateValue) -> str:
    if isinstance(value, bytes):
        return f"  payload: {format_value_summary(value)}"
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "  payload: " + text.replace("\n", "\n  ")


def _quoted(text: str, width_max: int) -> str:
    shown = text.replace("\\", "\\\\").replace('"', '\\"').translate(_ESCAPES)
    return f'"{shown}"' if len(shown) <= width_max else f'"{shown[:width_max]}..."'


def _list_preview(values: list[JsonValue]) -> str:
    shown = [_preview(value) for value in values[:2]]
    if len(values) > 2:
        return f"[{', '.join(shown)}, ...] len={len(values)}"
    return f"[{', '.join(shown)}]"


def _dict_preview(values: dict[str, JsonValue]) -> str:
    shown = [f"{_quoted(name, 40)}:..." for name in list(values)[:2]]
    fields = f" n_fields={len(values)}" if len(values) > 2 else ""
    return "{" + ", ".join(shown) + "}" + fields


def _preview(value: JsonValue) -> str:
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, list):
        return "[...]" if value else "[]"
    if isinstance(value, str):
        return _quoted(value, 40)
    return json.dumps(value)
