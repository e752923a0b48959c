"""Owns what happens to a journal's directory at a start: it is made, or read and judged.

What a crash leaves behind is told from damage, put right and reported: files that were not
finished, a torn end, segments of a generation that was replaced. Of two generations the newer one
is the journal, for its first segment is renamed into place when it is whole and durable. Damage
is refused and then nothing is changed. It must not know how a journal is used afterwards.

The directory is synced before anything is concluded from its names: after a process was killed,
names and contents that are seen may be in memory only, and a vote or an acknowledgement of this
process will rest on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from statehouse_cluster.damage import JournalDamaged
from statehouse_cluster.files import ASIDE_SUFFIX
from statehouse_cluster.log_view import LogEntry
from statehouse_cluster.segment import Segment, parse_segment_name
from statehouse_cluster.vote import VOTE_NAME, Vote, load_vote, store_vote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from statehouse_cluster.files import Files

BASE_PAYLOAD = b"\x01"
"""What the base entry of a log that is new, or was reset, holds: a no-op."""

_FIRST_GENERATION = 1


class Opened(NamedTuple):
    """A journal's content: its segments in order, the last of them open, never none."""

    generation: int
    segments: list[Segment]
    vote: Vote


def open_directory(directory: Path, files: Files, report: Callable[[str], None]) -> Opened:
    """Raises JournalDamaged, or OSError; `report` gets a line for all that was cleared away."""
    files.make_directory(directory)
    files.sync_directory(directory.parent)
    files.sync_directory(directory)
    names = files.list_directory(directory)
    found = {name: parsed for name in names if (parsed := parse_segment_name(name)) is not None}
    if found:
        if VOTE_NAME not in names:
            raise JournalDamaged(directory / VOTE_NAME, 0, "the file is missing")
        vote = load_vote(files, directory)
        generation = max(parsed[0] for parsed in found.values())
        bases = sorted(base for of, base in found.values() if of == generation)
        segments = _load(directory, generation, bases, files, report)
    else:
        vote = _vote_of_new(directory, names, files)
        generation = _FIRST_GENERATION
        segments = [Segment(directory, generation, 0)]
        segments[0].create(files, [LogEntry(BASE_PAYLOAD, 0, 0)])
    replaced = [name for name, parsed in found.items() if parsed[0] != generation]
    _clear(directory, replaced, files, report)
    return Opened(generation, segments, vote)


def _vote_of_new(directory: Path, names: list[str], files: Files) -> Vote:
    """The vote is written before the first segment: so a log without a vote is always damage."""
    vote = Vote(0, None)
    if VOTE_NAME not in names:
        store_vote(files, directory, vote)
    elif load_vote(files, directory) != vote:
        raise JournalDamaged(directory, 0, "there is a vote, but no segment of the log")
    return vote


def _load(
    directory: Path, generation: int, bases: list[int], files: Files, report: Callable[[str], None]
) -> list[Segment]:
    segments: list[Segment] = []
    term = 0
    for base_index in bases:
        segment = Segment(directory, generation, base_index)
        if segments and segments[-1].last_index + 1 != base_index:
            what = f"entry {base_index} begins this file, but {segments[-1].last_index} is before"
            raise JournalDamaged(segment.path, 0, what)
        last = base_index == bases[-1]
        torn = segment.load(files, last=last)
        if len(segment) == 0 and not (last and segments):
            raise JournalDamaged(segment.path, segment.size_bytes, "the file has no entry")
        if len(segment) and segment.term_at(base_index) < term:
            what = f"entry {base_index} has a term below the {term} of the entry before"
            raise JournalDamaged(segment.path, segment.size_bytes, what)
        if len(segment):
            term = segment.term_at(segment.last_index)
        if torn is not None:
            report(f"cut off what a crash left unfinished: {torn}")
        segments.append(segment)
    segments[-1].open(files)
    segments[-1].secure(files)
    return segments


def _clear(
    directory: Path, replaced: list[str], files: Files, report: Callable[[str], None]
) -> None:
    """Not synced: what comes back after one more crash is cleared away once more."""
    unfinished = [n for n in files.list_directory(directory) if n.endswith(ASIDE_SUFFIX)]
    for name in unfinished:
        report(f"removed {directory / name}: a crash left it unfinished")
        files.unlink(directory / name)
    for name in replaced:
        report(f"removed {directory / name}: a snapshot replaced the log it belongs to")
        files.unlink(directory / name)
