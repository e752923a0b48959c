"""Events by their commit_ts, near each other or far: stepping finds what looking up finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statehouse.core.keys import Table, u64
from statehouse.storage.event_rows import NEAR_COMMITS, EventRows
from tests.oracle.memory_store import MemoryRows

COMMITS = 200


class CountedRows(MemoryRows):
    """Tables that count how often they are asked."""

    def __init__(self):
        super().__init__()
        self.looked_up = self.walks = 0

    def get(self, table, key):
        self.looked_up += 1
        return super().get(table, key)

    def forward(self, table, start, prefix):
        self.walks += 1
        return super().forward(table, start, prefix)


def rows_of(commits):
    rows = CountedRows()
    puts = [(Table.EVENTS, u64(commit_ts), b"event %d" % commit_ts) for commit_ts in commits]
    rows.write(puts, [])
    return rows


@pytest.mark.parametrize("newest_first", [False, True])
@given(wanted=st.sets(st.integers(1, COMMITS)), gone=st.sets(st.integers(1, COMMITS)))
def test_what_is_there_is_found_and_what_is_not_is_none(newest_first, wanted, gone):
    rows = EventRows(rows_of(set(range(1, COMMITS + 1)) - gone), newest_first=newest_first)
    for commit_ts in sorted(wanted, reverse=newest_first):
        expected = None if commit_ts in gone else b"event %d" % commit_ts
        assert rows.row(commit_ts) == expected


def test_neighbours_are_reached_without_looking_up():
    rows = rows_of(range(1, COMMITS + 1))
    events = EventRows(rows, newest_first=False)
    assert all(events.row(commit_ts) for commit_ts in range(1, COMMITS + 1, 3))
    assert (rows.looked_up, rows.walks) == (1, 1)


def test_events_far_apart_are_looked_up():
    rows = rows_of(range(1, COMMITS + 1))
    events = EventRows(rows, newest_first=False)
    wanted = range(1, COMMITS + 1, NEAR_COMMITS + 1)
    assert all(events.row(commit_ts) for commit_ts in wanted)
    assert (rows.looked_up, rows.walks) == (len(wanted), 0)
