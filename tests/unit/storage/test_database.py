"""One RocksDB: batches, walks, its users, and errors that are never taken for an end."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rocksdict import Options, Rdict

from statehouse.core.keys import Table
from statehouse.storage import database as database_module
from statehouse.storage.database import Database
from statehouse.storage.faults import StoreFailed, StoreRefused


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "db", create=True)
    yield made
    if made._users:
        made.release()


@pytest.fixture(scope="module")
def database_once(tmp_path_factory):
    made = Database(tmp_path_factory.mktemp("once") / "db", create=True)
    yield made
    made.release()


def put(database, *keys, table=Table.EVENTS):
    database.write([(table, key, b"row of " + key) for key in keys], [])


def test_rows_are_written_and_deleted_together(database):
    put(database, b"a", b"b")
    database.write([(Table.EVENTS, b"c", b"3")], [(Table.EVENTS, b"a")])
    assert [key for key, _ in database.forward(Table.EVENTS, b"", b"")] == [b"b", b"c"]
    assert database.get(Table.EVENTS, b"a") is None
    assert database.get(Table.EVENTS, b"b") == b"row of b"


def test_tables_are_apart(database):
    put(database, b"a")
    assert database.get(Table.RECORDS, b"a") is None
    assert database.first(Table.RECORDS, b"") is None


def test_seeks_find_the_nearest(database):
    put(database, b"b", b"d")
    assert database.first(Table.EVENTS, b"b") == (b"b", b"row of b")
    assert database.first(Table.EVENTS, b"c")[0] == b"d"
    assert database.first(Table.EVENTS, b"e") is None
    assert database.last(Table.EVENTS, b"d")[0] == b"d"
    assert database.last(Table.EVENTS, b"c")[0] == b"b"
    assert database.last(Table.EVENTS, b"a") is None


def test_walks_keep_to_their_prefix(database):
    put(database, b"a1", b"b1", b"b2", b"b3", b"c1")
    forward = database.forward(Table.EVENTS, b"b2", b"b")
    assert [key for key, _ in forward] == [b"b2", b"b3"]
    backward = database.backward(Table.EVENTS, b"b2", b"b")
    assert [key for key, _ in backward] == [b"b2", b"b1"]
    assert list(database.forward(Table.EVENTS, b"d", b"")) == []


@pytest.mark.parametrize("prefix", [b"", b"a/", b"b", b"c"])
@pytest.mark.parametrize("rest", [b"", b"05", b"19", b"99"])
def test_batches_hold_what_a_walk_tells(database, prefix, rest):
    start = prefix + rest
    put(database, *[b"a/%02d" % number for number in range(20)], b"b1", b"b2")
    batches = database.batches(Table.EVENTS, start, prefix)
    walk = database.forward(Table.EVENTS, start, prefix)
    assert list(chain.from_iterable(batches)) == list(walk)


@given(
    there=st.sets(st.integers(0, 60)),
    wanted=st.sets(st.integers(0, 60)),
    backward=st.booleans(),
)
def test_some_rows_are_found_as_by_looking_up_each(database_once, there, wanted, backward):
    gone = [(Table.EVENTS, key) for key, _ in database_once.forward(Table.EVENTS, b"", b"")]
    database_once.write([], gone)
    put(database_once, *[b"%02d" % number for number in there])
    keys = [b"%02d" % number for number in sorted(wanted, reverse=backward)]
    found = list(database_once.some(Table.EVENTS, keys, backward))
    assert found == [database_once.get(Table.EVENTS, key) for key in keys]


def test_a_database_with_other_tables_is_refused_in_words(tmp_path):
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    older = Rdict(str(tmp_path / "db"), options)
    for table in list(Table)[:-1]:
        older.create_column_family(table.name, Options(raw_mode=True))
    older.close()
    with pytest.raises(StoreRefused, match="of another format: run the version that wrote it"):
        Database(tmp_path / "db")


def test_the_cache_holds_what_is_large(database):
    """The filter of a large file, asked by every get, must not be read from disk each time."""
    database.write([(Table.EVENTS, b"k", os.urandom(4_000_000))], [])
    database._tables[Table.EVENTS].flush()
    before = database_module._cache.get_usage()
    database.get(Table.EVENTS, b"k")
    assert database_module._cache.get_usage() - before > 4_000_000


def test_a_missing_database_is_refused_and_not_made(tmp_path):
    with pytest.raises(StoreRefused, match="cannot be opened"):
        Database(tmp_path / "none", create=False)
    with pytest.raises(StoreRefused, match="cannot be opened"):
        Database(tmp_path / "none", create=False)


def test_it_is_closed_when_the_last_user_is_done(database):
    closed = []
    database.when_closed(lambda: closed.append(True))
    database.retain()
    database.release()
    put(database, b"a")
    assert not closed
    database.release()
    assert closed
    with pytest.raises(StoreFailed, match="is closed"):
        database.retain()


def test_a_walk_under_way_keeps_the_files_readable(database):
    put(database, *[b"%03d" % number for number in range(300)])
    walk = database.forward(Table.EVENTS, b"", b"")
    next(walk)
    batches = database.batches(Table.EVENTS, b"", b"")
    assert len(next(batches)) == 1
    database.release()
    assert len(list(walk)) == 299
    assert sum(map(len, batches)) == 299


def test_a_damaged_row_on_a_walk_is_an_error_and_not_the_end(tmp_path):
    with closing(_Released(Database(tmp_path / "db", create=True))) as made:
        for number in range(2000):
            put(made.database, b"%06d" % number)
        made.database._tables[Table.EVENTS].flush()
    for table in (tmp_path / "db").glob("*.sst"):
        content = bytearray(table.read_bytes())
        if len(content) > 10_000:
            content[len(content) // 3] ^= 0xFF
            table.write_bytes(content)
    with closing(_Released(Database(tmp_path / "db", create=False))) as made:
        with pytest.raises(StoreFailed, match="cannot read"):
            list(made.database.forward(Table.EVENTS, b"", b""))
        with pytest.raises(StoreFailed, match="cannot read"):
            list(made.database.batches(Table.EVENTS, b"", b""))
        told = []
        made.database.when_failed(told.append)
        with pytest.raises(StoreFailed, match="cannot read") as raised:
            list(made.database.backward(Table.EVENTS, b"\xff", b""))
        assert told == [raised.value]
        for backward in (False, True):
            keys = [b"%06d" % number for number in range(2000)]
            with pytest.raises(StoreFailed, match="cannot read"):
                list(made.database.some(Table.EVENTS, keys[:: -1 if backward else 1], backward))


class _Released:
    def __init__(self, database):
        self.database = database

    def close(self):
        self.database.release()
