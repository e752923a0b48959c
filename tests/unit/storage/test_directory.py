"""current.json says which database is in use; damage to it is refused in words."""

from __future__ import annotations

import json

import pytest

from statehouse.storage.directory import StoreDirectory
from statehouse.storage.faults import StoreRefused


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def used(path):
    directory = StoreDirectory(path)
    directory.database.mkdir()
    directory.mark_ready()
    return directory


def test_a_new_directory_is_not_ready(path):
    directory = StoreDirectory(path)
    assert (directory.ready, directory.database, directory.durable_index) == (
        *(False, path / "db-1", 0),
    )


def test_a_first_database_that_was_not_finished_is_made_again(path):
    StoreDirectory(path).database.mkdir()
    directory = StoreDirectory(path)
    assert not directory.ready
    assert not directory.database.exists()


def test_what_was_marked_is_read_again(used, path):
    used.mark_durable(7)
    used.mark_durable(3)
    again = StoreDirectory(path)
    assert (again.ready, again.durable_index, again.database) == (True, 7, path / "db-1")


def test_a_switch_takes_the_database_moved_in(used, path, tmp_path):
    (tmp_path / "new").mkdir()
    moved = used.move_in(tmp_path / "new")
    assert used.database == path / "db-1"
    used.switch(9)
    assert StoreDirectory(path).database == moved
    assert not (path / "db-1").exists()


def test_a_database_moved_in_but_not_switched_to_is_removed(used, path, tmp_path):
    (tmp_path / "new").mkdir()
    moved = used.move_in(tmp_path / "new")
    assert StoreDirectory(path).database == path / "db-1"
    assert not moved.exists()


def test_a_missing_name_is_refused(used, path):
    (path / "current.json").unlink()
    with pytest.raises(StoreRefused, match=r"current\.json, which names it, is missing"):
        StoreDirectory(path)


def test_another_format_is_refused_in_words(used, path):
    from msgspec import structs

    current = used._current
    later = structs.replace(current, format=2)
    fields = json.loads((path / "current.json").read_bytes())
    fields |= {"format": 2, "checksum": later.sum()}
    (path / "current.json").write_text(json.dumps(fields))
    with pytest.raises(StoreRefused, match="format 2, and this program knows 1 only"):
        StoreDirectory(path)


def test_every_flipped_bit_is_refused(used, path):
    used.mark_durable(12)
    file = path / "current.json"
    whole = file.read_bytes()
    for place in range(len(whole) * 8):
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        file.write_bytes(broken)
        with pytest.raises(StoreRefused, match=r"current\.json"):
            StoreDirectory(path)
        assert used.database.exists()
