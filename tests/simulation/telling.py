"""The words of tests/checkers for what a simulated cluster holds and tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core.model import Kind
from tests.checkers.history import Event, Row, Written

if TYPE_CHECKING:
    from collections.abc import Iterable

    from statehouse.core.model import Record
    from statehouse.storage.views import StateView

NAMESPACE = "simulated"
AGENT = "a"
KEYS = tuple(f"k{number}" for number in range(6))
"""All keys there are, few enough that requests meet."""


def row_of(record: Record | None, key: str) -> Row:
    """What a read was told of a key."""
    if record is None:
        return Row(key, 0, None, 0)
    return Row(key, record.version, _text(record.kind, record.value), record.commit_ts)


def rows_of(records: Iterable[Record]) -> tuple[Row, ...]:
    return tuple(row_of(record, record.key) for record in records)


def events_of(view: StateView) -> list[Event]:
    """The whole log."""
    return [
        Event(
            event.commit_ts,
            event.txn_id,
            tuple(Written(o.key, o.version, _text(o.kind, o.value)) for o in event.operations),
            event.committed_at_us,
            event.hash.hex(),
        )
        for event in view.events()
    ]


def _text(kind: int, value: bytes) -> str | None:
    return None if kind == Kind.TOMBSTONE else value.decode()
