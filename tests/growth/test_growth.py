"""What a growing store may cost, small enough for every run; scripts/growth.py has the whole size.

Bounds on speed are looser here than the ones the script holds: other work may run on the machine.
"""

import pytest
from statehouse_cluster.journal import Journal
from statehouse_cluster.settings import Bounds

from tests.growth import beside, bounds, clusters, costs, starting
from tests.growth.growing import founded

EVENTS = 40_000
SMALL = 4_000
COST_FACTOR_MAX = 3.0
SLOWED_MAX = 0.6
JOIN_MEGABYTES_A_SECOND_MIN = 10.0
SEGMENT_BYTES = 128 * 1024
CACHE_BYTES = 256 * 1024
RETAINED_BYTES = 1024 * 1024

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    return clusters.grown(tmp_path_factory.mktemp("growth") / "nodes", EVENTS)


def test_ten_times_the_history_costs_no_more(grown, tmp_path):
    small = clusters.grown(tmp_path / "small", SMALL)
    before = costs.measure(small.node(1).data / "state", tmp_path / "before")
    after = costs.measure(grown.node(1).data / "state", tmp_path / "after")
    for name, less, more in zip(before._fields, before, after, strict=True):
        assert more < less * COST_FACTOR_MAX, f"{name}: {less:.1f} became {more:.1f}"


def test_the_log_is_bounded_in_memory_and_on_disk(tmp_path, monkeypatch):
    monkeypatch.setitem(Journal.open.__kwdefaults__, "segment_bytes", SEGMENT_BYTES)
    monkeypatch.setitem(Journal.open.__kwdefaults__, "cache_bytes", CACHE_BYTES)
    bounds_of_log = Bounds(group_commands_max=50, journal_bytes_retained_max=RETAINED_BYTES)
    with founded(tmp_path, bounds_of_log) as node:
        node.write(20_000, at_once=50)
        journal = node.journal
        assert journal.last_index > 300
        assert journal._cache.bytes_held <= CACHE_BYTES
        assert journal.bytes_retained < RETAINED_BYTES * 5 // 4 + 2 * SEGMENT_BYTES
        assert journal.first_index > 100, "the log was never cut"


def test_many_commits_share_one_entry_and_one_sync(tmp_path):
    with founded(tmp_path, Bounds()) as node:
        entries, syncs = node.journal.last_index, node.journal.flush_count
        node.write(5_000, at_once=500)
        entries, syncs = node.journal.last_index - entries, node.journal.flush_count - syncs
    assert entries <= 10, f"{entries} entries for 5,000 commits, of which 500 came together"
    assert syncs <= entries


def test_a_node_starts_soon_and_is_small(grown):
    try:
        told = starting.start(grown)
    finally:
        grown.stop()
    assert list(bounds.start(told)) == []


def test_new_members_catch_up_by_snapshot_and_a_replay_leaves_room_for_commits(grown):
    with clusters.running(grown):
        joins = [clusters.join(grown, number) for number in (2, 3)]
        told = beside.measure(grown, callers=16, seconds=1.5, rounds=1)
    for join in joins:
        assert join.megabytes_a_second > JOIN_MEGABYTES_A_SECOND_MIN
        assert join.silence_s < bounds.ELECTION_S
        assert join.terms == 0
    assert told.events > 1000, "the replay did not get on"
    assert told.slowed < SLOWED_MAX
