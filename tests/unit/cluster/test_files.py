"""The contract of a disk, held by the real one and by the simulated one alike."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from statehouse_cluster.files import Files, RealFiles, read_whole, write_durably

from tests.simulation.files import SimulatedFiles


@pytest.fixture(params=["real", "simulated"])
def disk(request, tmp_path) -> tuple[Files, Path]:
    """A disk and an empty directory on it."""
    if request.param == "real":
        return RealFiles(), tmp_path
    return SimulatedFiles(Path("/disk")), Path("/disk")


def test_what_was_written_is_read(disk):
    files, root = disk
    handle = files.create(root / "a")
    files.write(handle, 0, b"hello world")
    files.write(handle, 6, b"there")
    assert files.read(handle, 0, 5) == b"hello"
    assert files.read(handle, 6, 100) == b"there"
    assert files.read(handle, 100, 5) == b""
    assert files.size(handle) == 11
    files.close(handle)
    assert read_whole(files, root / "a") == b"hello there"


def test_a_write_past_the_end_leaves_zeros_before_it(disk):
    files, root = disk
    handle = files.create(root / "a")
    files.write(handle, 3, b"x")
    assert files.read(handle, 0, 10) == b"\0\0\0x"
    files.close(handle)


def test_truncation_cuts_the_end_off(disk):
    files, root = disk
    handle = files.create(root / "a")
    files.write(handle, 0, b"0123456789")
    files.truncate(handle, 4)
    files.sync_data(handle)
    files.sync(handle)
    assert files.size(handle) == 4
    assert files.read(handle, 0, 10) == b"0123"
    files.close(handle)


def test_create_empties_a_file_that_is_there_and_open_does_not(disk):
    files, root = disk
    write_durably(files, root / "a", b"something")
    handle = files.open(root / "a")
    assert files.size(handle) == 9
    files.close(handle)
    handle = files.create(root / "a")
    assert files.size(handle) == 0
    files.close(handle)


def test_a_file_that_is_not_there_cannot_be_opened_renamed_or_removed(disk):
    files, root = disk
    for attempt in (
        lambda: files.open(root / "none"),
        lambda: files.rename(root / "none", root / "other"),
        lambda: files.unlink(root / "none"),
        lambda: files.create(root / "no directory" / "a"),
        lambda: files.list_directory(root / "no directory"),
        lambda: files.sync_directory(root / "no directory"),
    ):
        with pytest.raises(FileNotFoundError):
            attempt()


def test_a_closed_handle_is_refused(disk):
    files, root = disk
    handle = files.create(root / "a")
    files.close(handle)
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.read(handle, 0, 1)


def test_names_are_listed_renamed_replaced_and_removed(disk):
    files, root = disk
    for name in ("c", "a", "b"):
        write_durably(files, root / name, name.encode())
    assert files.list_directory(root) == ["a", "b", "c"]
    files.rename(root / "a", root / "c")
    assert files.list_directory(root) == ["b", "c"]
    assert read_whole(files, root / "c") == b"a"
    files.unlink(root / "b")
    assert files.list_directory(root) == ["c"]


def test_directories_are_made_with_those_above_and_may_exist(disk):
    files, root = disk
    files.make_directory(root / "x" / "y")
    files.make_directory(root / "x" / "y")
    files.sync_directory(root / "x")
    write_durably(files, root / "x" / "y" / "a", b"1")
    assert files.list_directory(root / "x") == ["y"]
    assert files.list_directory(root / "x" / "y") == ["a"]


def test_durable_writes_leave_nothing_aside(disk):
    files, root = disk
    write_durably(files, root / "a", b"old")
    write_durably(files, root / "a", b"new")
    assert files.list_directory(root) == ["a"]
    assert read_whole(files, root / "a") == b"new"


def test_short_writes_and_reads_of_the_system_are_carried_on(tmp_path, monkeypatch):
    files = RealFiles()
    real_write, real_read = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real_write(fd, bytes(data)[:3], at))
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real_read(fd, min(size, 3), at))
    handle = files.create(tmp_path / "a")
    files.write(handle, 0, b"0123456789")
    assert files.read(handle, 0, 10) == b"0123456789"
    assert files.read(handle, 5, 10) == b"56789"
    files.close(handle)


def test_an_error_of_the_real_disk_is_passed_on(tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="full"):
        write_durably(RealFiles(), tmp_path / "a", b"1")
    assert not (tmp_path / "a").exists()
