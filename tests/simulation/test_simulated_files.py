"""The simulated disk forgets what was not synced, and only that; it fails where it is told to."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest
from statehouse_cluster.files import read_whole, write_durably

from tests.simulation.files import SECTOR_BYTES, Crash, SimulatedFiles

ROOT = Path("/disk")
A = ROOT / "a"


def outcomes(make, look, count: int = 300) -> set:
    """What `look` sees after `make` and a crash, over many seeds."""
    seen = set()
    for seed in range(count):
        files = SimulatedFiles(ROOT)
        make(files)
        files.crash(Random(seed))
        seen.add(look(files))
    return seen


def names(files: SimulatedFiles) -> tuple[str, ...]:
    return tuple(files.list_directory(ROOT))


def test_a_durable_write_survives_every_crash():
    assert outcomes(lambda files: write_durably(files, A, b"1"), lambda f: read_whole(f, A)) == {
        b"1"
    }


def test_a_replacement_is_whole_or_has_not_happened():
    def make(files: SimulatedFiles) -> None:
        write_durably(files, A, b"old")
        handle = files.create(ROOT / "a.new")
        files.write(handle, 0, b"new")
        files.sync(handle)
        files.rename(ROOT / "a.new", A)

    assert outcomes(make, lambda files: read_whole(files, A)) == {b"old", b"new"}


def test_a_name_that_was_not_synced_may_be_gone():
    def make(files: SimulatedFiles) -> None:
        files.sync(files.create(A))
        files.sync(files.create(ROOT / "b"))

    assert outcomes(make, names) == {(), ("a",), ("b",), ("a", "b")}


def test_a_removal_that_was_not_synced_may_not_have_happened():
    def make(files: SimulatedFiles) -> None:
        write_durably(files, A, b"1")
        files.unlink(A)

    assert outcomes(make, names) == {(), ("a",)}


def test_what_lies_in_a_directory_that_is_lost_is_lost():
    def make(files: SimulatedFiles) -> None:
        files.make_directory(ROOT / "d")
        write_durably(files, ROOT / "d" / "a", b"1")

    def look(files: SimulatedFiles) -> bool:
        try:
            return read_whole(files, ROOT / "d" / "a") == b"1"
        except FileNotFoundError:
            return False

    assert outcomes(make, look) == {True, False}


def test_bytes_that_were_not_synced_are_kept_lost_or_torn_by_sectors():
    new = b"n" * (3 * SECTOR_BYTES)

    def make(files: SimulatedFiles) -> None:
        write_durably(files, A, b"o" * 10)
        files.write(files.open(A), 10, new)

    seen = outcomes(make, lambda files: files.content(A))
    whole = b"o" * 10 + new
    assert b"o" * 10 in seen
    assert whole in seen
    assert any(len(content) < len(whole) and whole.startswith(content) for content in seen)
    assert any(bytes(SECTOR_BYTES) in content for content in seen)
    assert all(content.startswith(b"o" * 10) for content in seen)
    for content in seen:
        for start in range(0, len(content), SECTOR_BYTES):
            share = content[max(start, 10) : start + SECTOR_BYTES]
            assert share.strip(b"n") == b"" or share.strip(b"\0") == b""


def test_a_truncation_that_was_not_synced_has_happened_or_not():
    def make(files: SimulatedFiles) -> None:
        write_durably(files, A, b"0123456789")
        files.truncate(files.open(A), 3)

    assert outcomes(make, lambda files: files.content(A)) == {b"0123456789", b"012"}


def test_a_killed_process_loses_its_handles_and_nothing_else():
    files = SimulatedFiles(ROOT)
    handle = files.create(A)
    files.write(handle, 0, b"1")
    files.kill()
    assert files.open_handles == 0
    assert files.content(A) == b"1"
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.write(handle, 0, b"2")


def test_one_seed_is_one_outcome():
    def run(seed: int) -> bytes:
        files = SimulatedFiles(ROOT)
        write_durably(files, A, b"")
        files.write(files.open(A), 0, b"x" * 5000)
        files.crash(Random(seed))
        return files.content(A)

    assert all(run(seed) == run(seed) for seed in range(50))


def test_the_nth_operation_fails_and_the_next_does_not():
    files = SimulatedFiles(ROOT)
    handle = files.create(A)
    files.fail_at(files.operation_count + 2, errno.EIO)
    files.write(handle, 0, b"1")
    with pytest.raises(OSError, match="Input/output error"):
        files.sync(handle)
    files.sync(handle)


def test_a_write_that_fails_has_written_a_part():
    files = SimulatedFiles(ROOT)
    handle = files.create(A)
    files.fail_at(files.operation_count + 1, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        files.write(handle, 0, b"12345678")
    assert files.content(A) == b"1234"


def test_after_a_crash_nothing_happens_until_power_is_back():
    files = SimulatedFiles(ROOT)
    write_durably(files, A, b"old")
    files.crash_at(files.operation_count + 1)
    with pytest.raises(Crash):
        files.open(A)
    with pytest.raises(Crash):
        files.unlink(A)
    files.crash(Random(1))
    assert read_whole(files, A) == b"old"
