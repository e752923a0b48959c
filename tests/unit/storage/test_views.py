"""A view stays what it was: on RocksDB and on dictionaries, while commits go on."""

from __future__ import annotations

from contextlib import closing

import pytest

from statehouse.core.keys import Table, latest_key, record_key, u64
from statehouse.core.model import AgentRow, Kind
from statehouse.storage.faults import StoreFailed
from tests.helpers.chain import check_chain
from tests.oracle.stores import Dictionaries, OnRocksDB
from tests.oracle.writing import START_US, Writer, delete, write


@pytest.fixture(params=[Dictionaries, OnRocksDB])
def store(request, tmp_path):
    with closing(request.param(tmp_path)) as made:
        yield made


@pytest.fixture
def writer():
    return Writer()


def keys_of(view, prefix="", at=None):
    return list(view.keys("default", "a", prefix, at))


def test_a_new_store_is_empty(store):
    with store.view() as view:
        assert (view.commit_ts, view.committed_at_us, view.chain_head) == (0, 0, bytes(32))
        assert view.get("default", "a", "k") is None
        assert view.get_version("default", "a", "k", 1) is None
        assert keys_of(view) == list(view.events()) == list(view.namespaces()) == []
        assert view.resolve_time(2**62) == 0


def test_a_view_does_not_see_what_is_committed_after_it(store, writer):
    store.commit(writer.submit(write("k", b"1"), write("gone")))
    with store.view() as view:
        iterator = view.scan("default", "a")
        store.commit(
            writer.submit(write("k", b"2"), delete("gone"), write("new"), write("k", agent="b")),
            at_us=START_US + 9,
        )
        store.commit(writer.submit(write("k", namespace="other")), at_us=START_US + 9)
        assert [record.value for record in iterator] == [b"1", b"1"]
        assert view.get("default", "a", "k").value == b"1"
        assert view.get("default", "a", "k", 99).value == b"1"
        assert view.get("default", "a", "new") is None
        assert view.get_version("default", "a", "k", 2) is None
        assert keys_of(view) == ["gone", "k"]
        assert list(view.agents("default")) == [AgentRow("a", 1)]
        assert list(view.namespaces()) == ["default"]
        assert [event.commit_ts for event in view.events()] == [1]
        assert [event.commit_ts for event in view.events("default", "b")] == []
        assert view.resolve_time(START_US + 9) == 1
        check_chain(view)


def test_the_past_is_read_by_commit_ts(store, writer):
    store.commit(writer.submit(write("k", b"1")))
    store.commit(writer.submit(delete("k")), writer.submit(write("j")))
    store.commit(writer.submit(write("k", b"3")))
    with store.view() as view:
        found = [view.get("default", "a", "k", at) for at in range(5)]
        assert [record and record.version for record in found] == [None, 1, 2, 2, 3]
        assert [keys_of(view, at=at) for at in range(5)] == [[], ["k"], [], ["j"], ["j", "k"]]
        values = [[r.value for r in view.scan("default", "a", "k", at)] for at in (1, 2, 4)]
        assert values == [[b"1"], [], [b"3"]]


def test_a_record_tells_all_of_itself(store, writer):
    store.commit(writer.submit(write("k", b"\x00\xff", kind=Kind.BYTES)))
    with store.view() as view:
        record = view.get("default", "a", "k")
        assert (record.key, record.kind, record.value) == ("k", Kind.BYTES, b"\x00\xff")
        assert (record.version, record.commit_ts, record.committed_at_us) == (1, 1, START_US)


def test_any_version_is_found(store, writer):
    for number in range(1, 40):
        store.commit(writer.submit(write("k", b"%d" % number), write("k", b"[%d]" % number)))
        store.commit(writer.submit(write("between")))
    with store.view() as view:
        for number in range(1, 40):
            assert view.get_version("default", "a", "k", 2 * number - 1).value == b"%d" % number
            assert view.get_version("default", "a", "k", 2 * number).value == b"[%d]" % number
        for version in (-1, 0, 79, 2**62):
            assert view.get_version("default", "a", "k", version) is None


def test_names_that_hold_separators_are_kept_apart(store, writer):
    names = [
        ("a:b", "c"),
        ("a", "b:c"),
        ("a", "b\x00c"),
        ("a\x00b", "c"),
        ("a", "b"),
        ("a\x00", ""),
    ]
    for number, (agent, key) in enumerate(names):
        store.commit(writer.submit(write(key, b"%d" % number, agent=agent)))
    with store.view() as view:
        for number, (agent, key) in enumerate(names):
            assert view.get("default", agent, key).value == b"%d" % number
            assert [event.commit_ts for event in view.events("default", agent)]
        assert keys_of(view) == ["b", "b\x00c", "b:c"]


def test_keys_come_in_bytewise_order_and_prefixes_cut_at_characters(store, writer):
    names = ["é", "z", "a", "\U0001f600", "\uffff", "aa", "A"]
    store.commit(writer.submit(*[write(name) for name in names]))
    with store.view() as view:
        assert keys_of(view) == sorted(names, key=str.encode)
        assert keys_of(view, "a") == ["a", "aa"]
        assert keys_of(view, "é") == ["é"]


def test_a_scope_tells_only_its_own(store, writer):
    store.commit(writer.submit(write("k"), write("k", agent="b"), write("k", namespace="n")))
    store.commit(writer.submit(write("k", agent="b")), writer.submit())
    with store.view() as view:
        shown = {
            scope: [(e.commit_ts, [o.agent_id for o in e.operations]) for e in view.events(*scope)]
            for scope in [(None, None), ("default", None), ("default", "a"), ("n", "b")]
        }
        assert shown[None, None] == [(1, ["a", "b", "a"]), (2, ["b"]), (3, [])]
        assert shown["default", None] == [(1, ["a", "b"]), (2, ["b"])]
        assert shown["default", "a"] == [(1, ["a"])]
        assert shown["n", "b"] == []
        with pytest.raises(ValueError, match="namespace"):
            next(view.events(agent_id="a"))


def test_a_range_of_events_includes_both_ends(store, writer):
    for _ in range(5):
        store.commit(writer.submit(write("k"), write("k")))
    with store.view() as view:
        for scope in [(None, None), ("default", None), ("default", "a")]:
            found = [event.commit_ts for event in view.events(*scope, 2, 4)]
            assert found == [2, 3, 4]
            found = [event.commit_ts for event in view.events(*scope, 2, 4, newest_first=True)]
            assert found == [4, 3, 2]
            assert list(view.events(*scope, 4, 3)) == list(view.events(*scope, 9)) == []
            assert len(list(view.events(*scope, -5, 99))) == 5


def test_a_moment_is_the_last_commit_of_its_time(store, writer):
    store.commit(writer.submit(), writer.submit())
    store.commit(writer.submit())
    store.commit(writer.submit(), at_us=START_US + 10)
    with store.view() as view:
        times = [START_US - 1, START_US, START_US + 9, START_US + 10, 2**62, -1]
        assert [view.resolve_time(time_us) for time_us in times] == [0, 3, 3, 4, 4, 0]


def test_what_the_database_lost_is_never_told_as_missing(store, writer):
    store.commit(writer.submit(write("k")))
    key = record_key(latest_key("default", "a", "k"), 1, 1)
    store.rows.write([], [(Table.RECORDS, key)])
    with store.view() as view:
        with pytest.raises(StoreFailed, match="version 1 of key 'k' is not in the database"):
            view.get("default", "a", "k")
        with pytest.raises(StoreFailed, match="version 1"):
            list(view.events())
    store.rows.write([], [(Table.EVENTS, u64(1))])
    with store.view() as view:
        with pytest.raises(StoreFailed, match="the event of commit_ts 1"):
            list(view.events("default", "a"))
        with pytest.raises(StoreFailed, match="chain"):
            check_chain(view)


def test_closing_twice_is_harmless(store):
    view = store.view()
    view.close()
    view.close()
