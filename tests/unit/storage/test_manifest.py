"""RocksDB's list of its files is read before RocksDB does: whole, torn at its end, or damaged."""

from __future__ import annotations

import shutil
from contextlib import closing
from random import Random

import pytest

from statehouse.core.keys import Table
from statehouse.storage import manifest
from statehouse.storage.database import Database
from statehouse.storage.faults import StoreRefused
from statehouse.storage.manifest import manifest_is_whole
from statehouse.storage.state_store import StateStore
from tests.oracle.writing import START_US
from tests.unit.storage.test_state_store import Log, write


@pytest.fixture
def file(tmp_path):
    """The manifest of a database with many flushes behind it."""
    database = Database(tmp_path / "db", create=True)
    for number in range(30):
        database.write([(Table.EVENTS, b"%d" % number, b"x")], [])
        database._tables[Table.EVENTS].flush()
    database.release()
    (found,) = (tmp_path / "db").glob("MANIFEST-*")
    return found


def flush(database):
    # No handle may be left behind: it would keep the database open.
    for table in database._tables:
        table.flush()


def records(content):
    return [place for place in range(len(content)) if manifest._is_record(content, place)]


def test_the_checksum_is_the_one_the_world_knows():
    assert manifest._crc32c(b"123456789") == 0xE3069283


def test_a_whole_one_is_whole(file):
    assert manifest_is_whole(file.parent)


def test_records_go_on_over_blocks(file):
    content = file.read_bytes()
    first_bytes = records(content)[1]
    filler = content[:first_bytes]
    blocks = bytearray()
    while len(blocks) < 3 * 32 * 1024:
        left = 32 * 1024 - len(blocks) % (32 * 1024)
        blocks += bytes(left) if left < 7 else filler if left >= len(filler) else part(left)
    file.write_bytes(blocks)
    assert manifest_is_whole(file.parent)
    blocks[40_000] ^= 1
    file.write_bytes(blocks)
    with pytest.raises(StoreRefused, match="is damaged: the record at byte"):
        manifest_is_whole(file.parent)


def part(record_bytes):
    content = b"\x02" + b"x" * (record_bytes - 7)
    checksum = manifest._masked(manifest._crc32c(content))
    return manifest._HEADER.pack(checksum, record_bytes - 7, 2) + content[1:]


def test_one_cut_inside_its_last_record_is_torn(file):
    content = file.read_bytes()
    last = records(content)[-1]
    for cut in range(last + 1, len(content)):
        file.write_bytes(content[:cut])
        assert not manifest_is_whole(file.parent)
    file.write_bytes(content[:last] + bytes(len(content) - last))
    assert not manifest_is_whole(file.parent)


def test_every_flip_before_the_last_record_is_damage(file):
    content = file.read_bytes()
    last = records(content)[-1]
    random = Random(1)
    for place in random.sample(range(last), 200):
        broken = bytearray(content)
        broken[place] ^= 1 << random.randrange(8)
        file.write_bytes(broken)
        with pytest.raises(StoreRefused, match=r"MANIFEST-\d+ is damaged"):
            manifest_is_whole(file.parent)


@pytest.mark.parametrize(
    "name", [b"", b"MANIFEST-", b"MANIFEST-1", b"../../etc/passwd\n", b"\xff\n"]
)
def test_a_pointer_to_nothing_is_refused(file, name):
    (file.parent / "CURRENT").write_bytes(name)
    with pytest.raises(StoreRefused, match="names no manifest"):
        manifest_is_whole(file.parent)


def test_a_missing_one_is_refused(file):
    file.unlink()
    with pytest.raises(StoreRefused, match="cannot be read"):
        manifest_is_whole(file.parent)
    (file.parent / "CURRENT").unlink()
    with pytest.raises(StoreRefused, match="CURRENT is damaged"):
        manifest_is_whole(file.parent)


def test_files_a_torn_manifest_forgot_are_missed_and_stay(tmp_path):
    """RocksDB alone would open without them, and delete them."""
    with closing(StateStore(tmp_path / "state", now_us=lambda: START_US)) as store:
        log = Log(store)
        (file,) = (tmp_path / "state" / "db-1").glob("MANIFEST-*")
        before_bytes = file.stat().st_size
        log.commit(write("k"))
        flush(store._database)
        log.commit(write("k"))
        shutil.copytree(tmp_path / "state", tmp_path / "crashed")
    path = tmp_path / "crashed" / "db-1"
    with (path / file.name).open("r+b") as manifest_file:
        manifest_file.truncate(before_bytes + 3)
    tables = sorted(path.glob("*.sst"))
    for _ in range(2):
        with pytest.raises(StoreRefused, match="has lost the event of commit_ts 1"):
            StateStore(tmp_path / "crashed", now_us=lambda: START_US)
        assert sorted(path.glob("*.sst")) == tables


def test_a_torn_end_that_cost_nothing_is_accepted(tmp_path):
    with closing(StateStore(tmp_path / "state", now_us=lambda: START_US)) as store:
        Log(store).commit(write("k"))
    (file,) = (tmp_path / "state" / "db-1").glob("MANIFEST-*")
    file.write_bytes(file.read_bytes() + b"torn")
    with closing(StateStore(tmp_path / "state", now_us=lambda: START_US)) as store:
        assert store.head.commit_ts == 1
