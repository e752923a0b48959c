"""The journal's face towards the library: positions, changes, and what it refuses to do."""

from pathlib import Path

import pytest
from statehouse_cluster.files import RealFiles
from statehouse_cluster.journal import Journal
from statehouse_cluster.raft_log import APPLICATION, MEMBERSHIP, RaftLog, SafetyViolation

from tests.simulation.files import SimulatedFiles


@pytest.fixture
def journal():
    return Journal.open(
        Path("/disk/journal"), SimulatedFiles(), segment_bytes=100, report=lambda line: None
    )


@pytest.fixture
def committed():
    return [0]


@pytest.fixture
def log(journal, committed):
    log = RaftLog(journal, lambda: committed[0])
    log.add(APPLICATION + b"one", 1, 1)
    log.add(MEMBERSHIP + b"two", 2, 1)
    log.add(APPLICATION + b"three", 3, 2)
    log.add(MEMBERSHIP + b"four", 4, 2)
    return log


def test_positions_count_from_the_first_entry(log):
    assert len(log) == 5
    assert log[0] == (b"\x01", 0, 0)
    assert log[-1] == (MEMBERSHIP + b"four", 4, 2)
    assert [entry.index for entry in log[2:]] == [2, 3, 4]
    assert [entry.index for entry in log[2:4]] == [2, 3]
    assert not log[5:]
    assert not log[9:2]


def test_positions_move_with_a_cut_and_indexes_do_not(log):
    log.flush()
    log.add(APPLICATION + b"five", 5, 2)
    log.flush()
    log.cut_to(5)
    assert log.first_index == 5
    assert log[0] == (APPLICATION + b"five", 5, 2)
    assert log.last_position == (2, 5)
    assert log.changes_above(0) == []


def test_a_stride_is_nothing_the_library_asks_for(log):
    with pytest.raises(SafetyViolation, match="step 2"):
        log[::2]


def test_it_knows_which_entries_it_holds(log):
    assert log.holds(3, 2)
    assert not log.holds(3, 1)
    assert not log.holds(9, 2)


def test_changes_are_found_without_reading_the_log(log):
    assert log.changes_above(0) == [b"two", b"four"]
    assert log.changes_above(2) == [b"four"]
    assert log.changes_above(4) == []


def test_changes_go_with_the_entries_that_are_truncated(log):
    epoch = log.changes_epoch
    log.deleteEntriesFrom(3)
    assert log.changes_above(0) == [b"two"]
    assert log.changes_epoch == epoch + 1
    log.deleteEntriesFrom(2)
    log.deleteEntriesFrom(1)
    assert log.changes_above(0) == []
    assert log.last_index == 0


def test_changes_are_found_again_at_a_start(log, journal):
    log.flush()
    again = RaftLog(journal, lambda: 0)
    assert again.changes_above(0) == [b"two", b"four"]


def test_a_reset_leaves_one_base_and_no_changes(log):
    log.reset(9, 3)
    assert len(log) == 1
    assert log.last_position == (3, 9)
    assert log.changes_above(0) == []


@pytest.mark.parametrize("position", [2, 3])
def test_what_is_committed_is_never_truncated(log, committed, position):
    committed[0] = 3
    with pytest.raises(SafetyViolation, match="yet 3 is committed"):
        log.deleteEntriesFrom(position)
    assert log.last_index == 4
    log.deleteEntriesFrom(4)
    assert log.last_index == 3


def test_the_library_neither_cuts_nor_clears_it(log):
    with pytest.raises(SafetyViolation):
        log.deleteEntriesTo(1)
    with pytest.raises(SafetyViolation):
        log.clear()


def test_a_commit_index_is_not_kept_but_known(log, committed):
    log.setRaftCommitIndex(4)
    assert log.getRaftCommitIndex() == 0
    committed[0] = 2
    assert log.getRaftCommitIndex() == 2


def test_term_and_vote_are_on_the_disk_when_set(tmp_path):
    files = RealFiles()
    journal = Journal.open(tmp_path / "journal", files, report=lambda line: None)
    log = RaftLog(journal, lambda: 0)
    assert (log.getCurrentTerm(), log.getVotedForNodeId()) == (0, None)
    log.setCurrentTerm(7, "n2")
    other = Journal.open(tmp_path / "journal", files, report=lambda line: None)
    again = RaftLog(other, lambda: 0)
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (7, "n2")
    journal.close()
    other.close()


def test_what_the_library_does_at_the_end_and_each_second_touches_nothing(log):
    log.onOneSecondTimer()
    log._destroy()
    assert len(log) == 5
