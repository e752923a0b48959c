"""The replicated state survives restarts, copies and installs, whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from statehouse_cluster.interfaces import Entry, Position

from statehouse.core import codec
from statehouse.core.errors import Reason
from statehouse.core.invariants import InvariantViolation
from statehouse.core.keys import META_FORMAT, META_STATE, Table, u64
from statehouse.core.model import Committed
from statehouse.storage.faults import StoreFailed, StoreRefused
from statehouse.storage.state_store import StateStore
from tests.helpers.chain import check_chain
from tests.helpers.waiting import eventually
from tests.oracle.writing import START_US, Writer, version_is, write


class Log:
    """Writes entries to a store, as consensus does."""

    def __init__(self, store, writer=None):
        self.store = store
        self.writer = writer or Writer()

    def commit(self, *operations, **more):
        return self.entry([self.writer.submit(*operations, **more)])[0]

    def entry(self, commands, configuration=None):
        index = self.store.position().index + 1
        entry = Entry(index, 3, self.store.group(commands))
        return self.store.apply([entry], Position(index, 3), configuration)[0]


def opened(path, now_us=lambda: START_US):
    return StateStore(path / "state", now_us=now_us)


@pytest.fixture
def store(tmp_path):
    with closing(opened(tmp_path)) as made:
        yield made


def test_a_new_store_is_at_the_beginning(store):
    assert store.position() == Position(0, 0)
    assert store.configuration() == b""
    assert (store.head.commit_ts, store.head.chain_hash) == (0, bytes(32))


def test_each_entry_gets_its_answers_in_order(store):
    writer = Writer()
    payloads = [
        store.group([writer.submit(write("k")), writer.submit(write("k"))]),
        store.group([]),
        store.group([writer.submit(preconditions=[version_is("k", 9)])]),
    ]
    entries = [Entry(index, 1, payload) for index, payload in zip((3, 4, 7), payloads, strict=True)]
    first, second, third = store.apply(entries, Position(9, 2), b"members")
    assert first == [Committed(1, START_US, (1,)), Committed(2, START_US, (2,))]
    assert second == []
    assert third[0].reason == Reason.CONFLICT
    assert store.position() == Position(9, 2)
    assert store.configuration() == b"members"


def test_a_position_may_move_alone_and_keeps_the_configuration(store):
    store.apply([], Position(4, 2), b"members")
    assert store.apply([], Position(5, 2), None) == []
    assert store.position() == Position(5, 2)
    assert store.configuration() == b"members"


def test_entries_must_move_on(store):
    store.apply([Entry(3, 1, store.group([]))], Position(3, 1), None)
    with pytest.raises(InvariantViolation, match="entry 3 comes after 3"):
        store.apply([Entry(3, 1, store.group([]))], Position(3, 1), None)
    with pytest.raises(InvariantViolation, match="position 3 lies before entry 4"):
        store.apply([Entry(4, 1, store.group([]))], Position(3, 1), None)


def test_a_group_takes_this_nodes_time_but_never_an_earlier_one(tmp_path):
    now_us = [START_US]
    with closing(opened(tmp_path, lambda: now_us[0])) as store:
        Log(store).commit(write("k"))
        now_us[0] -= 500
        assert codec.decode_group(store.group([])).committed_at_us == START_US
        now_us[0] += 1000
        assert codec.decode_group(store.group([])).committed_at_us == START_US + 500


def test_reopening_goes_on_where_it_was(tmp_path):
    with closing(opened(tmp_path)) as store:
        log = Log(store)
        log.commit(write("k"))
        log.entry([], configuration=b"members")
        before, position = store.head, store.position()
    with closing(opened(tmp_path)) as store:
        assert (store.head, store.position()) == (before, position)
        assert store.configuration() == b"members"
        assert Log(store, log.writer).commit(write("k")) == Committed(2, START_US, (2,))
        with store.view() as view:
            check_chain(view)


def test_receipts_survive_a_restart(tmp_path):
    command = Writer().submit(write("k"))
    with closing(opened(tmp_path)) as store:
        first = Log(store).entry([command])
    with closing(opened(tmp_path)) as store:
        assert Log(store).entry([command]) == first


def test_an_entry_that_cannot_be_read_stops_the_node_and_changes_nothing(store):
    Log(store).commit(write("k"))
    before = store.head, store.position()
    with pytest.raises(codec.CodecError, match="unknown format"):
        store.apply([Entry(2, 3, b"\x07garbage")], Position(2, 3), None)
    assert (store.head, store.position()) == before


class TestKilled:
    SCRIPT = """
import os, sys, time
from pathlib import Path
from statehouse.storage.state_store import StateStore
from tests.unit.storage.test_state_store import Log, write
store = StateStore(Path(sys.argv[1]), now_us=lambda: 1)
log = Log(store)
while True:
    log.commit(*[write(f"k{n}", b"x" * 999) for n in range(20)])
    print(log.store.position().index, flush=True)
"""

    def test_a_batch_is_never_half_there_after_a_kill(self, tmp_path):
        process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, str(tmp_path / "state")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[3]}"},
        )
        acknowledged = 0
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= 300:
                break
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        with closing(opened(tmp_path)) as store:
            # What the process wrote is in the page cache, and that survives a kill.
            assert store.position().index >= int(rest[-1] if rest else acknowledged)
            assert store.head.commit_ts == store.position().index
            with store.view() as view:
                check_chain(view)
                versions = {record.version for record in view.scan("default", "a")}
                assert versions == {store.head.commit_ts}


class TestDurable:
    def test_a_database_that_lost_what_was_durable_is_refused(self, tmp_path):
        with closing(opened(tmp_path)) as store:
            log = Log(store)
            log.commit(write("k"))
            store.checkpoint(tmp_path / "earlier")
            log.commit(write("k"))
            store.sync()
        shutil.rmtree(tmp_path / "state" / "db-1")
        os.rename(tmp_path / "earlier", tmp_path / "state" / "db-1")
        with pytest.raises(StoreRefused, match="up to entry 1, but 2 was durable before"):
            opened(tmp_path)

    def test_a_database_that_is_gone_is_refused_and_not_made_again(self, tmp_path):
        opened(tmp_path).close()
        shutil.rmtree(tmp_path / "state" / "db-1")
        with pytest.raises(StoreRefused, match="cannot be read"):
            opened(tmp_path)

    def test_a_second_open_is_refused(self, store, tmp_path):
        with pytest.raises(StoreRefused, match="cannot be opened"):
            opened(tmp_path)


class TestFormat:
    def break_row(self, tmp_path, key, row):
        with closing(opened(tmp_path)) as store:
            Log(store).commit(write("k"))
            puts = [(Table.META, key, row)] if row is not None else []
            store._database.write(puts, [] if puts else [(Table.META, key)])

    @pytest.mark.parametrize(
        ("key", "row", "says"),
        [
            (META_FORMAT, b"4", "format '4', and this program knows 3 only"),
            (META_FORMAT, None, "format none"),
            (META_STATE, b"\xff", "damaged: malformed state row"),
            (META_STATE, None, "does not say what it holds"),
            (
                META_STATE,
                codec.encode_state(codec.State(9, 9, codec.Head(2))),
                "ends at commit_ts 1",
            ),
        ],
    )
    def test_what_is_not_ours_is_refused_in_words(self, tmp_path, key, row, says):
        self.break_row(tmp_path, key, row)
        with pytest.raises(StoreRefused, match=says) as caught:
            opened(tmp_path)
        assert str(tmp_path) in str(caught.value)

    def test_an_event_that_does_not_hash_to_the_head_is_refused(self, tmp_path):
        with closing(opened(tmp_path)) as store:
            Log(store).commit(write("k"))
            row = store._database.get(Table.EVENTS, u64(1))
            store._database.write([(Table.EVENTS, u64(1), b"\x00" * 32 + row[32:])], [])
        with pytest.raises(StoreRefused, match="ends at commit_ts 1"):
            opened(tmp_path)


def wal_of(directory):
    return list((directory / "db-1").glob("*.log"))


class TestCheckpoint:
    def test_a_copy_installs_elsewhere_and_is_the_same(self, store, tmp_path):
        log = Log(store)
        command = log.writer.submit(write("k", b"7"))
        first = log.entry([command], configuration=b"members")
        store.checkpoint(tmp_path / "copy")
        log.commit(write("later"))
        with closing(StateStore(tmp_path / "other", now_us=lambda: 1)) as other:
            other.install(tmp_path / "copy")
            assert not (tmp_path / "copy").exists()
            assert other.position() == Position(1, 3)
            assert other.configuration() == b"members"
            with other.view() as view:
                check_chain(view)
                assert list(view.keys("default", "a")) == ["k"]
            assert Log(other).entry([command]) == first

    def test_a_prepared_store_has_nothing_left_to_write_out(self, store, tmp_path):
        log = Log(store)
        log.commit(*[write(f"k{n:03d}") for n in range(500)])
        eventually(store.prepare_checkpoint, what="the tables on disk")
        waiting = "rocksdb.num-entries-active-mem-table"
        assert {table.property_value(waiting) for table in store._database._tables} == {"0"}

    def test_a_power_cut_between_two_tables_leaves_one_state(self, store, tmp_path, monkeypatch):
        """Tables are written out one by one then; their log must hold all of it before."""
        log = Log(store)
        log.commit(*[write(f"k{n:03d}") for n in range(500)])
        prepared, synced = store.position(), {}
        really = store._database.sync

        def sync():
            really()
            synced.update({p.name: p.stat().st_size for p in wal_of(tmp_path / "state")})

        monkeypatch.setattr(store._database, "sync", sync)
        only_events = [store._database._tables[Table.EVENTS]]
        monkeypatch.setattr(store._database, "_tables", only_events)
        eventually(store.prepare_checkpoint, what="the events on disk")
        shutil.copytree(tmp_path / "state", tmp_path / "left")
        for path in wal_of(tmp_path / "left"):
            os.truncate(path, synced.get(path.name, 0))
        with closing(StateStore(tmp_path / "left", now_us=lambda: 1)) as left:
            assert left.position() == prepared
            with left.view() as view:
                check_chain(view)
                assert len(list(view.keys("default", "a"))) == 500

    def test_an_installed_copy_is_there_after_a_restart(self, store, tmp_path):
        Log(store).commit(write("k"))
        store.checkpoint(tmp_path / "copy")
        other = StateStore(tmp_path / "other", now_us=lambda: 1)
        other.install(tmp_path / "copy")
        other.close()
        assert [path.name for path in sorted((tmp_path / "other").glob("db-*"))] == ["db-2"]
        with closing(StateStore(tmp_path / "other", now_us=lambda: 1)) as other:
            assert other.head == store.head

    def test_a_copy_that_is_there_already_is_an_error(self, store, tmp_path):
        (tmp_path / "copy").mkdir()
        with pytest.raises(StoreFailed, match="cannot copy"):
            store.checkpoint(tmp_path / "copy")

    @pytest.mark.parametrize("damage", ["empty", "no manifest", "short table"])
    def test_an_unsound_copy_is_refused_and_the_state_stays(self, store, tmp_path, damage):
        log = Log(store)
        log.commit(write("k"))
        copy = tmp_path / "copy"
        store.checkpoint(copy)
        log.commit(write("k"))
        if damage == "empty":
            shutil.rmtree(copy)
            copy.mkdir()
        elif damage == "no manifest":
            next(copy.glob("MANIFEST-*")).unlink()
        else:
            for table in copy.glob("*.sst"):
                content = table.read_bytes()
                table.unlink()
                table.write_bytes(content[: len(content) // 2])
        with pytest.raises(StoreRefused):
            store.install(copy)
        assert log.commit(write("k")).versions == (3,)
        assert [path.name for path in (tmp_path / "state").glob("db-*")] == ["db-1"]

    def test_a_copy_from_before_is_refused(self, store, tmp_path):
        log = Log(store)
        log.commit(write("k"))
        store.checkpoint(tmp_path / "copy")
        log.commit(write("k"))
        with pytest.raises(StoreRefused, match="up to entry 1, but 2 was durable before"):
            store.install(tmp_path / "copy")
        assert store.position().index == 2

    def test_versions_go_on_from_the_installed_copy(self, store, tmp_path):
        """What was known of a key before is not what the copy says of it."""
        Log(store).commit(write("k"))
        with closing(opened(tmp_path / "other")) as other:
            log = Log(other, Writer(client=2))
            for _ in range(5):
                log.commit(write("k"))
            other.checkpoint(tmp_path / "copy")
        store.install(tmp_path / "copy")
        assert Log(store, Writer(client=3)).commit(write("k")).versions == (6,)

    def test_open_views_outlive_an_install(self, store, tmp_path):
        log = Log(store)
        log.commit(*[write(f"k{n:03d}") for n in range(500)])
        store.checkpoint(tmp_path / "copy")
        view = store.view()
        rows = view.scan("default", "a")
        next(rows)
        store.install(tmp_path / "copy")
        log.commit(write("k000"))
        assert (tmp_path / "state" / "db-1").exists()
        assert len(list(rows)) == 499
        assert view.get("default", "a", "k000").version == 1
        view.close()
        assert not (tmp_path / "state" / "db-1").exists()
        with store.view() as view:
            assert view.get("default", "a", "k000").version == 2

    def test_many_installs_leave_one_database(self, store, tmp_path):
        log = Log(store)
        for _ in range(10):
            log.commit(*[write(f"k{n}") for n in range(50)])
            store.checkpoint(tmp_path / "copy")
            store.install(tmp_path / "copy")
        assert [path.name for path in (tmp_path / "state").glob("db-*")] == ["db-11"]
        with store.view() as view:
            check_chain(view)


class TestCrashDuringInstall:
    """Wherever it is cut off, the next start finds the old state or the new one."""

    class Crash(BaseException):
        pass

    @pytest.mark.parametrize("step", range(1, 40))
    def test_the_old_or_the_new_state_is_found(self, tmp_path, monkeypatch, step):
        with closing(opened(tmp_path)) as store:
            Log(store).commit(write("k", b"1"))
            store.checkpoint(tmp_path / "copy")
        old = StateStore(tmp_path / "other", now_us=lambda: 1)
        left = [step]

        def crashing(call):
            def stepping(*arguments, **more):
                left[0] -= 1
                if left[0] == 0:
                    raise self.Crash
                return call(*arguments, **more)

            return stepping

        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "fsync", "open", "close", "walk"):
                patch.setattr(os, name, crashing(getattr(os, name)))
            patch.setattr(shutil, "rmtree", crashing(shutil.rmtree))
            try:
                old.install(tmp_path / "copy")
                finished = True
            except self.Crash:
                finished = False
        del old
        with closing(StateStore(tmp_path / "other", now_us=lambda: 1)) as found:
            assert found.head.commit_ts in ([1] if finished else [0, 1])
            assert len(list((tmp_path / "other").glob("db-*"))) == 1
            assert Log(found).commit(write("k"))


def test_readers_on_other_threads_never_see_half_a_commit(store):
    """Every commit writes the same number to all keys; a view must find them equal."""
    names = [f"k{n}" for n in range(30)]
    log = Log(store)
    stop = threading.Event()
    faults = []

    def read():
        while not stop.is_set():
            with store.view() as view:
                values = {record.value for record in view.scan("default", "a")}
                expected = {b"%d" % view.commit_ts} if view.commit_ts else set()
                if values != expected or store.head.commit_ts < view.commit_ts:
                    faults.append((view.commit_ts, values))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 400):
        log.commit(*[write(name, b"%d" % number) for name in names])
    stop.set()
    for reader in readers:
        reader.join()
    assert not faults


def test_a_closed_store_gives_no_views(tmp_path):
    store = opened(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreFailed, match="is closed"):
        store.view()


def test_a_temporary_store_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = StateStore.temporary(now_us=lambda: 1)
    Log(store).commit(write("k"))
    assert list(tmp_path.iterdir())
    store.close()
    assert list(tmp_path.iterdir()) == []
