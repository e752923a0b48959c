"""Owns the reading of events one after another, each by its commit_ts.

An agent that writes much has many of its events side by side: there the next is reached by stepping
on, at a fraction of what looking it up costs. It must not know what an event holds.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from statehouse.core.keys import Table, u64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse.storage.rows import Row, Rows

NEAR_COMMITS: Final = 8
"""An event so close to the one before is reached by stepping over those between."""


class EventRows:
    """The rows of events, asked for in commit order or (newest first) against it."""

    def __init__(self, rows: Rows, *, newest_first: bool) -> None:
        self._rows = rows
        self._walk = rows.backward if newest_first else rows.forward
        self._steps: Iterator[Row] | None = None
        self._before = -NEAR_COMMITS

    def row(self, commit_ts: int) -> bytes | None:
        """The row of this event; None when there is none."""
        steps = abs(commit_ts - self._before)
        self._before = commit_ts
        key = u64(commit_ts)
        if steps <= NEAR_COMMITS:
            if self._steps is None:
                self._steps = self._walk(Table.EVENTS, key, b"")
                steps = 1
            for found, row in islice(self._steps, steps):
                if found == key:
                    return row
        # Far off; or the steps did not lead there, as they do where no event is missing.
        self._steps = None
        return self._rows.get(Table.EVENTS, key)
