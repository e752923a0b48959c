"""Owns the Raft log and this node's term and vote on its disk: what is durable, and when.

`append` keeps entries in memory, `flush` puts all of them on the disk with one write and one
fdatasync; term and vote, truncation and reset are durable when their call returns. Log positions
are Raft's; it must not know messages, pysyncobj, or what a payload means.

The log is a row of segment files (segment.py) of one generation; its first entry is the base, which
always exists. A reset begins a new generation, so it happens in one rename. Directories are synced
between steps whose order matters: whenever the machine stops, what is left is a log without gaps.
record.py says how a torn end is told from damage, opening.py what a start does about it.

An error from the disk leaves the journal unusable: nobody can say what was written, and a second
fsync would only say that the kernel has forgotten. The process has to stop.

One thread only.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from statehouse_cluster.damage import JournalDamaged, JournalFailed
from statehouse_cluster.log_view import EntryCache, LogEntry, LogView
from statehouse_cluster.opening import BASE_PAYLOAD, Opened, open_directory
from statehouse_cluster.record import PAYLOAD_BYTES_MAX
from statehouse_cluster.segment import Segment
from statehouse_cluster.vote import TERM_MAX, Vote, store_vote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from statehouse_cluster.files import Files

__all__ = ["Journal", "JournalDamaged", "JournalFailed", "LogEntry", "LogView"]

SEGMENT_BYTES: Final = 16 * 1024 * 1024
CACHE_BYTES: Final = 32 * 1024 * 1024


class Journal:
    """A log of entries with dense indexes and terms that never decrease, and the vote.

    A call that asks for something a sound caller never asks for raises ValueError (IndexError for
    an entry that is not there) and changes nothing. An OSError or JournalDamaged is the last
    answer of the disk: every later call raises JournalFailed; properties tell what was known last.
    """

    def __init__(
        self,
        directory: Path,
        files: Files,
        opened: Opened,
        *,
        segment_bytes: int,
        cache_bytes: int,
    ) -> None:
        """For `open`; the arguments are its own, and what lay in the directory."""
        self._directory = directory
        self._files = files
        self._generation, self._segments, self._vote = opened
        self._segment_bytes = segment_bytes
        self._cache = EntryCache(cache_bytes)
        self._pending: list[LogEntry] = []
        self._last_index = self._segments[-1].last_index
        self._last_term = self._term_on_disk(self._last_index)
        self._usable = True
        self._failure: BaseException | None = None
        self.flush_count = 0
        """How often entries were put on the disk."""

    @classmethod
    def open(
        cls,
        directory: Path,
        files: Files,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        cache_bytes: int = CACHE_BYTES,
        report: Callable[[str], None],
    ) -> Journal:
        """The journal in `directory`, made there if there is none; all it shows is durable.

        A segment that has reached `segment_bytes` takes no more; at most `cache_bytes` of entries
        that are on the disk stay in memory. `report` gets a line for what a crash left and was
        cleared away. Raises JournalDamaged, and then nothing was changed, or OSError.
        """
        opened = open_directory(directory, files, report)
        return cls(directory, files, opened, segment_bytes=segment_bytes, cache_bytes=cache_bytes)

    @property
    def first_index(self) -> int:
        """The index of the base, the first entry there is."""
        return self._segments[0].base_index

    @property
    def last_index(self) -> int:
        """The index of the last entry, flushed or not."""
        return self._last_index

    @property
    def term(self) -> int:
        """The current term; 0 before the first."""
        return self._vote.term

    @property
    def vote(self) -> str | None:
        """Whom this node voted for in the current term."""
        return self._vote.name

    @property
    def dirty(self) -> bool:
        """Whether something was appended that is not on the disk."""
        return bool(self._pending)

    @property
    def bytes_retained(self) -> int:
        """The bytes of all segments on the disk."""
        return sum(segment.size_bytes for segment in self._segments)

    @property
    def segment_count(self) -> int:
        return len(self._segments)

    def term_at(self, index: int) -> int:
        """The term of an entry; IndexError if it is not there."""
        self._check_holds(index)
        flushed = self._flushed_index
        if index > flushed:
            return self._pending[index - flushed - 1].term
        return self._term_on_disk(index)

    def entry(self, index: int) -> LogEntry:
        """The entry of an index; IndexError if it is not there."""
        self._check_holds(index)
        flushed = self._flushed_index
        if index > flushed:
            return self._pending[index - flushed - 1]
        cached = self._cache.get(index)
        return self._read(index) if cached is None else cached

    def view(self, start: int, stop: int) -> LogView:
        """The entries start..stop-1, read when asked for; IndexError if not all are there."""
        self._check_usable()
        if start < stop and not (self.first_index <= start and stop <= self._last_index + 1):
            raise IndexError(
                f"entries {start} to {stop - 1} were asked for, the log holds {self.first_index} "
                f"to {self._last_index}"
            )
        return LogView(self.entry, range(start, stop))

    def append(self, payload: bytes, index: int, term: int) -> None:
        """Puts an entry behind the last one; in memory only until `flush`."""
        self._check_usable()
        if index != self._last_index + 1:
            raise ValueError(f"entry {index} cannot follow entry {self._last_index}")
        if not self._last_term <= term <= TERM_MAX:
            raise ValueError(
                f"entry {index} of term {term} cannot follow one of term {self._last_term}"
            )
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise ValueError(
                f"entry {index} has {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX} are stored"
            )
        self._pending.append(LogEntry(payload, index, term))
        self._last_index = index
        self._last_term = term

    def flush(self) -> None:
        """Everything appended is on the disk when it returns; nothing to do where it is so."""
        self._check_usable()
        if not self._pending:
            return
        with self._disk():
            segment = self._segments[-1]
            if segment.size_bytes >= self._segment_bytes and len(segment):
                segment = self._begin_segment(segment)
            segment.write_batch(self._files, self._pending)
        for entry in self._pending:
            self._cache.put(entry)
        self._pending = []
        self.flush_count += 1

    def truncate_from(self, index: int) -> None:
        """Removes `index` and all behind it; durable when it returns. The base cannot be removed.

        After a crash on the way some of what was to be removed may still be there, without a gap.
        """
        self._check_usable()
        if not self.first_index < index <= self._last_index + 1:
            raise ValueError(
                f"the log from {self.first_index} to {self._last_index} cannot be truncated from "
                f"{index}: the first entry stays"
            )
        flushed = self._flushed_index
        del self._pending[max(0, index - flushed - 1) :]
        if index <= flushed:
            with self._disk():
                self._truncate_on_disk(index)
        self._last_index = index - 1
        self._last_term = self.term_at(index - 1)
        self._cache.keep(range(self.first_index, index))

    def cut_to(self, index: int) -> None:
        """Drops segments that lie wholly below `index`; first_index <= index stays true.

        What is dropped must be durable elsewhere. Oldest first, each durably, so no gap can be.
        """
        self._check_usable()
        if index > self._last_index:
            raise ValueError(
                f"the log cannot be cut to {index}: its last entry is {self._last_index}"
            )
        first_index = self.first_index
        with self._disk():
            while len(self._segments) > 1 and self._has_base_within(self._segments[1], index):
                self._remove(self._segments[0])
                del self._segments[0]
        if self.first_index != first_index:
            self._cache.keep(range(self.first_index, self._last_index + 1))

    def reset(self, index: int, term: int) -> None:
        """Replaces the whole log by one base entry of this index and term.

        Durable when it returns; a crash on the way leaves the old log or the new one. Of the old
        one's files any may come back by a crash: the next start knows them by their generation.
        """
        self._check_usable()
        if index < 0 or not 0 <= term <= TERM_MAX:
            raise ValueError(f"there is no base entry {index} of term {term}")
        base = LogEntry(BASE_PAYLOAD, index, term)
        with self._disk():
            self._segments[-1].close(self._files)
            segment = Segment(self._directory, self._generation + 1, index)
            segment.create(self._files, [base])
            replaced, self._segments = self._segments, [segment]
            for old in replaced:
                self._files.unlink(old.path)
        self._generation += 1
        self._pending = []
        self._cache.keep(range(0))
        self._last_index, self._last_term = index, term

    def set_term_and_vote(self, term: int, vote: str | None) -> None:
        """Durable when it returns. A term never goes back, a vote is given once in a term."""
        self._check_usable()
        if not self._vote.term <= term <= TERM_MAX:
            raise ValueError(f"term {term} cannot follow term {self._vote.term}")
        if term == self._vote.term and self._vote.name not in (None, vote):
            raise ValueError(
                f"the vote of term {term} was given to {self._vote.name}, {vote} cannot have it"
            )
        wanted = Vote(term, vote)
        if wanted == self._vote:
            return
        with self._disk():
            store_vote(self._files, self._directory, wanted)
        self._vote = wanted

    def close(self) -> None:
        """Gives its file back. What was not flushed is lost. May be called again."""
        self._usable = False
        self._segments[-1].close(self._files)

    @property
    def _flushed_index(self) -> int:
        return self._last_index - len(self._pending)

    def _term_on_disk(self, index: int) -> int:
        return self._segment_of(index).term_at(index)

    def _segment_of(self, index: int) -> Segment:
        place = bisect_right(self._segments, index, key=_base_index)
        return self._segments[place - 1]

    def _read(self, index: int) -> LogEntry:
        with self._disk():
            entries = self._segment_of(index).read(self._files, index)
        for entry in reversed(entries):
            self._cache.put(entry)
        return entries[0]

    def _begin_segment(self, full: Segment) -> Segment:
        full.close(self._files)
        segment = Segment(self._directory, self._generation, full.last_index + 1)
        segment.create(self._files, [])
        self._segments.append(segment)
        return segment

    def _truncate_on_disk(self, index: int) -> None:
        """Newest segment first, each removed durably before the next: no gap can be."""
        if self._segments[-1].base_index >= index:
            self._segments[-1].close(self._files)
            while self._segments[-1].base_index >= index:
                self._remove(self._segments.pop())
            self._segments[-1].open(self._files)
        if self._segments[-1].last_index >= index:
            self._segments[-1].truncate_from(self._files, index)

    def _remove(self, segment: Segment) -> None:
        self._files.unlink(segment.path)
        self._files.sync_directory(self._directory)

    @staticmethod
    def _has_base_within(segment: Segment, index: int) -> bool:
        return len(segment) > 0 and segment.base_index <= index

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Around all that touches the disk: whatever comes out of it ends the journal's use."""
        try:
            yield
        except BaseException as error:
            self._usable = False
            self._failure = error
            raise

    def _check_usable(self) -> None:
        if not self._usable:
            raise JournalFailed(self._directory, self._failure)

    def _check_holds(self, index: int) -> None:
        self._check_usable()
        if not self.first_index <= index <= self._last_index:
            raise IndexError(
                f"entry {index} was asked for, the log holds {self.first_index} to "
                f"{self._last_index}"
            )


def _base_index(segment: Segment) -> int:
    return segment.base_index
