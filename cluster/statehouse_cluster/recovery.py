"""Owns how the journal and the state machine are brought together at a start.

The state machine says what it has applied; the journal must hold that very entry, for everything
after it is replayed from there. They may differ in one lawful way: a crash between the install of
a snapshot and the reset of the journal. A note written before the install tells that case from
damage, which is refused in words. It must not know Raft's messages.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from statehouse_cluster.files import read_whole, write_durably
from statehouse_cluster.interfaces import Position
from statehouse_cluster.membership import Configuration, encode_configuration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from statehouse_cluster.files import Files
    from statehouse_cluster.interfaces import StateMachine
    from statehouse_cluster.journal import Journal

FOUNDING_POSITION = Position(1, 0)
_NOTE = "installing.json"


class Diverged(Exception):
    """The journal and the state of this node do not belong together; it must not start."""


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    index: int
    term: int


class InstallNote:
    """The note in the data directory, there while a snapshot is being installed."""

    def __init__(self, data: Path, files: Files) -> None:
        self._data = data
        self._files = files

    def write(self, position: Position) -> None:
        """Durable when it returns; written before the state machine is replaced."""
        payload = msgspec.json.encode(_Note(position.index, position.term))
        write_durably(self._files, self._data / _NOTE, payload)

    def read(self) -> Position | None:
        """The position being installed when the node stopped, if one was."""
        try:
            note = msgspec.json.decode(read_whole(self._files, self._data / _NOTE), type=_Note)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise Diverged(
                f"{self._data / _NOTE} cannot be read: {error}; remove this member and add a new "
                "one with an empty data directory"
            ) from error
        return Position(note.index, note.term)

    def remove(self) -> None:
        """Durable when it returns; removed after the journal was reset."""
        with contextlib.suppress(FileNotFoundError):
            self._files.unlink(self._data / _NOTE)
        self._files.sync_directory(self._data)


def found(journal: Journal, machine: StateMachine, founders: Configuration) -> None:
    """Puts the first configuration into a founder's new state machine, as position (1, 0).

    A founder's log begins at entry 1, a joiner's at entry 0. So no joiner can be brought up by
    entries alone: it always takes a snapshot first, and with it the configuration, which is in no
    entry. A crash on the way repeats it.
    """
    if machine.position() != Position(0, 0) or not founders.members:
        return
    if journal.last_index == 0:
        journal.reset(*FOUNDING_POSITION)
    if journal.first_index == FOUNDING_POSITION.index:
        machine.apply([], FOUNDING_POSITION, encode_configuration(founders))


def reconcile(
    journal: Journal, applied: Position, note: InstallNote, report: Callable[[str], None]
) -> None:
    """Makes the journal hold `applied`, or raises Diverged."""
    first, last = journal.first_index, journal.last_index
    holds = first <= applied.index <= last and journal.term_at(applied.index) == applied.term
    installing = note.read()
    if not holds:
        if installing != applied:
            raise Diverged(
                f"the state has applied entry {applied.index} of term {applied.term}, but the "
                f"journal holds entries {first} to {last} and not that one: one of the two was "
                "damaged or comes from elsewhere; remove this member and add a new one with an "
                "empty data directory"
            )
        report(f"finishing the install of the snapshot at entry {applied.index}")
        journal.reset(*applied)
    if installing is not None:
        note.remove()
