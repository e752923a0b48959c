"""The check of a node's own record: it tells how far it is, and the first thing that is wrong."""

from __future__ import annotations

from contextlib import closing

import pytest

from statehouse.core import marks
from statehouse.core.digest import event_hash
from statehouse.core.keys import Table, agent_key, latest_key, record_key, u64
from statehouse.core.marks import Cursor, Fork, Label
from statehouse.core.model import Kind, VerifyRow
from statehouse.storage import breath, verifying
from tests.oracle.stores import Dictionaries, OnRocksDB
from tests.oracle.writing import START_US, Writer, delete, mark, write


@pytest.fixture(params=[Dictionaries, OnRocksDB])
def store(request, tmp_path):
    """1: a; 2: b; 3: both; 4: a fork of a at 1; 5: a delete."""
    with closing(request.param(tmp_path)) as made:
        writer = Writer()
        made.commit(writer.submit(write("k", b"1")))
        made.commit(writer.submit(write("k", b"2", agent="b")))
        made.commit(writer.submit(write("k", b"3"), write("k", b"3", agent="b")))
        made.commit(writer.submit(mark(Fork("a", 1), agent="f")))
        made.commit(writer.submit(delete("k", agent="f")))
        yield made


def last(rows):
    rows = list(rows)
    assert [row.finished for row in rows if row is not None] == [False] * (len(rows) - 1) + [True]
    return rows[-1]


def of_agent(view, agent):
    return last(view.verify(namespace="default", agent_id=agent))


def test_a_sound_record_is_found_sound(store):
    with store.view() as view:
        assert last(view.verify()) == VerifyRow(5, 5, view.chain_head, finished=True)
        assert last(view.verify(after=3)) == VerifyRow(2, 5, view.chain_head, finished=True)
        assert last(view.verify(after=5)) == VerifyRow(0, 5, view.chain_head, finished=True)
        assert of_agent(view, "a") == VerifyRow(2, 3, view.chain_hash_at(3), finished=True)
        assert of_agent(view, "f") == VerifyRow(3, 5, view.chain_head, finished=True)
        assert of_agent(view, "nobody") == VerifyRow(0, 0, bytes(32), finished=True)


def test_a_view_checks_no_more_than_it_sees(store):
    with store.view() as view:
        store.commit(Writer(2).submit(write("k")))
        store.rows.write([(Table.EVENTS, u64(6), b"\x00" * 40)], [])
        assert not last(view.verify()).fault


def test_odd_questions_are_refused(store):
    with store.view() as view:
        for odd in ({"namespace": "default"}, {"agent_id": "a"}):
            with pytest.raises(ValueError, match="everything, or one agent"):
                view.verify(**odd)
        for after in (-1, 6):
            with pytest.raises(ValueError, match="not between 0 and 5"):
                view.verify(after)
        with pytest.raises(ValueError, match="from its first"):
            view.verify(1, "default", "a")


def test_a_changed_event_is_named(store):
    row = store.rows.get(Table.EVENTS, u64(3))
    for place in (0, 40, len(row) - 1):
        changed = row[:place] + bytes([row[place] ^ 1]) + row[place + 1 :]
        store.rows.write([(Table.EVENTS, u64(3), changed)], [])
        with store.view() as view:
            found = last(view.verify())
            assert (found.bad_commit_ts, found.events, found.through) == (3, 2, 2)
            assert found.chain_hash == view.chain_hash_at(2)
            assert "commit_ts 3 has another hash" in found.fault
            assert of_agent(view, "a").bad_commit_ts == of_agent(view, "b").bad_commit_ts == 3
            assert not last(view.verify(after=3)).fault or place < 32


def test_an_event_that_was_written_anew_with_its_hash_breaks_the_next(store):
    previous, row = (store.rows.get(Table.EVENTS, u64(number)) for number in (1, 2))
    body = row[32:].replace(b"k", b"j")
    forged = event_hash(previous[:32], body) + body
    store.rows.write([(Table.EVENTS, u64(2), forged)], [])
    with store.view() as view:
        found = last(view.verify())
        # The value told of is not there; with that forged too, the chain would break at 3.
        assert (found.bad_commit_ts, found.through) == (2, 1)
        assert last(view.verify(after=2)).bad_commit_ts == 3
        assert of_agent(view, "a").bad_commit_ts == 3


def test_a_lost_event_is_named(store):
    store.rows.write([], [(Table.EVENTS, u64(2))])
    with store.view() as view:
        assert last(view.verify()).fault == "the event of commit_ts 2 is not there"
        found = of_agent(view, "a")
        assert (found.bad_commit_ts, found.through) == (3, 1)
        assert "commit_ts 2 is not in the database" in found.fault
        assert "commit_ts 2 is not in the database" in last(view.verify(after=2)).fault
    store.rows.write([], [(Table.EVENTS, u64(number)) for number in (3, 4, 5)])
    with store.view() as view:
        assert last(view.verify()).bad_commit_ts == 2
        assert "ends before commit_ts 5" in last(view.verify()).fault


def test_a_changed_or_lost_value_is_named(store):
    key = record_key(latest_key("default", "b", "k"), 3, 2)
    row = store.rows.get(Table.RECORDS, key)
    store.rows.write([(Table.RECORDS, key, row[:-1] + b"4")], [])
    with store.view() as view:
        found = last(view.verify())
        text = "the value of version 2 of key 'k' has another hash"
        assert (found.bad_commit_ts, found.fault) == (3, text)
        assert not of_agent(view, "a").fault
        assert of_agent(view, "b").bad_commit_ts == 3
    store.rows.write([], [(Table.RECORDS, key)])
    with store.view() as view:
        assert "version 2 of key 'k' is not in the database" in last(view.verify()).fault


def test_a_value_is_checked_of_what_comes_after_too(store):
    key = record_key(latest_key("default", "b", "k"), 3, 2)
    row = store.rows.get(Table.RECORDS, key)
    store.rows.write([(Table.RECORDS, key, row[:-1] + b"4")], [])
    with store.view() as view:
        assert last(view.verify(after=2)).bad_commit_ts == 3
        assert not last(view.verify(after=3)).fault


@pytest.mark.parametrize("place", [0, 8])
def test_a_record_of_another_kind_or_time_is_named(store, place):
    key = record_key(latest_key("default", "b", "k"), 3, 2)
    row = store.rows.get(Table.RECORDS, key)
    changed = row[:place] + bytes([row[place] ^ 1]) + row[place + 1 :]
    store.rows.write([(Table.RECORDS, key, changed)], [])
    with store.view() as view:
        found = last(view.verify())
        text = "version 2 of key 'k' is of another kind or time"
        assert (found.bad_commit_ts, found.fault) == (3, text)
        assert of_agent(view, "b").bad_commit_ts == 3


def test_a_lost_delete_is_named(store):
    """Without its record, what was deleted would be there again for whoever reads as of then."""
    store.rows.write([], [(Table.RECORDS, record_key(latest_key("default", "f", "k"), 5, 2))])
    with store.view() as view:
        found = last(view.verify())
        assert (found.bad_commit_ts, found.through) == (5, 4)
        assert "version 2 of key 'k' is not in the database" in found.fault


def test_values_that_changed_places_are_found(store):
    keys = [
        record_key(latest_key("default", name, "k"), at, 1) for name, at in (("a", 1), ("b", 2))
    ]
    one, other = [store.rows.get(Table.RECORDS, key) for key in keys]
    assert one != other
    store.rows.write([(Table.RECORDS, keys[0], other), (Table.RECORDS, keys[1], one)], [])
    with store.view() as view:
        found = last(view.verify())
        assert "the value of version 1 of key 'k'" in found.fault
        assert found.bad_commit_ts == 1


def test_a_record_of_which_no_event_tells_is_found(store):
    row = store.rows.get(Table.RECORDS, record_key(latest_key("default", "b", "k"), 3, 2))
    for commit_ts, agent in ((4, "a"), (2, "z")):
        stray = record_key(latest_key("default", agent, "k"), commit_ts, 3)
        store.rows.write([(Table.RECORDS, stray, row)], [])
    with store.view() as view:
        found = last(view.verify())
        assert (found.bad_commit_ts, found.events) == (2, 5)
        assert found.fault == "a version 3 was recorded of which no event tells"
        assert of_agent(view, "a").bad_commit_ts == 4
        assert not of_agent(view, "b").fault
        # It came after the fork.
        assert not of_agent(view, "f").fault


@pytest.mark.parametrize("event", [None, b"\x00" * 40], ids=["lost", "damaged"])
def test_a_stray_record_is_found_when_the_event_it_names_cannot_be_read(store, event):
    row = store.rows.get(Table.RECORDS, record_key(latest_key("default", "a", "k"), 3, 2))
    stray = record_key(latest_key("default", "a", "k"), 5, 3)
    store.rows.write([(Table.RECORDS, stray, row)], [(Table.EVENTS, u64(5))])
    if event is not None:
        store.rows.write([(Table.EVENTS, u64(5), event)], [])
    with store.view() as view:
        found = of_agent(view, "a")
        assert found.bad_commit_ts == 5
        assert found.fault == "a version 3 was recorded of which no event tells"


def test_a_stray_record_beside_a_changed_value_does_not_hide_it(store):
    key = record_key(latest_key("default", "b", "k"), 3, 2)
    row = store.rows.get(Table.RECORDS, key)
    stray = record_key(latest_key("default", "a", "k"), 1, 3)
    store.rows.write([(Table.RECORDS, stray, row), (Table.RECORDS, key, row[:-1] + b"4")], [])
    with store.view() as view:
        assert "the value of version 2 of key 'k'" in last(view.verify()).fault


def test_a_head_that_names_another_event_is_told(store):
    with store.view() as view:
        view.chain_head = bytes(32)
        found = last(view.verify())
        assert (found.bad_commit_ts, "head of the chain" in found.fault) == (5, True)


def test_a_fork_is_checked_with_what_it_inherits(store):
    key = record_key(latest_key("default", "a", "k"), 1, 1)
    row = store.rows.get(Table.RECORDS, key)
    store.rows.write([(Table.RECORDS, key, row[:-1] + b"4")], [])
    with store.view() as view:
        assert of_agent(view, "f").bad_commit_ts == 1


def test_an_event_its_agent_names_but_the_database_lost_is_told(store):
    store.rows.write([(Table.AGENT_EVENTS, agent_key("default", "q") + u64(4), b"")], [])
    store.rows.write([], [(Table.EVENTS, u64(4))])
    with store.view() as view:
        assert of_agent(view, "q").bad_commit_ts == 4


def test_it_tells_now_and_then_how_far_it_is(store, monkeypatch):
    monkeypatch.setattr(breath, "BREATH_ROWS", 1)
    monkeypatch.setattr(verifying, "_PROGRESS_BREATHS", 2)
    with store.view() as view:
        rows = list(view.verify())
        told = [None if row is None else (row.events, row.through, row.finished) for row in rows]
        # Five events, then the records of six operations.
        chain = [None, (2, 2, False), None, (4, 4, False), None]
        assert told[:5] == chain
        assert told[5:] == [(5, 5, False), None] * 3 + [(5, 5, True)]
        agent = list(view.verify(namespace="default", agent_id="a"))
        assert [row is None for row in agent] == [True, False, True, False, False]


def test_large_values_make_it_breathe_as_many_rows_do(store, monkeypatch):
    monkeypatch.setattr(breath, "BREATH_BYTES", 1)
    with store.view() as view:
        assert list(view.verify()).count(None) == 5 + 6


@pytest.fixture
def everything_there_is():
    """One of all that is ever recorded, in dictionaries."""
    made, writer = Dictionaries(None), Writer()
    made.commit(writer.submit(write("k", b'{"x":1}'), write("j", b"1", agent="b")))
    made.commit(
        writer.submit(
            write("k", b"\x00\xff", kind=Kind.BYTES), write("empty", b"", kind=Kind.BYTES)
        )
    )
    made.commit(writer.submit(mark(Label("here", 2))), writer.submit(mark(Fork("a", 1), agent="f")))
    made.commit(
        writer.submit(delete("k"), write("k", b"2", agent="f"), write("k", b"2", agent="f"))
    )
    made.commit(writer.submit(mark(Cursor("c", 3, "a"), agent=marks.CURSORS)))
    made.commit(writer.submit(write("k", b"3", namespace="other")), at_us=START_US + 5)
    return made


def test_every_changed_byte_and_every_lost_row_is_found(everything_there_is):
    store = everything_there_is
    with store.view() as view:
        assert not last(view.verify()).fault
    for table in (Table.EVENTS, Table.RECORDS):
        for key, row in list(store.rows.tables[table].items()):
            for place in range(len(row)):
                changed = row[:place] + bytes([row[place] ^ 4]) + row[place + 1 :]
                store.rows.write([(table, key, changed)], [])
                with store.view() as view:
                    assert last(view.verify()).fault, (table, key, place)
            store.rows.write([], [(table, key)])
            with store.view() as view:
                assert last(view.verify()).fault, (table, key)
            store.rows.write([(table, key, row)], [])
    with store.view() as view:
        assert not last(view.verify()).fault


def test_every_row_in_another_place_is_found(everything_there_is):
    store = everything_there_is
    records = dict(store.rows.tables[Table.RECORDS])
    for key, row in records.items():
        for other, its_row in records.items():
            if row != its_row:
                store.rows.write([(Table.RECORDS, other, row), (Table.RECORDS, key, its_row)], [])
                with store.view() as view:
                    assert last(view.verify()).fault, (key, other)
                store.rows.write([(Table.RECORDS, key, row), (Table.RECORDS, other, its_row)], [])
