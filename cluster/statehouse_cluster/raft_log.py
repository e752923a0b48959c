"""Owns the journal's face towards pysyncobj: positions to indexes, and the index of changes.

It must not know messages or the state machine; what is durable, and when, is journal.py's.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from pysyncobj.journal import Journal as LibraryJournal

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_cluster.journal import Journal

APPLICATION: Final = b"\x00"
NO_OP: Final = b"\x01"
MEMBERSHIP: Final = b"\x02"
"""The first byte of an entry: pysyncobj's command types, the only three that occur."""


class SafetyViolation(Exception):
    """The log is asked to do what a sound cluster never does; the node must stop at once."""


class RaftLog(LibraryJournal):  # type: ignore[misc]  # pysyncobj has no types
    """The library's journal, over ours.

    `committed` tells the highest index known to be committed or applied: nothing at or below it is
    ever truncated.
    """

    def __init__(self, journal: Journal, committed: Callable[[], int]) -> None:
        self.journal = journal
        self._committed = committed
        self._changes: list[tuple[int, bytes]] = [
            (entry.index, entry.payload[1:])
            for entry in journal.view(journal.first_index, journal.last_index + 1)
            if entry.payload[:1] == MEMBERSHIP
        ]
        self.changes_epoch = 0
        """Grows whenever a membership entry comes or goes."""

    # What the adapter and its guards ask for.

    @property
    def first_index(self) -> int:
        return self.journal.first_index

    @property
    def last_index(self) -> int:
        return self.journal.last_index

    @property
    def last_position(self) -> tuple[int, int]:
        """(term, index) of the last entry, in the order Raft compares them."""
        return self.journal.term_at(self.journal.last_index), self.journal.last_index

    def term_at(self, index: int) -> int:
        return self.journal.term_at(index)

    def holds(self, index: int, term: int) -> bool:
        return self.first_index <= index <= self.last_index and self.term_at(index) == term

    def changes_above(self, index: int) -> list[bytes]:
        """The payloads of the membership entries above `index`, in log order."""
        start = bisect_left(self._changes, (index + 1, b""))
        return [payload for _, payload in self._changes[start:]]

    def flush(self) -> None:
        self.journal.flush()

    def cut_to(self, index: int) -> None:
        self.journal.cut_to(index)
        self._changes = [c for c in self._changes if c[0] >= self.first_index]

    def reset(self, index: int, term: int) -> None:
        self.journal.reset(index, term)
        self._changes = []
        self.changes_epoch += 1

    # What the library calls.

    def __len__(self) -> int:
        return self.last_index - self.first_index + 1

    def __getitem__(self, item: int | slice) -> Any:
        first, count = self.first_index, len(self)
        if isinstance(item, slice):
            start, stop, step = item.indices(count)
            if step != 1:
                raise SafetyViolation(f"the log was sliced with step {step}")
            return self.journal.view(first + start, first + max(start, stop))
        position = item + count if item < 0 else item
        return self.journal.entry(first + position)

    def add(self, command: bytes, idx: int, term: int) -> None:
        self.journal.append(command, idx, term)
        if command[:1] == MEMBERSHIP:
            self._changes.append((idx, command[1:]))
            self.changes_epoch += 1

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        index = self.first_index + entryFrom
        committed = self._committed()
        if index <= committed:
            raise SafetyViolation(
                f"entries from {index} on would be truncated, yet {committed} is committed"
            )
        self.journal.truncate_from(index)
        if self._changes and self._changes[-1][0] >= index:
            self._changes = [c for c in self._changes if c[0] < index]
            self.changes_epoch += 1

    def deleteEntriesTo(self, entryTo: int) -> None:
        raise SafetyViolation("the library must not cut the log; the adapter does")

    def clear(self) -> None:
        raise SafetyViolation("the library must not clear the log")

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        self.journal.set_term_and_vote(term, votedForNodeId)

    def getCurrentTerm(self) -> int:
        return self.journal.term

    def getVotedForNodeId(self) -> str | None:
        return self.journal.vote

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        """Not kept: a commit index is learned again; trusting a stored one is how logs diverge."""

    def getRaftCommitIndex(self) -> int:
        return self._committed()

    def onOneSecondTimer(self) -> None:
        """Nothing to do: what must be durable is so at once."""

    def _destroy(self) -> None:
        """The journal is closed by who opened it."""
