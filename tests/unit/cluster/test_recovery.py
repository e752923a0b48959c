"""Journal and state machine are brought together at a start, or the node refuses to start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from statehouse_cluster.files import RealFiles
from statehouse_cluster.interfaces import Member, Position
from statehouse_cluster.journal import Journal
from statehouse_cluster.membership import Configuration, decode_configuration
from statehouse_cluster.recovery import Diverged, InstallNote, found, reconcile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOUNDERS = Configuration((Member("n1", "u1", "p1", "c1"), Member("n2", "u2", "p2", "c2")))


class Machine:
    """A state machine that knows only where it is."""

    def __init__(self) -> None:
        self.at = Position(0, 0)
        self.blob = b""

    def position(self) -> Position:
        return self.at

    def apply(
        self, entries: Sequence[object], position: Position, configuration: bytes | None
    ) -> list[object]:
        assert list(entries) == []
        self.at, self.blob = position, configuration or self.blob
        return []


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path / "journal", RealFiles(), report=print)


@pytest.fixture
def note(tmp_path: Path) -> InstallNote:
    return InstallNote(tmp_path, RealFiles())


def fill(journal: Journal, last: int) -> None:
    for index in range(journal.last_index + 1, last + 1):
        journal.append(b"\x00x", index, 1)
    journal.flush()


def test_a_founder_begins_at_entry_one_with_the_configuration(
    journal: Journal, note: InstallNote
) -> None:
    machine = Machine()
    found(journal, machine, FOUNDERS)
    assert (journal.first_index, journal.last_index) == (1, 1)
    assert machine.at == Position(1, 0)
    assert decode_configuration(machine.blob) == FOUNDERS
    reconcile(journal, machine.at, note, print)


def test_a_joiner_begins_at_entry_zero_and_knows_nobody(journal: Journal) -> None:
    machine = Machine()
    found(journal, machine, Configuration())
    assert (journal.first_index, machine.at, machine.blob) == (0, Position(0, 0), b"")


def test_a_founder_that_stopped_between_journal_and_state_founds_again(
    journal: Journal, note: InstallNote
) -> None:
    found(journal, Machine(), FOUNDERS)
    fill(journal, 5)
    forgot = Machine()
    found(journal, forgot, FOUNDERS)
    assert forgot.at == Position(1, 0)
    assert journal.last_index == 5
    reconcile(journal, forgot.at, note, print)


def test_a_state_that_was_lost_behind_a_cut_journal_is_refused(
    journal: Journal, note: InstallNote
) -> None:
    journal.reset(10, 2)
    lost = Machine()
    found(journal, lost, FOUNDERS)
    with pytest.raises(Diverged, match="holds entries 10 to 10"):
        reconcile(journal, lost.at, note, print)


def test_a_state_ahead_of_the_journal_is_refused(journal: Journal, note: InstallNote) -> None:
    fill(journal, 3)
    with pytest.raises(Diverged, match="applied entry 7 of term 1"):
        reconcile(journal, Position(7, 1), note, print)


def test_a_state_of_another_history_is_refused(journal: Journal, note: InstallNote) -> None:
    fill(journal, 3)
    with pytest.raises(Diverged, match="applied entry 2 of term 9"):
        reconcile(journal, Position(2, 9), note, print)


def test_an_interrupted_install_is_finished(journal: Journal, note: InstallNote) -> None:
    fill(journal, 3)
    note.write(Position(40, 2))
    lines: list[str] = []
    reconcile(journal, Position(40, 2), note, lines.append)
    assert (journal.first_index, journal.last_index) == (40, 40)
    assert "finishing the install" in lines[0]
    assert note.read() is None


def test_an_install_that_never_began_leaves_the_journal_alone(
    journal: Journal, note: InstallNote
) -> None:
    fill(journal, 3)
    note.write(Position(40, 2))
    reconcile(journal, Position(2, 1), note, print)
    assert journal.last_index == 3
    assert note.read() is None


def test_a_note_of_another_install_excuses_nothing(journal: Journal, note: InstallNote) -> None:
    fill(journal, 3)
    note.write(Position(40, 2))
    with pytest.raises(Diverged):
        reconcile(journal, Position(50, 2), note, print)


def test_a_damaged_note_is_refused_by_name(
    journal: Journal, note: InstallNote, tmp_path: Path
) -> None:
    (tmp_path / "installing.json").write_bytes(b"{")
    with pytest.raises(Diverged, match=r"installing\.json cannot be read"):
        reconcile(journal, Position(0, 0), note, print)
