"""What the journal promises its caller, on a real disk and on the simulated one."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from statehouse_cluster.files import Files, RealFiles
from statehouse_cluster.journal import Journal, JournalFailed, LogEntry

from tests.simulation.files import SimulatedFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = LogEntry(b"\x01", 0, 0)


class Place:
    """A directory on a disk, the journal in it, and what the journal reported."""

    def __init__(self, files: Files, directory: Path) -> None:
        self.files = files
        self.directory = directory
        self.reports: list[str] = []
        self.opened: list[Journal] = []

    def open(self, segment_bytes: int = 400, cache_bytes: int = 2000) -> Journal:
        journal = Journal.open(
            self.directory,
            self.files,
            segment_bytes=segment_bytes,
            cache_bytes=cache_bytes,
            report=self.reports.append,
        )
        self.opened.append(journal)
        return journal

    @property
    def names(self) -> list[str]:
        return self.files.list_directory(self.directory)


@pytest.fixture(params=["real", "simulated"])
def place(request, tmp_path) -> Iterator[Place]:
    if request.param == "simulated":
        yield Place(SimulatedFiles(Path("/disk")), Path("/disk/journal"))
        return
    place = Place(RealFiles(), tmp_path / "journal")
    yield place
    for journal in place.opened:
        journal.close()


@pytest.fixture
def simulated() -> Place:
    return Place(SimulatedFiles(Path("/disk")), Path("/disk/journal"))


def entries(first: int, last: int, term: int = 1) -> list[LogEntry]:
    return [LogEntry(b"payload %d " % i + b"." * (i % 40), i, term) for i in range(first, last + 1)]


def append(journal: Journal, *rows: LogEntry) -> None:
    for row in rows:
        journal.append(*row)


def append_each(journal: Journal, *rows: LogEntry) -> None:
    """Each with a flush of its own, so that segments fill up."""
    for row in rows:
        journal.append(*row)
        journal.flush()


def content(journal: Journal) -> list[LogEntry]:
    return list(journal.view(journal.first_index, journal.last_index + 1))


def test_a_new_journal_holds_the_base_and_no_vote(place):
    journal = place.open()
    assert content(journal) == [BASE]
    assert (journal.first_index, journal.last_index) == (0, 0)
    assert (journal.term, journal.vote) == (0, None)
    assert (journal.segment_count, journal.dirty, journal.flush_count) == (1, False, 0)
    assert place.reports == []


def test_flushed_entries_are_there_again(place):
    journal = place.open()
    append(journal, *entries(1, 60))
    journal.flush()
    append(journal, *entries(61, 99, term=4))
    journal.flush()
    journal.close()
    again = place.open()
    assert content(again) == [BASE, *entries(1, 60), *entries(61, 99, term=4)]
    assert [again.term_at(index) for index in (0, 1, 60, 61, 99)] == [0, 1, 1, 4, 4]
    assert place.reports == []


def test_entries_that_were_not_flushed_can_be_read_but_do_not_last(place):
    journal = place.open()
    append(journal, *entries(1, 3))
    journal.flush()
    append(journal, *entries(4, 5))
    assert journal.dirty
    assert content(journal) == [BASE, *entries(1, 5)]
    assert journal.term_at(5) == 1
    journal.close()
    assert content(place.open()) == [BASE, *entries(1, 3)]


def test_one_flush_is_one_write_and_one_sync_and_none_where_nothing_was_appended(simulated):
    journal = simulated.open(segment_bytes=10**6)
    append(journal, *entries(1, 50))
    before = simulated.files.operation_count
    journal.flush()
    assert simulated.files.operation_count == before + 2
    journal.flush()
    assert simulated.files.operation_count == before + 2
    assert journal.flush_count == 1
    assert not journal.dirty


def test_an_entry_must_follow_the_last_one(place):
    journal = place.open()
    append(journal, LogEntry(b"a", 1, 5))
    for payload, index, term in ((b"", 1, 5), (b"", 3, 5), (b"", 2, 4), (b"", 2, 1 << 64)):
        with pytest.raises(ValueError, match="cannot follow"):
            journal.append(payload, index, term)
    append(journal, LogEntry(b"b", 2, 5))
    journal.flush()
    assert journal.last_index == 2


def test_a_payload_too_large_is_refused(place, monkeypatch):
    monkeypatch.setattr("statehouse_cluster.journal.PAYLOAD_BYTES_MAX", 10)
    journal = place.open()
    with pytest.raises(ValueError, match="11 bytes; at most 10"):
        journal.append(b"x" * 11, 1, 1)
    append(journal, LogEntry(b"x" * 10, 1, 1))


@pytest.mark.parametrize("payload", [b"", b"\0", bytes(5000), b"\xff" * 3000, bytes(1 << 20)])
def test_every_payload_comes_back_as_it_was(place, payload):
    journal = place.open()
    for index in range(1, 5):
        journal.append(payload, index, 1)
        journal.flush()
    journal.close()
    assert [entry.payload for entry in content(place.open())[1:]] == [payload] * 4


def test_entries_that_are_not_there_are_index_errors(place):
    journal = place.open()
    append_each(journal, *entries(1, 40))
    journal.cut_to(30)
    for index in (journal.first_index - 1, 41, -1):
        with pytest.raises(IndexError, match="the log holds"):
            journal.entry(index)
        with pytest.raises(IndexError, match="the log holds"):
            journal.term_at(index)
    with pytest.raises(IndexError, match="the log holds"):
        journal.view(1, 5)
    with pytest.raises(IndexError, match="the log holds"):
        journal.view(35, 42)
    assert len(journal.view(41, 41)) == 0


def test_a_view_is_a_lazy_sequence(place):
    journal = place.open()
    rows = [BASE, *entries(1, 30)]
    append(journal, *rows[1:21])
    journal.flush()
    append(journal, *rows[21:])
    view = journal.view(5, 29)
    assert len(view) == 24
    assert view
    assert not journal.view(5, 5)
    assert (view[0], view[-1], view[3], view[-24]) == (rows[5], rows[28], rows[8], rows[5])
    assert list(view) == rows[5:29]
    assert list(reversed(view)) == rows[5:29][::-1]
    assert list(view[2:5]) == rows[7:10]
    assert list(view[20:]) == rows[25:29]
    assert view[1:][0] == rows[6]
    assert rows[7] in view
    assert "range(5, 29)" in repr(view)
    for outside in (24, -25):
        with pytest.raises(IndexError):
            view[outside]


def test_reading_goes_through_a_bounded_cache(simulated):
    journal = simulated.open(segment_bytes=10_000, cache_bytes=3000)
    append_each(journal, *entries(1, 300))
    assert content(journal) == [BASE, *entries(1, 300)]
    assert journal._cache.bytes_held <= 3000
    before = simulated.files.operation_count
    assert [journal.entry(299), journal.entry(300), journal.entry(299)] == [
        *entries(299, 300),
        *entries(299, 299),
    ]
    assert simulated.files.operation_count == before


def test_the_cache_forgets_what_is_no_longer_in_the_log(place):
    journal = place.open(cache_bytes=10**6)
    append_each(journal, *entries(1, 30))
    held = journal._cache.bytes_held
    journal.truncate_from(21)
    assert journal._cache.bytes_held < held
    held = journal._cache.bytes_held
    journal.cut_to(15)
    assert journal._cache.bytes_held < held
    journal.reset(18, 1)
    assert journal.entry(18) == LogEntry(b"\x01", 18, 1)


def test_no_file_stays_open_but_the_one_written_to(simulated):
    journal = simulated.open()
    append_each(journal, *entries(1, 100))
    assert journal.segment_count > 5
    assert content(journal)[-1].index == 100
    assert simulated.files.open_handles == 1
    journal.truncate_from(50)
    assert simulated.files.open_handles == 1
    journal.reset(70, 3)
    assert simulated.files.open_handles == 1
    journal.close()
    assert simulated.files.open_handles == 0


@pytest.mark.parametrize("index", [1, 2, 10, 11, 12, 20, 21, 25, 31])
def test_truncation_removes_the_entry_and_all_behind_it(place, index):
    journal = place.open()
    for start in (1, 11):
        append(journal, *entries(start, start + 9))
        journal.flush()
    append(journal, *entries(21, 30))
    journal.truncate_from(index)
    assert content(journal) == [BASE, *entries(1, index - 1)]
    assert journal.last_index == index - 1
    if index <= 20:
        assert content(place.open()) == content(journal)
    append(journal, *entries(index, 33, term=2))
    journal.flush()
    journal.close()
    assert content(place.open()) == [BASE, *entries(1, index - 1), *entries(index, 33, term=2)]


def test_truncation_lets_a_term_follow_that_the_removed_entries_did_not(place):
    journal = place.open()
    append(journal, *entries(1, 5), *entries(6, 9, term=7))
    journal.flush()
    journal.truncate_from(6)
    append(journal, *entries(6, 7, term=3))
    journal.flush()
    journal.close()
    assert content(place.open()) == [BASE, *entries(1, 5), *entries(6, 7, term=3)]


def test_a_segment_that_is_still_empty_is_truncated_away(place):
    journal = place.open(segment_bytes=1)
    append(journal, *entries(1, 1))
    journal.flush()
    append(journal, *entries(2, 3))
    journal._begin_segment(journal._segments[-1])
    journal.close()
    again = place.open(segment_bytes=1)
    assert again.segment_count == 3
    again.truncate_from(1)
    assert content(again) == [BASE]
    append(again, *entries(1, 2, term=9))
    again.flush()
    assert content(place.open()) == [BASE, *entries(1, 2, term=9)]


def test_the_base_cannot_be_truncated(place):
    journal = place.open()
    append_each(journal, *entries(1, 40))
    journal.cut_to(20)
    for index in (journal.first_index, 0, 42):
        with pytest.raises(ValueError, match="cannot be truncated"):
            journal.truncate_from(index)
    journal.truncate_from(journal.first_index + 1)
    assert len(content(journal)) == 1


def test_a_cut_drops_whole_segments_below_the_index_only(place):
    journal = place.open()
    append(journal, *entries(1, 10))
    append_each(journal, *entries(11, 100))
    append(journal, *entries(101, 110))
    retained, segments = journal.bytes_retained, journal.segment_count
    for index in (0, 7, 50, 50, 100, 105, 110):
        journal.cut_to(index)
        assert journal.first_index <= index
        assert journal.entry(index).index == index
        assert content(journal) == [BASE, *entries(1, 110)][journal.first_index :]
    assert journal.first_index > 80
    assert journal.segment_count < segments
    assert journal.bytes_retained < retained
    with pytest.raises(ValueError, match="cannot be cut to 111"):
        journal.cut_to(111)
    journal.flush()
    journal.close()
    assert content(place.open()) == entries(1, 110)[journal.first_index - 1 :]


def test_a_reset_leaves_the_base_alone(place):
    journal = place.open()
    append(journal, *entries(1, 50))
    journal.flush()
    append(journal, *entries(51, 52))
    journal.reset(1000, 7)
    assert content(journal) == [LogEntry(b"\x01", 1000, 7)]
    assert (journal.segment_count, journal.dirty, journal.term_at(1000)) == (1, False, 7)
    assert len(place.names) == 2
    append(journal, *entries(1001, 1003, term=8))
    journal.flush()
    journal.reset(5, 2)
    append(journal, *entries(6, 6, term=8))
    journal.flush()
    journal.close()
    assert content(place.open()) == [LogEntry(b"\x01", 5, 2), *entries(6, 6, term=8)]
    for index, term in ((-1, 0), (5, -1), (5, 1 << 64)):
        with pytest.raises(ValueError, match="no base entry"):
            place.open().reset(index, term)


def test_term_and_vote_are_there_again(place):
    journal = place.open()
    for term, vote in ((1, "n1"), (2, None), (2, "naïve member"), (9, None)):
        journal.set_term_and_vote(term, vote)
        assert (journal.term, journal.vote) == (term, vote)
        again = place.open()
        assert (again.term, again.vote) == (term, vote)
    journal.reset(10, 3)
    assert (place.open().term, place.open().vote) == (9, None)


def test_a_vote_is_given_once_in_a_term_and_a_term_never_goes_back(simulated):
    journal = simulated.open()
    journal.set_term_and_vote(3, "n1")
    for term, vote in ((2, None), (3, "n2"), (3, None), (1 << 64, None)):
        with pytest.raises(ValueError, match="cannot"):
            journal.set_term_and_vote(term, vote)
    before = simulated.files.operation_count
    journal.set_term_and_vote(3, "n1")
    assert simulated.files.operation_count == before
    assert (journal.term, journal.vote) == (3, "n1")


def test_a_closed_journal_takes_no_more_calls(place):
    journal = place.open()
    append(journal, *entries(1, 3))
    journal.flush()
    view = journal.view(0, 4)
    journal.close()
    journal.close()
    for call in calls(journal):
        with pytest.raises(JournalFailed, match="it was closed"):
            call()
    with pytest.raises(JournalFailed):
        list(view)
    assert journal.last_index == 3


def calls(journal: Journal):
    """Everything one can ask a journal to do."""
    return (
        lambda: journal.append(b"", journal.last_index + 1, 99),
        lambda: journal.flush(),
        lambda: journal.entry(journal.last_index),
        lambda: journal.term_at(journal.last_index),
        lambda: journal.view(journal.first_index, journal.last_index),
        lambda: journal.truncate_from(journal.last_index),
        lambda: journal.cut_to(journal.last_index),
        lambda: journal.reset(500, 5),
        lambda: journal.set_term_and_vote(99, None),
    )


@pytest.mark.parametrize("error_number", [errno.EIO, errno.ENOSPC])
def test_after_an_error_of_the_disk_every_call_is_refused_and_no_sync_is_tried_again(error_number):
    steps = (
        lambda journal: journal.flush(),
        lambda journal: journal.truncate_from(2),
        lambda journal: journal.truncate_from(38),
        lambda journal: journal.cut_to(35),
        lambda journal: journal.reset(500, 5),
        lambda journal: journal.set_term_and_vote(99, "n1"),
        lambda journal: journal.entry(2),
    )
    for step in steps:
        failures = 0
        for number in range(1, 100):
            place = Place(SimulatedFiles(Path("/disk")), Path("/disk/journal"))
            journal = place.open(segment_bytes=700, cache_bytes=0)
            journal.set_term_and_vote(1, None)
            append(journal, *entries(1, 5))
            journal.flush()
            append_each(journal, *entries(6, 38))
            append(journal, *entries(39, 40))
            count = place.files.operation_count
            place.files.fail_at(count + number, error_number)
            try:
                step(journal)
            except OSError:
                failures += 1
            else:
                break
            after = place.files.operation_count
            for call in calls(journal):
                with pytest.raises(JournalFailed, match="Stop this process"):
                    call()
            assert place.files.operation_count == after, "the disk was touched again"
            assert journal.term in (1, 99)
            place.files.kill()
            assert place.open().last_index >= 1
        assert failures > 0


def test_a_full_disk_loses_nothing_that_was_flushed(simulated):
    journal = simulated.open(segment_bytes=10**6)
    append(journal, *entries(1, 5))
    journal.flush()
    append(journal, *entries(6, 20))
    simulated.files.fail_at(simulated.files.operation_count + 1, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        journal.flush()
    simulated.files.kill()
    again = simulated.open()
    found = content(again)
    assert found == [BASE, *entries(1, 20)][: len(found)]
    assert len(found) >= 6
    assert "cut off what a crash left unfinished" in simulated.reports[0]
    append(again, *entries(again.last_index + 1, 30, term=2))
    again.flush()
    assert simulated.open().last_index == 30


def test_what_lies_there_and_is_not_ours_is_left_alone(place):
    place.open().close()
    handle = place.files.create(place.directory / "lost+found")
    place.files.close(handle)
    place.open().close()
    assert "lost+found" in place.names
