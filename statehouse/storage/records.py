"""Owns how the version of a key at a moment is found, for one key and for all of an agent's.

The `LATEST` row of a key tells its last version without a look at the records. A row from after the
moment asked about sends the read to the records, where one seek finds the version of any moment. An
agent that is a fork is asked level by level (lineage.py); others cost nothing for that. What it
finds it calls a place: where the record is, and all of it but the value.

Walks breathe: they yield None when they have looked at many rows and found nothing to tell.
"""

from __future__ import annotations

import heapq
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from statehouse.core import codec
from statehouse.core.keys import (
    Table,
    escaped,
    last_name,
    latest_key,
    record_key,
    record_place,
    terminated,
)
from statehouse.core.model import Kind, Record
from statehouse.storage.breath import BREATH_ROWS
from statehouse.storage.faults import RowLost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from statehouse.core.codec import Latest
    from statehouse.storage.lineage import Level, Lineage
    from statehouse.storage.rows import Row, Rows

Place = tuple[bytes, "Latest", bytes | None]
"""What the record's key begins with, what is known of the version, and its row if it was read."""

_TOMBSTONE = Kind.TOMBSTONE.value
_HEADER = codec.RECORD_HEADER_BYTES
# Marks begin with 0x00, which is stored as 0x00 0xFF; every key that a client names comes later.
_BEHIND_MARKS = b"\x01"

_Candidate = tuple[bytes, int, bytes, "Latest", int]
"""What follows the agent in a key, the number of the level; row key, last version, level's end."""


class Records:
    """The versions of all keys made up to the commit_ts `last`."""

    def __init__(self, rows: Rows, last: int, lineage: Lineage) -> None:
        self._rows = rows
        self._last = last
        self._lineage = lineage

    # -- One key

    def get(self, namespace: str, agent_id: str, key: str, at: int) -> Record | None:
        """The version that was the last at `at`, a tombstone too."""
        place = self.place(namespace, agent_id, key, at)
        return None if place is None else self.record(key, place)

    def place(self, namespace: str, agent_id: str, key: str, at: int) -> Place | None:
        """Where that version is."""
        prefix = latest_key(namespace, agent_id, key)
        place = self._last_place(prefix) if at == self._last else self.place_at(prefix, at)
        if place is not None:
            return place
        for level in self._lineage.ancestors(namespace, agent_id, at):
            place = self.place_at(level.agent + terminated(key), level.through)
            if place is not None:
                return place
        return None

    def version(self, namespace: str, agent_id: str, key: str, version: int) -> Place | None:
        """Where one version of the key is, whenever it was made.

        Versions and their commit_ts grow together, so halving finds the commit in few seeks.
        """
        for level in self._lineage.levels(namespace, agent_id, self._last):
            prefix = level.agent + terminated(key)
            newest = self.place_at(prefix, level.through)
            if newest is not None:
                if not 1 <= version <= newest[1][0]:
                    return None
                found = self._version_of(prefix, version, newest[1][1])
                if found is not None:
                    return found
        return None

    def place_at(self, prefix: bytes, at: int) -> Place | None:
        """The last version by `at` of a key of just one level."""
        found = self._rows.first(Table.RECORDS, record_key(prefix, at))
        if found is None or not found[0].startswith(prefix):
            return None
        return _place(prefix, found)

    def walk(self, prefix: bytes, first: int, last: int, newest_first: bool) -> Iterator[Place]:
        """The versions of a key of just one level, made from first to last, both included."""
        if newest_first:
            for found in self._rows.forward(Table.RECORDS, record_key(prefix, last), prefix):
                place = _place(prefix, found)
                if place[1][1] < first:
                    return
                yield place
        else:
            oldest = record_key(prefix, first, 0)
            for found in self._rows.backward(Table.RECORDS, oldest, prefix):
                place = _place(prefix, found)
                if place[1][1] > last:
                    return
                yield place

    def record(self, key: str, place: Place) -> Record:
        """A place with its value."""
        prefix, (version, commit_ts, kind, committed_at_us), row = place
        if kind == _TOMBSTONE:
            return Record(key, kind, b"", version, commit_ts, committed_at_us)
        if row is None:
            row = self._rows.get(Table.RECORDS, record_key(prefix, commit_ts, version))
            if row is None:
                raise RowLost(f"version {version} of key {key!r} is not in the database")
            kind, committed_at_us = codec.decode_record_header(row)
        return Record(key, kind, row[_HEADER:], version, commit_ts, committed_at_us)

    def _last_place(self, prefix: bytes) -> Place | None:
        row = self._rows.get(Table.LATEST, prefix)
        if row is None:
            return None
        latest = codec.decode_latest(row)
        return self._by(prefix, latest, self._last)

    def _by(self, prefix: bytes, latest: Latest, at: int) -> Place | None:
        """The version by `at`, from the row that tells the last."""
        if latest[1] <= at:
            return prefix, latest, None
        return self.place_at(prefix, at) if latest[0] > 1 else None

    def _version_of(self, prefix: bytes, version: int, high: int) -> Place | None:
        """One version, if this level has it; high: a commit_ts at which it was made already."""
        low = 1
        while low < high:
            middle = (low + high) // 2
            place = self.place_at(prefix, middle)
            if place is not None and place[1][0] >= version:
                high = place[1][1]
            else:
                low = middle + 1
        key = record_key(prefix, high, version)
        row = self._rows.get(Table.RECORDS, key)
        return None if row is None else _place(prefix, (key, row))

    # -- The keys of an agent

    def live(
        self, namespace: str, agent_id: str, prefix: str, at: int
    ) -> Iterator[tuple[str, Place] | None]:
        """The keys that hold a value at `at` and begin with `prefix`, in bytewise order."""
        levels = self._lineage.levels(namespace, agent_id, at)
        if len(levels) == 1:
            return self._live_of_one(levels[0], prefix)
        return self._live_of_many(levels, prefix)

    def _live_of_one(self, level: Level, prefix: str) -> Iterator[tuple[str, Place] | None]:
        at, names_at = level.through, len(level.agent)
        barren = 0
        for key, latest in self._latest_rows(level, prefix):
            place = self._by(key, latest, at)
            if place is not None and place[1][2] != _TOMBSTONE:
                barren = 0
                yield last_name(key, names_at), place
            else:
                barren += 1
                if barren % BREATH_ROWS == 0:
                    yield None

    def _live_of_many(self, levels: list[Level], prefix: str) -> Iterator[tuple[str, Place] | None]:
        walks = [self._candidates(number, level, prefix) for number, level in enumerate(levels)]
        barren = 0
        for name, candidates in groupby(heapq.merge(*walks), itemgetter(0)):
            place = self._nearest(candidates)
            if place is not None and place[1][2] != _TOMBSTONE:
                barren = 0
                yield last_name(name, 0), place
            else:
                barren += 1
                if barren % BREATH_ROWS == 0:
                    yield None

    def _nearest(self, candidates: Iterable[_Candidate]) -> Place | None:
        for _, _, key, latest, through in candidates:
            place = self._by(key, latest, through)
            if place is not None:
                return place
        return None

    def _candidates(self, number: int, level: Level, prefix: str) -> Iterator[_Candidate]:
        names_at = len(level.agent)
        for key, latest in self._latest_rows(level, prefix):
            yield key[names_at:], number, key, latest, level.through

    def _latest_rows(self, level: Level, prefix: str) -> Iterator[tuple[bytes, Latest]]:
        agent = level.agent
        start = agent + escaped(prefix)
        first = start if prefix else agent + _BEHIND_MARKS
        for key, row in self._rows.forward(Table.LATEST, first, start):
            yield key, codec.decode_latest(row)


def _place(prefix: bytes, row: Row) -> Place:
    commit_ts, version = record_place(row[0])
    kind, committed_at_us = codec.decode_record_header(row[1])
    return prefix, (version, commit_ts, kind, committed_at_us), row[1]
