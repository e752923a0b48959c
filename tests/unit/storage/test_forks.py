"""Forks, labels and cursors as a view tells them: on RocksDB and on dictionaries."""

from __future__ import annotations

from contextlib import closing

import pytest

from statehouse.core.keys import Table, agent_key, u64
from statehouse.core.marks import Cursor, Fork, Label
from statehouse.core.model import AgentRow, CursorRow, ForkRow, LabelRow
from statehouse.storage.faults import StoreFailed
from tests.oracle.stores import Dictionaries, OnRocksDB
from tests.oracle.writing import START_US, Writer, delete, mark, write


@pytest.fixture(params=[Dictionaries, OnRocksDB])
def store(request, tmp_path):
    with closing(request.param(tmp_path)) as made:
        yield made


@pytest.fixture
def writer():
    return Writer()


def keys_of(view, agent, prefix="", at=None):
    return list(view.keys("default", agent, prefix, at))


def value(view, agent, key="k", at=None):
    record = view.get("default", agent, key, at)
    return None if record is None else record.value


@pytest.fixture
def forked(store, writer):
    """1, 2: a is written; 3: f is a fork of a at 1; 4, 5: each goes its own way; 6: g of f at 5."""
    store.commit(writer.submit(write("k", b"1"), write("old", b"1")))
    store.commit(writer.submit(write("k", b"2"), write("new", b"2")))
    store.commit(writer.submit(mark(Fork("a", 1), agent="f")))
    store.commit(writer.submit(write("k", b"4"), delete("old")))
    store.commit(writer.submit(write("k", b"5", agent="f"), write("own", b"5", agent="f")))
    store.commit(writer.submit(mark(Fork("f", 5), agent="g")))
    return store


class TestForks:
    def test_a_fork_reads_as_its_parent_did_and_then_goes_its_own_way(self, forked):
        with forked.view() as view:
            assert [value(view, "f", at=at) for at in range(7)] == [
                None,
                *[b"1"] * 4,
                *[b"5"] * 2,
            ]
            assert [value(view, "a", at=at) for at in range(7)] == [
                *(None, b"1", b"2", b"2"),
                *[b"4"] * 3,
            ]
            assert value(view, "g") == b"5"
            assert keys_of(view, "f", at=4) == ["k", "old"]
            assert keys_of(view, "f") == ["k", "old", "own"] == keys_of(view, "g")
            assert keys_of(view, "g", "o") == ["old", "own"]
            assert keys_of(view, "a") == ["k", "new"]
            records = list(view.scan("default", "g"))
            assert [record.value for record in records] == [b"5", b"1", b"5"]
            assert [record.version for record in records] == [2, 1, 1]

    def test_a_tombstone_hides_what_the_parent_has(self, forked, writer):
        forked.commit(writer.submit(delete("old", agent="f"), delete("k", agent="g")))
        with forked.view() as view:
            assert keys_of(view, "f") == ["k", "own"]
            assert keys_of(view, "g") == ["old", "own"]
            assert view.get("default", "g", "k").version == 3
            assert keys_of(view, "g", at=6) == ["k", "old", "own"]

    def test_versions_are_found_on_whichever_level_they_are(self, forked, writer):
        forked.commit(writer.submit(write("k", b"7", agent="g"), write("k", b"77", agent="g")))
        with forked.view() as view:
            found = [view.get_version("default", "g", "k", number) for number in range(6)]
            values = [None if record is None else record.value for record in found]
            assert values == [None, b"1", b"5", b"7", b"77", None]
            rows = list(view.versions("default", "g", "k"))
            assert [(row.record.version, row.agent_id) for row in rows] == [
                *((1, "a"), (2, "f")),
                *((3, "g"), (4, "g")),
            ]

    def test_its_events_are_its_ancestors_and_then_its_own(self, forked):
        with forked.view() as view:
            shown = [
                (event.commit_ts, [told.agent_id for told in event.operations])
                for event in view.events("default", "g")
            ]
            assert shown == [(1, ["a", "a"]), (3, ["f"]), (5, ["f", "f"]), (6, ["g"])]
            back = [event.commit_ts for event in view.events("default", "f", newest_first=True)]
            assert back == [5, 3, 1]
            own = [event.commit_ts for event in view.events("default", "a")]
            assert own == [1, 2, 4]

    def test_where_it_comes_from_is_told_both_ways(self, forked):
        first, second = ForkRow("f", "a", 1, 3), ForkRow("g", "f", 5, 6)
        with forked.view() as view:
            assert view.lineage("default", "g") == (second, first)
            assert view.lineage("default", "a") == view.lineage("default", "nobody") == ()
            assert view.forks("default", "a", 10) == (first,)
            assert view.forks("default", "f", 10) == (second,)
            assert view.forks("default", "f", 0) == view.forks("other", "f", 10) == ()
            assert list(view.agents("default")) == [
                *(AgentRow("a", 1), AgentRow("f", 3)),
                AgentRow("g", 6),
            ]

    def test_a_view_from_before_does_not_know_it(self, store, writer):
        store.commit(writer.submit(write("k")))
        with store.view() as view:
            store.commit(writer.submit(mark(Fork("a", 1), agent="f")))
            store.commit(writer.submit(write("own", agent="f")))
            assert view.get("default", "f", "k") is None
            assert keys_of(view, "f") == list(view.events("default", "f")) == []
            assert view.lineage("default", "f") == view.forks("default", "a", 9) == ()

    def test_a_parent_that_was_lost_is_told(self, forked):
        forked.rows.write([], [(Table.AGENTS, agent_key("default", "a"))])
        with forked.view() as view, pytest.raises(StoreFailed, match="agent 'a'"):
            keys_of(view, "f")


class TestLabels:
    def test_they_are_told_in_order_with_who_set_them(self, store, writer):
        store.commit(writer.submit(write("k")), writer.submit(write("k")))
        store.commit(writer.submit(mark(Label("z", 1)), mark(Label("b", 2))), at_us=START_US + 5)
        store.commit(writer.submit(mark(Label("z", 3)), mark(Label("b", 0))), at_us=START_US + 9)
        with store.view() as view:
            assert list(view.labels("default", "a")) == [LabelRow("z", 3, 2, 4, START_US + 9)]
            assert view.label("default", "a", "z") == 3
            assert view.label("default", "a", "b") is None
            assert view.label("default", "b", "z") is None
            assert keys_of(view, "a") == ["k"]
            assert [record.key for record in view.scan("default", "a")] == ["k"]

    def test_a_fork_has_those_set_by_its_point(self, store, writer):
        store.commit(writer.submit(write("k")), writer.submit(mark(Label("early", 1))))
        store.commit(writer.submit(mark(Label("late", 1))))
        store.commit(writer.submit(mark(Fork("a", 2), agent="f")))
        with store.view() as view:
            assert [row.name for row in view.labels("default", "f")] == ["early"]
            assert view.label("default", "f", "late") is None

    def test_they_are_in_the_events_of_their_agent(self, store, writer):
        store.commit(writer.submit(write("k")), writer.submit(mark(Label("l", 1))))
        with store.view() as view:
            assert [event.commit_ts for event in view.events("default", "a")] == [1, 2]
            assert [event.commit_ts for event in view.events("default", "a", prefix="k")] == [1]


class TestCursors:
    def test_they_are_told_until_they_are_deleted(self, store, writer):
        store.commit(writer.submit(write("k")))
        first, second = Cursor("z", 1, "a", "p/"), Cursor("b", 0)
        store.commit(writer.submit(mark(first), mark(second)))
        with store.view() as view:
            assert list(view.cursors("default")) == [
                CursorRow("b", 0, "", "", 1, 2, True),
                CursorRow("z", 1, "a", "p/", 1, 2, True),
            ]
            assert view.cursor("default", "z").through == 1
            assert view.cursor("default", "none") is view.cursor("other", "z") is None
        store.commit(writer.submit(mark(Cursor("z", 0, deleted=True))))
        with store.view() as view:
            assert [row.name for row in view.cursors("default")] == ["b"]
            assert view.cursor("default", "z") == CursorRow("z", 0, "", "", 2, 0, False)

    def test_they_wake_nobody_who_follows_the_namespace(self, store, writer):
        store.commit(writer.submit(write("k")), writer.submit(mark(Cursor("c", 1))))
        store.commit(writer.submit(write("k"), mark(Cursor("c", 2))))
        with store.view() as view:
            shown = [(e.commit_ts, len(e.operations)) for e in view.events("default")]
            assert shown == [(1, 1), (3, 1)]
            shown = [(e.commit_ts, len(e.operations)) for e in view.events()]
            assert shown == [(1, 1), (2, 1), (3, 2)]
            assert list(view.agents("default")) == [AgentRow("a", 1)]


def test_history_begins_with_the_first_commit(store, writer):
    with store.view() as before:
        assert before.first_committed_at_us is None
        store.commit(writer.submit(), at_us=START_US + 3)
        store.commit(writer.submit(), at_us=START_US + 9)
        assert before.first_committed_at_us is None
    with store.view() as view:
        assert view.first_committed_at_us == START_US + 3


def test_the_hash_of_any_commit_is_told(store, writer):
    store.commit(writer.submit(write("k")), writer.submit(write("k")))
    with store.view() as view:
        assert view.chain_hash_at(0) == bytes(32)
        assert view.chain_hash_at(1) == store.rows.get(Table.EVENTS, u64(1))[:32]
        assert view.chain_hash_at(2) == view.chain_head
        for beyond in (-1, 3):
            with pytest.raises(ValueError, match=f"{beyond} is not between 0 and 2"):
                view.chain_hash_at(beyond)
