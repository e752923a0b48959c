"""What a view says of how a state came to be: versions, blame, explanations, differences."""

from __future__ import annotations

from contextlib import closing

import pytest

from statehouse.core.marks import Cursor, Fork, Label
from statehouse.core.model import Expectation, Kind, Metadata, ReadRow
from tests.oracle.stores import Dictionaries, OnRocksDB
from tests.oracle.writing import START_US, Writer, delete, expect, mark, version_is, write


@pytest.fixture(params=[Dictionaries, OnRocksDB])
def store(request, tmp_path):
    with closing(request.param(tmp_path)) as made:
        yield made


@pytest.fixture
def writer():
    return Writer()


class TestVersions:
    @pytest.fixture
    def versioned(self, store, writer):
        metadata = Metadata("me", "why")
        store.commit(writer.submit(write("k", b"1"), txn_id="one", metadata=metadata))
        store.commit(writer.submit(write("k", b"2"), write("k", b"3")), at_us=START_US + 5)
        store.commit(writer.submit(write("j")), writer.submit(delete("k")), at_us=START_US + 9)
        return store

    def shown(self, view, *range_, **more):
        rows = view.versions("default", "a", "k", *range_, **more)
        return [(row.record.commit_ts, row.record.version, row.record.value) for row in rows]

    def test_each_is_told_with_its_commit(self, versioned):
        with versioned.view() as view:
            rows = list(view.versions("default", "a", "k"))
            assert (rows[0].txn_id, rows[0].agent_id) == ("one", "a")
            assert rows[0].metadata == Metadata("me", "why")
            assert rows[0].record == view.get_version("default", "a", "k", 1)
            assert rows[-1].record.kind == Kind.TOMBSTONE
            assert rows[-1].record.committed_at_us == START_US + 9

    def test_both_orders_and_any_range(self, versioned):
        every = [(1, 1, b"1"), (2, 2, b"2"), (2, 3, b"3"), (4, 4, b"")]
        with versioned.view() as view:
            assert self.shown(view) == every
            assert self.shown(view, newest_first=True) == every[::-1]
            assert self.shown(view, 2, 3) == every[1:3]
            assert self.shown(view, 2, 3, newest_first=True) == every[2:0:-1]
            assert self.shown(view, -7, 99) == every
            assert self.shown(view, 3, 2) == self.shown(view, 5) == []

    def test_a_view_from_before_tells_no_later_one(self, versioned, writer):
        with versioned.view() as view:
            versioned.commit(writer.submit(write("k")))
            assert [row.record.version for row in view.versions("default", "a", "k")] == [
                1,
                2,
                3,
                4,
            ]
            newest = view.versions("default", "a", "k", 1, 99, True)
            assert next(newest).record.version == 4


class TestBlame:
    def test_each_key_is_told_with_the_commit_that_set_it(self, store, writer):
        store.commit(writer.submit(write("k"), write("j"), txn_id="one"))
        store.commit(writer.submit(write("k"), write("gone"), txn_id="two"))
        store.commit(writer.submit(delete("gone")))
        with store.view() as view:
            rows = list(view.blame("default", "a"))
            assert [(row.last.record.key, row.last.txn_id) for row in rows] == [
                *(("j", "one"), ("k", "two"))
            ]
            assert {row.fields for row in rows} == {()}
            assert [row.last.record.key for row in view.blame("default", "a", at=1)] == ["j", "k"]
            assert [row.last.record.key for row in view.blame("default", "a", "j")] == ["j"]

    def test_each_field_too(self, store, writer):
        for number, value in enumerate((b'{"x":1,"y":1}', b'{"x":1,"y":2}', b'{"z":[],"x":1}')):
            made = writer.submit(write("k", value), metadata=Metadata(f"{number}"), txn_id="t")
            store.commit(made, at_us=START_US + number)
        with store.view() as view:
            (row,) = view.blame("default", "a", fields=True)
            found = [
                (one.field, one.version, one.commit_ts, one.metadata.actor) for one in row.fields
            ]
            assert found == [("z", 3, 3, "2"), ("x", 1, 1, "0")]
            assert row.fields[1].committed_at_us == START_US
            (row,) = view.blame("default", "a", fields=True, at=2)
            assert [(one.field, one.version) for one in row.fields] == [("x", 1), ("y", 2)]

    def test_a_fork_is_told_who_of_its_ancestors_set_it(self, store, writer):
        store.commit(writer.submit(write("k", b'{"x":1,"y":1}'), write("j", b"{}")))
        store.commit(writer.submit(mark(Fork("a", 1), agent="f")))
        store.commit(writer.submit(write("k", b'{"x":1,"y":2}', agent="f")))
        with store.view() as view:
            inherited, own = view.blame("default", "f", fields=True)
            assert (inherited.last.record.key, inherited.last.agent_id) == ("j", "a")
            assert own.last.agent_id == "f"
            assert [(one.field, one.agent_id) for one in own.fields] == [("x", "a"), ("y", "f")]


class TestExplain:
    def shown(self, view, key="k", **more):
        rows = view.explain("default", more.pop("agent", "a"), key, **more)
        return [(row.event.commit_ts, row.distance) for row in rows]

    @pytest.fixture
    def explained(self, store, writer):
        """5 wrote k, having read j (2) and nothing at n; caused by 4, which 1 and 3 led to."""
        store.commit(writer.submit(write("root")), writer.submit(write("j")))
        store.commit(writer.submit(write("x"), write("y")))
        causes = Metadata(caused_by=(1, 3))
        store.commit(writer.submit(write("cause"), metadata=causes))
        asked = [version_is("j", 1), version_is("n", 0), expect("x", Expectation.ABSENT, agent="q")]
        asked.append(expect("y", Expectation.UNCHANGED_SINCE, 3))
        made = writer.submit(
            write("k", b"5"),
            write("beside", b"5"),
            preconditions=asked,
            metadata=Metadata(caused_by=(4,)),
        )
        store.commit(made)
        store.commit(writer.submit(write("j")), writer.submit(write("k")))
        return store

    def test_it_goes_back_to_the_roots(self, explained):
        with explained.view() as view:
            assert self.shown(view, at=5) == [(5, 0), (4, 1), (2, 1), (3, 2), (1, 2)]
            assert self.shown(view, version=1) == self.shown(view, at=6)
            assert self.shown(view) == [(7, 0)]
            assert self.shown(view, at=5, limit=2) == [(5, 0), (4, 1)]
            assert self.shown(view, "none") == self.shown(view, at=4) == []
            assert self.shown(view, version=3) == []

    def test_what_was_read_is_told_with_the_commit_that_made_it(self, explained):
        with explained.view() as view:
            first = next(view.explain("default", "a", "k", 5))
            assert first.reads == (
                ReadRow("default", "a", "j", 1, 2),
                ReadRow("default", "a", "n", 0, 0),
            )

    def test_only_the_value_asked_about_is_brought(self, explained):
        with explained.view() as view:
            first = next(view.explain("default", "a", "k", 5))
            assert [(one.key, one.value) for one in first.event.operations] == [
                *(("k", b"5"), ("beside", b""))
            ]
            assert first.event.hash == view.chain_hash_at(5)

    def test_a_fork_knows_why_what_it_inherited_is_so(self, explained, writer):
        explained.commit(writer.submit(mark(Fork("a", 5), agent="f")))
        asked = [version_is("k", 1, agent="f")]
        explained.commit(writer.submit(write("own", agent="f"), preconditions=asked))
        with explained.view() as view:
            assert self.shown(view, agent="f") == self.shown(view, at=5)
            rows = list(view.explain("default", "f", "own"))
            assert rows[0].reads == (ReadRow("default", "f", "k", 1, 5),)
            assert [(row.event.commit_ts, row.distance) for row in rows[:2]] == [(9, 0), (5, 1)]
            inherited = next(view.explain("default", "f", "k"))
            assert inherited.event.operations[0].value == b"5"

    def test_marks_come_whole_and_are_no_reads(self, store, writer):
        store.commit(writer.submit(write("k")))
        label, cursor = mark(Label("l", 1)), mark(Cursor("c", 1))
        asked = [version_is(label.key, 0), version_is("c", 0, agent=cursor.agent_id)]
        store.commit(writer.submit(write("k", b"2"), label, cursor, preconditions=asked))
        with store.view() as view:
            (row,) = view.explain("default", "a", "k")
            assert row.reads == ()
            values = [one.value for one in row.event.operations]
            assert values == [b"2", label.value, cursor.value]


class TestDiff:
    def shown(self, rows):
        return [(row.key, row.a and row.a.value, row.b and row.b.value) for row in rows]

    def test_what_was_added_removed_and_changed(self, store, writer):
        store.commit(writer.submit(*[write(key, b"1") for key in ("same", "changed", "removed")]))
        store.commit(writer.submit(write("changed", b"2"), write("added", b"2"), delete("removed")))
        with store.view() as view:
            expected = [("added", None, b"2"), ("changed", b"1", b"2"), ("removed", b"1", None)]
            assert self.shown(view.diff("default", "a", 1, "a", 2)) == expected
            swapped = [(key, b, a) for key, a, b in expected]
            assert self.shown(view.diff("default", "a", 2, "a", 1)) == swapped
            assert self.shown(view.diff("default", "a", 1, "a", 2, "c")) == expected[1:2]
            assert self.shown(view.diff("default", "a", 2, "a", 2)) == []
            assert len(self.shown(view.diff("default", "a", 0, "a", 99))) == 3

    def test_a_value_written_anew_does_not_differ_but_another_kind_does(self, store, writer):
        store.commit(writer.submit(write("k", b"1"), write("j", b"1")))
        store.commit(writer.submit(write("k", b"1"), write("j", b"1", kind=Kind.BYTES)))
        with store.view() as view:
            assert self.shown(view.diff("default", "a", 1, "a", 2)) == [("j", b"1", b"1")]

    def test_two_agents_are_compared_by_what_they_hold(self, store, writer):
        store.commit(writer.submit(write("k", b"1"), write("k", b"1", agent="b"), write("z")))
        store.commit(writer.submit(write("\uffff", agent="b"), write("\U0001f600")))
        with store.view() as view:
            found = self.shown(view.diff("default", "a", 2, "b", 2))
            assert [key for key, _, _ in found] == ["z", "\uffff", "\U0001f600"]
            assert self.shown(view.diff("default", "a", 2, "nobody", 2))[0] == ("k", b"1", None)

    def test_a_fork_and_its_parent(self, store, writer):
        store.commit(writer.submit(write("k", b"1"), write("j", b"1")))
        store.commit(writer.submit(mark(Fork("a", 1), agent="f")))
        store.commit(writer.submit(write("k", b"3", agent="f")), writer.submit(delete("j")))
        with store.view() as view:
            found = self.shown(view.diff("default", "a", 4, "f", 4))
            assert found == [("j", None, b"1"), ("k", b"1", b"3")]

    def test_a_view_from_before_is_not_told_what_came_after(self, store, writer):
        store.commit(writer.submit(write("k", b"1")))
        with store.view() as view:
            store.commit(writer.submit(write("k", b"2")))
            assert self.shown(view.diff("default", "a", 1, "a", 99)) == []
