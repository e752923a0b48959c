"""Events by their commit_ts, near each other or far: all are found, and what is lost is missed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statehouse.core.keys import Table, u64
from statehouse.storage.event_rows import NEAR_COMMITS, rows_of
from statehouse.storage.faults import RowLost
from tests.oracle.memory_store import MemoryRows

COMMITS = 200


class CountedRows(MemoryRows):
    """Tables that count how often they are asked."""

    def __init__(self, commits):
        super().__init__()
        self.looked_up = 0
        self.write([(Table.EVENTS, u64(commit_ts), row(commit_ts)) for commit_ts in commits], [])

    def get(self, table, key):
        self.looked_up += 1
        return super().get(table, key)


def row(commit_ts):
    return b"event %d" % commit_ts


@pytest.mark.parametrize("newest_first", [False, True])
@given(wanted=st.sets(st.integers(1, COMMITS)), gone=st.sets(st.integers(1, COMMITS), max_size=9))
def test_what_is_there_is_found_and_what_is_not_is_lost(newest_first, wanted, gone):
    rows = CountedRows(set(range(1, COMMITS + 1)) - gone)
    numbers = sorted(wanted, reverse=newest_first)
    found = rows_of(rows, numbers, newest_first=newest_first)
    for commit_ts in numbers:
        if commit_ts in gone:
            with pytest.raises(RowLost, match=f"commit_ts {commit_ts} is not"):
                next(found)
            return
        assert next(found) == row(commit_ts)
    assert next(found, None) is None


def test_neighbours_are_reached_without_looking_up():
    rows = CountedRows(range(1, COMMITS + 1))
    assert all(rows_of(rows, range(1, COMMITS + 1, 3), newest_first=False))
    assert rows.looked_up == 1


def test_events_far_apart_are_looked_up():
    rows = CountedRows(range(1, COMMITS + 1))
    wanted = range(1, COMMITS + 1, NEAR_COMMITS + 1)
    assert all(rows_of(rows, wanted, newest_first=False))
    assert rows.looked_up == len(wanted)
