"""Walks over events and keys: filters, proofs, and that none keeps others from their turn."""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256

import pytest

from statehouse.core.marks import Fork
from statehouse.core.model import Metadata
from statehouse.storage.breath import BREATH_BYTES, BREATH_ROWS
from tests.oracle.memory_store import MemoryStore
from tests.oracle.stores import Dictionaries, OnRocksDB
from tests.oracle.writing import Writer, delete, group, mark, version_is, write


@pytest.fixture(params=[Dictionaries, OnRocksDB])
def store(request, tmp_path):
    with closing(request.param(tmp_path)) as made:
        yield made


@pytest.fixture
def writer():
    return Writer()


def told(view, *scope, **only):
    return [event.commit_ts for event in view.events(*scope, **only)]


class TestFilters:
    def test_a_prefix_tells_only_operations_on_keys_that_begin_so(self, store, writer):
        store.commit(writer.submit(write("a/1"), write("b/1")), writer.submit(write("b/2")))
        store.commit(writer.submit(write("a/2", agent="b")), writer.submit())
        with store.view() as view:
            for scope in [(None, None), ("default", None)]:
                shown = [
                    (event.commit_ts, [one.key for one in event.operations])
                    for event in view.events(*scope, prefix="a/")
                ]
                assert shown == [(1, ["a/1"]), (3, ["a/2"])]
            assert told(view, "default", "a", prefix="a/") == [1]
            assert told(view, "default", "a", prefix="c") == []

    def test_a_run_is_found_in_its_namespace(self, store, writer):
        run = Metadata(run_id="r")
        store.commit(writer.submit(write("k"), write("k", namespace="n"), metadata=run))
        store.commit(writer.submit(write("k")), writer.submit(write("k", agent="b"), metadata=run))
        store.commit(writer.submit(write("k"), metadata=Metadata(run_id="r2")))
        store.commit(writer.submit(metadata=run))
        with store.view() as view:
            assert told(view, "default", run_id="r") == [1, 3]
            assert told(view, "default", run_id="r", newest_first=True) == [3, 1]
            assert told(view, "default", "b", run_id="r") == [3]
            assert told(view, "default", None, 2, run_id="r") == [3]
            assert told(view, "n", run_id="r") == [1]
            assert told(view, "default", run_id="r2") == [4]
            assert told(view, "default", run_id="none") == []

    def test_what_a_commit_led_to_is_found(self, store, writer):
        store.commit(writer.submit(write("k")), writer.submit(write("k")))
        store.commit(writer.submit(write("k"), metadata=Metadata(caused_by=(1, 2))))
        store.commit(writer.submit(write("k", agent="b"), metadata=Metadata(caused_by=(2,))))
        with store.view() as view:
            assert told(view, caused_by=1) == [3]
            assert told(view, caused_by=2) == [3, 4]
            assert told(view, "default", "b", caused_by=2) == [4]
            assert told(view, caused_by=2, newest_first=True) == [4, 3]
            assert told(view, caused_by=3) == []

    def test_a_view_finds_nothing_that_came_after_it(self, store, writer):
        store.commit(writer.submit(write("k")))
        with store.view() as view:
            later = Metadata(run_id="r", caused_by=(1,))
            store.commit(writer.submit(write("k"), metadata=later))
            assert told(view, "default", run_id="r") == told(view, caused_by=1) == []

    def test_two_questions_at_once_are_refused(self, store):
        with store.view() as view:
            with pytest.raises(ValueError, match="two questions"):
                view.events("default", run_id="r", caused_by=1)
            with pytest.raises(ValueError, match="need their namespace"):
                view.events(run_id="r")


class TestProofs:
    def test_the_hash_is_made_of_what_the_proof_brings(self, store, writer):
        for _ in range(3):
            store.commit(writer.submit(write("k"), write("other", agent="b")))
        with store.view() as view:
            previous = bytes(32)
            for event in view.events("default", "a", with_proof=True):
                assert event.previous_hash == previous
                assert sha256(event.previous_hash + event.canonical).digest() == event.hash
                # What lies outside the scope is in it, as its hash.
                assert b"other" in event.canonical
                assert sha256(event.operations[0].value).digest() in event.canonical
                previous = event.hash
            assert previous == view.chain_head
            (last,) = view.events("default", "a", 3, with_proof=True)
            assert last.previous_hash == view.chain_hash_at(2)

    def test_without_one_nothing_is_brought(self, store, writer):
        store.commit(writer.submit(write("k")))
        with store.view() as view:
            (event,) = view.events()
            assert event.canonical == event.previous_hash == b""


def test_one_event_is_told_without_its_values(store, writer):
    asked, metadata = version_is("j", 0), Metadata("me", caused_by=(1,))
    store.commit(writer.submit())
    made = writer.submit(write("k", b"7"), delete("j"), preconditions=[asked], metadata=metadata)
    store.commit(made)
    with store.view() as view:
        event = view.event(2)
        assert (event.commit_ts, event.txn_id, event.metadata) == (2, "t", metadata)
        assert event.body.preconditions == (asked,)
        assert [(one.key, one.version, one.kind, one.value) for one in event.operations] == [
            *(("k", 1, 1, b""), ("j", 1, 0, b""))
        ]
        assert event.hash == view.chain_head
        assert view.event(0) is view.event(-1) is view.event(3) is None


class TestBreath:
    """A walk that finds nothing to tell gives others their turn."""

    ROWS = 3 * BREATH_ROWS

    @pytest.fixture
    def barren(self, writer):
        store = MemoryStore()
        names = [f"k{number:04}" for number in range(self.ROWS)]
        store.apply(group(*[writer.submit(write(name), write("z")) for name in names]))
        store.apply(group(*[writer.submit(delete(name)) for name in names]))
        store.apply(group(writer.submit(mark(Fork("a", 1), agent="f"))))
        return store.view()

    def breaths(self, rows):
        """How often a walk breathed, and how many rows it told."""
        found = list(rows)
        return found.count(None), len(found) - found.count(None)

    def test_over_keys_that_were_deleted(self, barren):
        assert self.breaths(barren.keys("default", "a", "k")) == (3, 0)
        assert self.breaths(barren.scan("default", "a")) == (3, 1)
        assert self.breaths(barren.blame("default", "a", "k")) == (3, 0)

    def test_over_keys_that_were_not_there_yet(self, barren):
        assert self.breaths(barren.keys("default", "a", at=0)) == (3, 0)
        assert self.breaths(barren.keys("default", "f")) == (2, 2)

    def test_over_events_out_of_scope(self, barren):
        assert self.breaths(barren.events("default", None, prefix="none")) == (6, 0)
        assert self.breaths(barren.events("default", "a", prefix="none")) == (6, 0)
        assert self.breaths(barren.events("other")) == (6, 0)
        assert self.breaths(barren.events("default", "a", prefix="z")) == (3, self.ROWS)

    def test_over_what_does_not_differ(self, barren):
        last = barren.commit_ts
        assert self.breaths(barren.diff("default", "a", last, "a", last)) == (3 + 3, 0)
        half = self.ROWS
        assert self.breaths(barren.diff("default", "a", half, "a", half)) == (3, 0)

    def test_over_versions_that_settle_nothing(self, writer):
        store = MemoryStore()
        values = [b'{"x":1,"n":%d}' % number for number in range(self.ROWS)]
        store.apply(group(*[writer.submit(write("k", value)) for value in values]))
        rows = list(store.view().blame("default", "a", fields=True))
        assert [row is None for row in rows] == [True, True, False]
        assert [(one.field, one.version) for one in rows[-1].fields] == [("x", 1), ("n", self.ROWS)]

    def test_over_reads_without_end(self, writer):
        store = MemoryStore()
        asked = [version_is(f"k{number}", 0) for number in range(self.ROWS)]
        store.apply(group(writer.submit(write("k"), preconditions=asked)))
        rows = list(store.view().explain("default", "a", "k"))
        assert [row is None for row in rows] == [True, True, True, False]
        assert len(rows[-1].reads) == self.ROWS

    def test_over_large_values_whatever_their_number(self, writer):
        store = MemoryStore()
        large = b"x" * (BREATH_BYTES // 4)
        for number in range(8):
            value = b'{"x":1,"n":%d,"y":"%s"}' % (number, large)
            store.apply(group(writer.submit(write("k", value), write("k", value, agent="b"))))
        view = store.view()
        assert self.breaths(view.blame("default", "a", fields=True)) == (1, 1)
        for name in ("l", "m", "n"):
            made = write(name, large), write(name, large, agent="b")
            store.apply(group(writer.submit(*made)))
        last = store.head.commit_ts
        assert self.breaths(store.view().diff("default", "a", last, "b", last)) == (2, 0)

    def test_over_a_long_check(self, barren):
        breaths, rows = self.breaths(barren.verify())
        # Its events, then its records.
        assert (breaths, rows) == (6 + 9, 1)
