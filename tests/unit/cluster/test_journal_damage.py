"""A torn end is cut off, everything else that is not as it was written is refused."""

from __future__ import annotations

import struct
from itertools import product
from pathlib import Path
from random import Random

import pytest
from statehouse_cluster.journal import Journal, JournalDamaged, JournalFailed, LogEntry
from statehouse_cluster.record import encode_record
from statehouse_cluster.segment import parse_segment_name

from tests.simulation.files import SECTOR_BYTES, SimulatedFiles

DIRECTORY = Path("/disk/journal")
ZEROS = bytes(3 * SECTOR_BYTES)


class Disk:
    """A disk with a journal of several segments and batches, closed in good order."""

    def __init__(self, *last_batch: bytes, segment_bytes: int = 2500) -> None:
        self.files = SimulatedFiles(Path("/disk"))
        self.reports: list[str] = []
        self.segment_bytes = segment_bytes
        journal = self.open()
        journal.set_term_and_vote(2, "n1")
        for number in range(9):
            journal.append(b"entry %d" % number * 20, journal.last_index + 1, 1)
            journal.append(b"first" + ZEROS[: 400 * number], journal.last_index + 1, 1)
            journal.flush()
        self.before = content(journal)
        self.before_bytes = len(self.files.content(self.last))
        for payload in last_batch:
            journal.append(payload, journal.last_index + 1, 2)
        journal.flush()
        self.entries = content(journal)
        journal.close()
        self.written = self.files.content(self.last)

    def open(self) -> Journal:
        return Journal.open(
            DIRECTORY,
            self.files,
            segment_bytes=self.segment_bytes,
            report=self.reports.append,
        )

    @property
    def segments(self) -> list[Path]:
        names = self.files.list_directory(DIRECTORY)
        return [DIRECTORY / name for name in names if parse_segment_name(name)]

    @property
    def last(self) -> Path:
        return self.segments[-1]

    def everything(self) -> dict[str, bytes]:
        names = self.files.list_directory(DIRECTORY)
        return {name: self.files.content(DIRECTORY / name) for name in names}

    def refuses(self, words: str) -> JournalDamaged:
        """Opening is refused with these words and leaves every byte as it was."""
        found = self.everything()
        with pytest.raises(JournalDamaged, match=words) as caught:
            self.open()
        assert self.everything() == found
        assert self.reports == []
        assert "Replace this member" in str(caught.value)
        return caught.value

    def flip(self, path: Path, byte: int, bit: int) -> None:
        damaged = bytearray(self.files.content(path))
        damaged[byte] ^= 1 << bit
        self.files.damage(path, bytes(damaged))


def content(journal: Journal) -> list[LogEntry]:
    return list(journal.view(journal.first_index, journal.last_index + 1))


LAST_BATCHES = [
    (b"alone",),
    (b"one", b"two" * 400, b"three"),
    (ZEROS, b"x" + ZEROS, ZEROS),
    (b"",),
    (b"\xff" * 1000 + ZEROS + b"\xff" * 700,),
]


@pytest.mark.parametrize("last_batch", LAST_BATCHES)
def test_no_flipped_bit_anywhere_loses_an_entry_or_the_vote(last_batch):
    disk = Disk(*last_batch)
    random = Random(7)
    paths = [*disk.segments, DIRECTORY / "vote"]
    for path in paths:
        intact = disk.files.content(path)
        step = 7 if path in paths[:-2] else 1
        refused = []
        for byte in range(0, len(intact), step):
            disk.flip(path, byte, random.randrange(8))
            try:
                journal = disk.open()
            except JournalDamaged as error:
                refused.append(error.path)
            else:
                assert content(journal) == disk.entries
                assert (journal.term, journal.vote) == (2, "n1")
                journal.close()
            disk.files.damage(path, intact)
        assert refused == [path] * len(range(0, len(intact), step))
    assert disk.reports == []


@pytest.mark.parametrize("last_batch", LAST_BATCHES)
def test_no_byte_of_the_last_batch_set_to_another_value_passes_for_torn(last_batch):
    disk = Disk(*last_batch, segment_bytes=10**6)
    random = Random(8)
    for byte in range(disk.before_bytes, len(disk.written)):
        value = random.choice([v for v in range(1, 256) if v != disk.written[byte]])
        damaged = bytearray(disk.written)
        damaged[byte] = value
        disk.files.damage(disk.last, bytes(damaged))
        disk.refuses("does not match its checksum")


@pytest.mark.parametrize("last_batch", LAST_BATCHES)
def test_an_end_cut_anywhere_in_the_last_batch_is_torn(last_batch):
    disk = Disk(*last_batch, segment_bytes=10**6)
    step = max(1, (len(disk.written) - disk.before_bytes) // 200)
    for size_bytes in range(disk.before_bytes + 1, len(disk.written), step):
        disk.files.damage(disk.last, disk.written[:size_bytes])
        disk.reports.clear()
        found = content(disk.open())
        assert found == disk.entries[: len(found)]
        assert len(disk.before) <= len(found) < len(disk.entries)
        whole = len(disk.files.content(disk.last)) == size_bytes
        assert disk.reports == [] if whole else "runs past the end" in disk.reports[0]
        assert content(disk.open()) == found


@pytest.mark.parametrize("last_batch", LAST_BATCHES)
def test_sectors_of_the_last_batch_that_were_not_written_are_torn(last_batch):
    disk = Disk(*last_batch, segment_bytes=10**6)
    first = disk.before_bytes // SECTOR_BYTES
    count = (len(disk.written) - 1) // SECTOR_BYTES - first + 1
    for choice in list(product((True, False), repeat=count))[:512]:
        torn = bytearray(disk.written)
        for place, written in enumerate(choice):
            start = max((first + place) * SECTOR_BYTES, disk.before_bytes)
            stop = min((first + place + 1) * SECTOR_BYTES, len(torn))
            if not written:
                torn[start:stop] = bytes(stop - start)
        disk.files.damage(disk.last, bytes(torn))
        disk.reports.clear()
        found = content(disk.open())
        assert found == disk.entries[: len(found)]
        assert len(found) >= len(disk.before)
        assert (found == disk.entries) == (bytes(torn) == disk.written)
        assert len(disk.reports) == (found != disk.entries)


def test_a_torn_batch_that_holds_a_copy_of_this_very_journal_is_torn():
    """A record proves something only where it was written."""
    copied = Disk(b"x", segment_bytes=10**6).written
    disk = Disk(b"y" * 600, copied * 2, b"z", segment_bytes=10**6)
    torn = bytearray(disk.written)
    start = -(-disk.before_bytes // SECTOR_BYTES) * SECTOR_BYTES
    torn[start : start + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    disk.files.damage(disk.last, bytes(torn))
    assert content(disk.open()) == disk.before
    assert "never written" in disk.reports[0]


def test_a_bad_record_before_a_later_batch_is_damage_whatever_it_looks_like():
    disk = Disk(b"a" * 2000, segment_bytes=10**6)
    journal = disk.open()
    journal.append(b"later", journal.last_index + 1, 2)
    journal.flush()
    journal.close()
    start = -(-disk.before_bytes // SECTOR_BYTES) * SECTOR_BYTES
    zeroed = bytearray(disk.files.content(disk.last))
    zeroed[start : start + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    disk.files.damage(disk.last, bytes(zeroed))
    error = disk.refuses("entry 20, which was written after")
    assert error.path == disk.last
    assert error.offset == disk.before_bytes


def test_a_segment_that_others_follow_cannot_be_torn():
    disk = Disk(b"last")
    path = disk.segments[-2]
    for change in (lambda data: data[:-1], lambda data: data[:-600] + bytes(600)):
        intact = disk.files.content(path)
        disk.files.damage(path, change(intact))
        assert disk.refuses("another segment follows").path == path
        disk.files.damage(path, intact)


def test_the_base_cannot_be_torn():
    disk = Disk(b"last", segment_bytes=10**6)
    disk.files.damage(disk.last, disk.written[:40])
    disk.refuses("the file has no entry")


def test_a_missing_segment_is_damage():
    disk = Disk(b"last")
    assert len(disk.segments) > 3
    path = disk.segments[1]
    disk.files.lose(path)
    error = disk.refuses("begins this file")
    assert error.path == disk.segments[1]


def test_a_log_whose_segments_are_all_gone_is_not_a_new_one():
    disk = Disk(b"last")
    for path in disk.segments:
        disk.files.lose(path)
    disk.refuses("there is a vote, but no segment of the log")


def test_a_segment_under_another_name_is_damage():
    disk = Disk(b"last")
    taken = disk.files.content(disk.segments[1])
    disk.files.damage(disk.segments[2], taken)
    disk.refuses("does not match checksum and file name")


def test_records_of_another_place_are_damage():
    """Two whole records of equal length that changed places."""
    disk = Disk(b"a" * 100, b"b" * 100, segment_bytes=10**6)
    half = (len(disk.written) - disk.before_bytes) // 2
    middle = disk.before_bytes + half
    swapped = disk.written[middle:] + disk.written[disk.before_bytes : middle]
    disk.files.damage(disk.last, disk.written[: disk.before_bytes] + swapped)
    disk.refuses("does not match its checksum")


def write_raw(disk: Disk, entries: list[LogEntry]) -> None:
    """Puts entries into the last segment that the journal would have refused."""
    journal = disk.open()
    journal._segments[-1].write_batch(disk.files, entries)
    journal.close()


def test_a_gap_in_the_indexes_is_damage():
    disk = Disk(b"last", segment_bytes=10**6)
    write_raw(disk, [LogEntry(b"", disk.entries[-1].index + 2, 2)])
    disk.refuses("stands behind")


def test_a_term_that_decreases_is_damage():
    disk = Disk(b"last", segment_bytes=10**6)
    write_raw(disk, [LogEntry(b"", disk.entries[-1].index + 1, 1)])
    disk.refuses("has term 1, below 2")


def test_a_term_that_decreases_from_segment_to_segment_is_damage():
    disk = Disk(b"last", segment_bytes=10**6)
    disk.segment_bytes = 1
    journal = disk.open()
    journal._last_term = 0
    journal.append(b"", journal.last_index + 1, 1)
    journal.flush()
    journal.close()
    disk.refuses("term below the 2 of the entry before")


def test_a_record_that_neither_begins_nor_continues_a_batch_is_damage():
    disk = Disk(b"last", segment_bytes=10**6)
    journal = disk.open()
    index = journal.last_index + 1
    seed = journal._segments[-1]._seed
    journal.close()
    stray = encode_record(b"", index, 2, batch=index - 2, offset=len(disk.written), seed=seed)
    disk.files.damage(disk.last, disk.written + stray)
    disk.refuses(f"entry {index} stands behind {index - 1} in a batch of {index - 2}")


@pytest.mark.parametrize("name", ["segment", "vote"])
def test_another_format_is_refused_and_named(name):
    disk = Disk(b"last")
    path = disk.segments[0] if name == "segment" else DIRECTORY / "vote"
    intact = disk.files.content(path)
    disk.files.damage(path, intact[:8] + struct.pack("<I", 7) + intact[12:])
    assert disk.refuses("format version 7 is not known, only 1 is").path == path
    disk.files.damage(path, b"\x89PNG\r\n\x1a\n" + intact[8:])
    assert disk.refuses("does not begin as").path == path
    disk.files.damage(path, intact[:10])
    assert disk.refuses("too short").path == path


def test_a_lost_vote_is_damage():
    disk = Disk(b"last")
    disk.files.lose(DIRECTORY / "vote")
    disk.refuses("the file is missing")


def test_a_vote_with_something_behind_it_is_damage():
    disk = Disk(b"last")
    path = DIRECTORY / "vote"
    disk.files.damage(path, disk.files.content(path) + b"\0")
    disk.refuses("do not match their checksum")


def test_damage_that_comes_while_the_journal_is_open_is_never_read_as_an_entry():
    disk = Disk(b"last")
    journal = disk.open()
    path = disk.segments[1]
    base_index = parse_segment_name(path.name)[1]
    disk.flip(path, 100, 3)
    with pytest.raises(JournalDamaged, match="was read before and is gone now"):
        journal.entry(base_index)
    with pytest.raises(JournalFailed):
        journal.entry(base_index)


def test_damage_keeps_an_older_generation_untouched():
    disk = Disk(b"last")
    old = disk.segments[-1]
    kept = disk.files.content(old)
    journal = disk.open()
    journal.reset(500, 2)
    journal.close()
    disk.files.close(disk.files.create(old))
    disk.files.damage(old, kept)
    disk.flip(disk.last, 60, 2)
    disk.refuses("the record of entry 500")
    disk.flip(disk.last, 60, 2)
    assert disk.open().first_index == 500
    assert any("a snapshot replaced the log" in line for line in disk.reports)
    assert len(disk.segments) == 1
