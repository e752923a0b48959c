"""The dumbest store there is, a dictionary of rows, to which events are applied in order.

It believes the versions that the log tells; whether they are dense is a rule of its own (order.py).
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING

from tests.checkers.history import Row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.checkers.history import Event, Precondition


class Oracle:
    """The state after some events; empty at first."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._sorted_keys: list[str] = []

    def apply(self, event: Event) -> None:
        for write in event.writes:
            self._rows[write.key] = Row(write.key, write.version, write.value, event.commit_ts)

    def get(self, key: str) -> Row:
        """The row of a key; version and commit_ts 0 if it was never written."""
        return self._rows.get(key) or Row(key, 0, None, 0)

    def get_many(self, keys: Iterable[str]) -> tuple[Row, ...]:
        return tuple([self._rows.get(key) or Row(key, 0, None, 0) for key in keys])

    def scan(self, prefix: str) -> tuple[Row, ...]:
        """The live rows with the prefix, in bytewise order of their keys."""
        if len(self._sorted_keys) != len(self._rows):
            # The order of code points is the order of their UTF-8 bytes.
            self._sorted_keys = sorted(self._rows)
        found = []
        for key in islice(self._sorted_keys, bisect_left(self._sorted_keys, prefix), None):
            if not key.startswith(prefix):
                break
            if self._rows[key].value is not None:
                found.append(self._rows[key])
        return tuple(found)

    def holds(self, precondition: Precondition) -> bool:
        return holds(precondition, self.get(precondition.key))


def holds(precondition: Precondition, row: Row) -> bool:
    """Whether a commit that demands this may be applied where `row` is the key's state."""
    if precondition.expectation == "version":
        return row.version == precondition.number
    if precondition.expectation == "absent":
        return row.value is None
    return (row.commit_ts or 0) <= precondition.number
