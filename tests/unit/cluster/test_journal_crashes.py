"""The journal through a crash at every single operation of the disk.

A script of everything a journal is asked for runs on the simulated disk. `Witness` knows beside it
what is owed: what was flushed must be there after any crash, what was never appended must not, term
and vote are the last ones that were acknowledged or the ones being written.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from statehouse_cluster.journal import Journal, LogEntry

from tests.simulation.files import Crash, SimulatedFiles

ROOT = Path("/disk")
DIRECTORY = ROOT / "journal"
SEEDS_PER_OPERATION = 3


@dataclass(frozen=True)
class Log:
    """What may be found: entries by index, of which those up to `durable` must be."""

    entries: dict[int, LogEntry]
    durable: int
    cut: int
    """The log may begin anywhere from its oldest entry to here."""

    def allows(self, found: list[LogEntry]) -> bool:
        return (
            found[0].index <= self.cut
            and found[-1].index >= self.durable
            and all(self.entries.get(entry.index) == entry for entry in found)
            and [entry.index for entry in found]
            == list(range(found[0].index, found[0].index + len(found)))
        )


@dataclass
class Witness:
    """Drives a journal and knows what a crash may leave of it."""

    log: Log = field(default_factory=lambda: Log({0: LogEntry(b"\x01", 0, 0)}, 0, 0))
    votes: set[tuple[int, str | None]] = field(default_factory=lambda: {(0, None)})
    logs: list[Log] = field(default_factory=list)
    """What else may be found, because a change was under way."""

    def check(self, journal: Journal) -> None:
        found = list(journal.view(journal.first_index, journal.last_index + 1))
        assert any(log.allows(found) for log in (self.log, *self.logs)), (found, self.log)
        assert (journal.term, journal.vote) in self.votes

    def adopt(self, journal: Journal) -> None:
        """What a journal shows after it was opened is owed from then on."""
        found = list(journal.view(journal.first_index, journal.last_index + 1))
        entries = {entry.index: entry for entry in found}
        self.log = Log(entries, found[-1].index, found[0].index)
        self.logs = []
        self.votes = {(journal.term, journal.vote)}

    def append(self, journal: Journal, payload: bytes, term: int) -> None:
        index = journal.last_index + 1
        entry = LogEntry(payload, index, term)
        self.log = replace(self.log, entries={**self.log.entries, index: entry})
        journal.append(*entry)

    def flush(self, journal: Journal) -> None:
        journal.flush()
        self.log = replace(self.log, durable=journal.last_index)

    def truncate_from(self, journal: Journal, index: int) -> None:
        self.log = replace(self.log, durable=min(self.log.durable, index - 1))
        journal.truncate_from(index)
        kept = {i: entry for i, entry in self.log.entries.items() if i < index}
        self.log = replace(self.log, entries=kept)

    def cut_to(self, journal: Journal, index: int) -> None:
        self.log = replace(self.log, cut=index)
        journal.cut_to(index)

    def reset(self, journal: Journal, index: int, term: int) -> None:
        after = Log({index: LogEntry(b"\x01", index, term)}, index, index)
        self.logs = [after]
        journal.reset(index, term)
        self.log, self.logs = after, []

    def set_term_and_vote(self, journal: Journal, term: int, vote: str | None) -> None:
        self.votes.add((term, vote))
        journal.set_term_and_vote(term, vote)
        self.votes = {(term, vote)}


def open_journal(files: SimulatedFiles) -> Journal:
    return Journal.open(DIRECTORY, files, segment_bytes=1500, report=lambda line: None)


def script(files: SimulatedFiles, witness: Witness) -> None:
    """Everything a journal is asked for, over several segments."""
    journal = open_journal(files)
    for term in (1, 2, 3):
        witness.set_term_and_vote(journal, term, None)
        witness.set_term_and_vote(journal, term, f"n{term}")
        for number in range(6):
            witness.append(journal, b"%d " % number * 20 * number, term)
            witness.append(journal, bytes(600 * (number % 3)), term)
            witness.flush(journal)
        witness.append(journal, b"not flushed", term)
        witness.truncate_from(journal, journal.last_index - term)
        witness.append(journal, b"in its place", term)
        witness.flush(journal)
    witness.cut_to(journal, 12)
    witness.truncate_from(journal, 16)
    for number in range(4):
        witness.append(journal, bytes(300) + b"x" * 500 + bytes(300 * number), 3)
        witness.flush(journal)
    witness.reset(journal, 100, 3)
    for number in range(3):
        witness.append(journal, b"after the reset %d" % number, 3)
    witness.flush(journal)
    witness.reset(journal, 50, 2)
    witness.append(journal, b"last", 3)
    witness.flush(journal)
    journal.close()


def carry_on(files: SimulatedFiles, witness: Witness, random: Random) -> None:
    """Opens what is left, works on, crashes once more, and opens again."""
    journal = open_journal(files)
    witness.check(journal)
    witness.adopt(journal)
    witness.append(journal, b"later", 9)
    witness.flush(journal)
    witness.set_term_and_vote(journal, 9, "n9")
    witness.append(journal, bytes(2000), 9)
    files.crash(random)
    journal = open_journal(files)
    witness.check(journal)
    assert journal.entry(witness.log.durable).payload == b"later"
    files.kill()


def operations_of(step) -> int:
    files = SimulatedFiles(ROOT)
    step(files)
    return files.operation_count


SCRIPT_OPERATIONS = operations_of(lambda files: script(files, Witness()))


def run_until(operation: int) -> tuple[SimulatedFiles, Witness]:
    files, witness = SimulatedFiles(ROOT), Witness()
    files.crash_at(operation)
    with pytest.raises(Crash):
        script(files, witness)
    return files, witness


def test_the_script_is_long_enough_to_mean_something():
    assert SCRIPT_OPERATIONS > 150
    files, witness = SimulatedFiles(ROOT), Witness()
    script(files, witness)
    witness.check(open_journal(files))


@pytest.mark.parametrize("operation", range(1, SCRIPT_OPERATIONS + 1))
def test_power_lost_at_an_operation_loses_nothing_that_was_flushed(operation):
    for seed in range(SEEDS_PER_OPERATION):
        files, witness = run_until(operation)
        random = Random(1000 * operation + seed)
        files.crash(random)
        carry_on(files, witness, random)


@pytest.mark.parametrize("operation", range(1, SCRIPT_OPERATIONS + 1, 4))
def test_power_lost_again_at_any_operation_of_the_start_after_it(operation):
    for start_operation in range(1, 40):
        files, witness = run_until(operation)
        random = Random(1000 * operation + start_operation)
        files.crash(random)
        files.crash_at(files.operation_count + start_operation)
        try:
            open_journal(files)
        except Crash:
            files.crash(random)
            carry_on(files, witness, random)
        else:
            return
    pytest.fail("a start takes more operations than were tried")


@pytest.mark.parametrize("operation", range(1, SCRIPT_OPERATIONS + 1))
def test_what_a_killed_process_left_is_durable_once_it_was_shown(operation):
    """A vote or an acknowledgement may rest on it as soon as the journal is open."""
    for seed in range(SEEDS_PER_OPERATION):
        files, witness = run_until(operation)
        files.kill()
        journal = open_journal(files)
        witness.check(journal)
        witness.adopt(journal)
        files.crash(Random(1000 * operation + seed))
        witness.check(open_journal(files))
