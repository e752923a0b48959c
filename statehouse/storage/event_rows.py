"""Owns the reading of events one after another, each by its commit_ts.

An agent that writes much has many of its events side by side, or nearly so: there the next is
reached from the one before, at a fraction of what looking it up costs. It must not know what an
event holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from statehouse.core.keys import Table, u64
from statehouse.storage.faults import RowLost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from statehouse.storage.rows import Rows

NEAR_COMMITS: Final = 16
"""Within so many commits the next event mostly lies in the block of the one before."""


def rows_of(rows: Rows, numbers: Iterable[int], *, newest_first: bool) -> Iterator[bytes]:
    """The rows of these events, which come in commit order or (newest first) against it.

    RowLost: one of them is not there.
    """
    key = b""
    near = rows.some(Table.EVENTS, iter(lambda: key, None), newest_first)
    before = -NEAR_COMMITS
    for commit_ts in numbers:
        key = u64(commit_ts)
        is_near = abs(commit_ts - before) <= NEAR_COMMITS
        row = next(near) if is_near else rows.get(Table.EVENTS, key)
        if row is None:
            raise lost(commit_ts)
        before = commit_ts
        yield row


def lost(commit_ts: int) -> RowLost:
    """An event that must be there is not."""
    return RowLost(f"the event of commit_ts {commit_ts} is not in the database")
