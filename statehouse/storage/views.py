"""Owns every read: the state and the history as they were at one commit_ts.

A view is a commit_ts, not a snapshot of the database. Records, events and the lists of agents are
only ever added to, each row with the commit_ts that made it; so whatever is committed later can be
told by its number and left out, for as long as the view is held, at no cost to the writer. Only the
`LATEST` rows and the last `TIMES` row change, and both tell when they did. What is read is never
half of a commit, because the store names a commit_ts only after the whole batch is written.

It says what is asked and within which bounds; how it is found is said by idea: lineage.py,
records.py, events.py, history.py, verifying.py. It must not know what keeps the rows, nor what
sessions and receipts are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core import codec, marks
from statehouse.core.digest import HASH_BYTES
from statehouse.core.keys import Table, last_name, namespace_key, number_of, u64
from statehouse.core.model import AgentRow, CursorRow, Event, EventBody, Kind, LabelRow, Metadata
from statehouse.storage.events import Events
from statehouse.storage.history import History
from statehouse.storage.lineage import Lineage
from statehouse.storage.records import Records
from statehouse.storage.verifying import Verifying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from statehouse.core.codec import Head
    from statehouse.core.model import (
        DiffRow,
        ExplainedCommit,
        ForkRow,
        KeyBlame,
        Record,
        VerifyRow,
        VersionRow,
    )
    from statehouse.storage.rows import Rows

_TOMBSTONE = Kind.TOMBSTONE.value
_BEHIND_MARKS = b"\x01"
_NO_METADATA = Metadata()


class StateView:
    """The state at `commit_ts`, unchanged while it is held; to be closed, by one thread used.

    `at` is a commit_ts: 0 is before everything, and what lies above the view's own is cut to it.
    Iterators are lazy and must not be used after `close`. Where one may look at many rows and find
    nothing to tell, it breathes: it yields None about every 256 rows.
    """

    def __init__(self, rows: Rows, head: Head, release: Callable[[], None]) -> None:
        self._rows = rows
        self._release: Callable[[], None] | None = release
        self.commit_ts = head.commit_ts
        self.committed_at_us = head.committed_at_us
        self.chain_head = head.chain_hash
        self._lineage = Lineage(rows, head.commit_ts)
        self._records = Records(rows, head.commit_ts, self._lineage)
        self._events = Events(rows, head.commit_ts, self._lineage)
        self._history = History(self._records, self._events, self._lineage)

    def close(self) -> None:
        """Lets the store go; a second call does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> StateView:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def first_committed_at_us(self) -> int | None:
        """When the history begins: the time of commit 1; None before it."""
        found = self._rows.first(Table.TIMES, b"") if self.commit_ts else None
        return None if found is None else number_of(found[0])

    # -- Keys

    def get(self, namespace: str, agent_id: str, key: str, at: int | None = None) -> Record | None:
        """The version that was the last at `at`, a tombstone too; None: not written by then."""
        return self._records.get(namespace, agent_id, key, self._clip(at))

    def get_version(self, namespace: str, agent_id: str, key: str, version: int) -> Record | None:
        """One version of the key, whenever it was; None when the view has no such version."""
        place = self._records.version(namespace, agent_id, key, version)
        return None if place is None else self._records.record(key, place)

    def keys(
        self, namespace: str, agent_id: str, prefix: str = "", at: int | None = None
    ) -> Iterator[str | None]:
        """The keys that hold a value at `at` and begin with `prefix`, in bytewise order."""
        for found in self._records.live(namespace, agent_id, prefix, self._clip(at)):
            yield None if found is None else found[0]

    def scan(
        self, namespace: str, agent_id: str, prefix: str = "", at: int | None = None
    ) -> Iterator[Record | None]:
        """The records that `keys` names, with their values."""
        record = self._records.record
        for found in self._records.live(namespace, agent_id, prefix, self._clip(at)):
            yield None if found is None else record(*found)

    def agents(self, namespace: str) -> Iterator[AgentRow]:
        """The agents ever written to, in bytewise order."""
        prefix = namespace_key(namespace)
        for key, row in self._rows.forward(Table.AGENTS, prefix + _BEHIND_MARKS, prefix):
            first_commit_ts = codec.decode_agent(row).first_commit_ts
            if first_commit_ts <= self.commit_ts:
                yield AgentRow(last_name(key, len(prefix)), first_commit_ts)

    def namespaces(self) -> Iterator[str]:
        """The namespaces ever written to, in bytewise order."""
        for key, row in self._rows.forward(Table.NAMESPACES, b"", b""):
            if number_of(row) <= self.commit_ts:
                yield last_name(key, 0)

    # -- Marks

    def label(self, namespace: str, agent_id: str, name: str) -> int | None:
        """The commit_ts that the label names; None: there is none."""
        found = self.get(namespace, agent_id, marks.LABEL + name)
        return None if found is None else _label_row(agent_id, found).commit_ts or None

    def labels(self, namespace: str, agent_id: str) -> Iterator[LabelRow | None]:
        """The labels of an agent, by name, in bytewise order."""
        for found in self.scan(namespace, agent_id, marks.LABEL):
            yield None if found is None else _label_row(agent_id, found)

    def cursor(self, namespace: str, name: str) -> CursorRow | None:
        """None: it was never set; one that was deleted does not exist, but has a version."""
        found = self.get(namespace, marks.CURSORS, name)
        return None if found is None else _cursor_row(found)

    def cursors(self, namespace: str) -> Iterator[CursorRow | None]:
        """The cursors that exist, by name, in bytewise order."""
        for found in self.scan(namespace, marks.CURSORS):
            yield None if found is None else _cursor_row(found)

    def lineage(self, namespace: str, agent_id: str) -> tuple[ForkRow, ...]:
        """The agent's own fork, then its parent's, up to an agent that is no fork."""
        return self._lineage.ancestry(namespace, agent_id)

    def forks(self, namespace: str, agent_id: str, limit: int) -> tuple[ForkRow, ...]:
        """The first forks of this agent, the oldest first."""
        return self._lineage.forks(namespace, agent_id, limit)

    # -- Events

    def resolve_time(self, time_us: int) -> int:
        """The last commit_ts with committed_at not after `time_us`; 0 before the first."""
        if time_us < 0:
            return 0
        found = self._rows.last(Table.TIMES, u64(time_us))
        return 0 if found is None else min(number_of(found[1]), self.commit_ts)

    def chain_hash_at(self, commit_ts: int) -> bytes:
        """The hash of that event; of nothing at 0. ValueError: the view does not reach it."""
        if not 0 <= commit_ts <= self.commit_ts:
            raise ValueError(f"commit_ts {commit_ts} is not between 0 and {self.commit_ts}")
        return self._events.hash_at(commit_ts)

    def event(self, commit_ts: int) -> Event | None:
        """One event without values; None: the view has none of that number."""
        return self._events.without_values(commit_ts) if 1 <= commit_ts <= self.commit_ts else None

    def events(
        self,
        namespace: str | None = None,
        agent_id: str | None = None,
        start_ts: int = 1,
        end_ts: int | None = None,
        newest_first: bool = False,
        *,
        prefix: str = "",
        run_id: str = "",
        caused_by: int = 0,
        with_proof: bool = False,
        read_ahead: int = 1,
    ) -> Iterator[Event | None]:
        """The events from start_ts to end_ts, both included, that touch the scope.

        The scope is everything, a namespace but for its cursors, or one agent of it; prefix: and
        keys that begin so. An event tells only the operations in scope. run_id, caused_by: only
        events whose metadata says so. read_ahead: how many are asked for at once, for those cost
        less together. ValueError: an agent or a run without its namespace, or a run and a cause
        together.
        """
        if namespace is None and (agent_id is not None or run_id):
            raise ValueError("the events of an agent or of a run need their namespace")
        if run_id and caused_by:
            raise ValueError("the events of a run and those of a cause are two questions")
        first, last = max(start_ts, 1), self._clip(end_ts)
        if first > last:
            return iter(())
        events = self._events
        if namespace is not None and run_id:
            walk = events.walk_run(namespace, run_id, first, last, newest_first)
        elif caused_by:
            walk = events.walk_caused(caused_by, first, last, newest_first)
        elif namespace is not None and agent_id is not None:
            walk = events.walk_agent(namespace, agent_id, first, last, newest_first)
        else:
            walk = events.every(first, last, newest_first)
        scope = events.scope(namespace, agent_id, prefix)
        return events.told(walk, scope, with_proof=with_proof, read_ahead=read_ahead)

    def links(self, start_ts: int = 1, end_ts: int | None = None) -> Iterator[Event]:
        """Every event with nothing but commit_ts, hash, and what that is made of.

        Of its body only the commit_ts is filled in: who asks for links reads the bytes.
        """
        first, last = max(start_ts, 1), self._clip(end_ts)
        previous = self._events.hash_at(first - 1) if first <= last else b""
        for commit_ts, row in enumerate(self._events.every(first, last), first):
            its_hash = row[:HASH_BYTES]
            bare = EventBody(commit_ts, 0, "", b"", 0, _NO_METADATA, (), ())
            yield Event(bare, (), (), its_hash, previous, row[HASH_BYTES:])
            previous = its_hash

    # -- History

    def versions(
        self,
        namespace: str,
        agent_id: str,
        key: str,
        start_ts: int = 1,
        end_ts: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[VersionRow | None]:
        """The versions made from start_ts to end_ts, both included, tombstones too."""
        first, last = max(start_ts, 1), self._clip(end_ts)
        return self._history.versions(namespace, agent_id, key, first, last, newest_first)

    def blame(
        self,
        namespace: str,
        agent_id: str,
        prefix: str = "",
        at: int | None = None,
        fields: bool = False,
    ) -> Iterator[KeyBlame | None]:
        """For each key that `keys` names: the commit that set it, and each field of an object."""
        return self._history.blame(namespace, agent_id, prefix, self._clip(at), fields)

    def explain(
        self,
        namespace: str,
        agent_id: str,
        key: str,
        at: int | None = None,
        version: int = 0,
        limit: int = 1000,
    ) -> Iterator[ExplainedCommit | None]:
        """The commit that set the key, what that had read, what caused it, back to the roots.

        At most `limit`, by distance, then by commit_ts downwards; each once.
        """
        if version:
            place = self._records.version(namespace, agent_id, key, version)
        else:
            place = self._records.place(namespace, agent_id, key, self._clip(at))
        if place is None:
            return iter(())
        return self._history.explain(namespace, agent_id, key, place, limit)

    def diff(
        self,
        namespace: str,
        agent_id: str,
        a: int,
        other_agent_id: str,
        b: int,
        prefix: str = "",
    ) -> Iterator[DiffRow | None]:
        """The keys that differ between agent_id at a and other_agent_id at b, in bytewise order."""
        a, b = self._clip(a), self._clip(b)
        return self._history.diff(namespace, agent_id, a, other_agent_id, b, prefix)

    def verify(
        self, after: int = 0, namespace: str | None = None, agent_id: str | None = None
    ) -> Iterator[VerifyRow | None]:
        """Checks each event against the chain, and each value against its event.

        A row now and then tells how far it is; the last is finished, and says so if something does
        not agree. An agent's events are each checked against the one before. ValueError: an agent
        without its namespace or the other way round, or with `after`, or `after` beyond the view.
        """
        if (namespace is None) != (agent_id is None):
            raise ValueError("what is verified is everything, or one agent of one namespace")
        if not 0 <= after <= self.commit_ts:
            raise ValueError(f"commit_ts {after} is not between 0 and {self.commit_ts}")
        checks = Verifying(self._events, self._rows)
        if namespace is None or agent_id is None:
            return checks.everything(after, self.commit_ts, self.chain_head)
        if after:
            raise ValueError("an agent's events are verified from its first")
        return checks.agent(namespace, agent_id, self.commit_ts)

    def _clip(self, at: int | None) -> int:
        return self.commit_ts if at is None or at > self.commit_ts else at


def _label_row(agent_id: str, record: Record) -> LabelRow:
    mark = marks.mark_of(agent_id, record.key, record.kind, record.value)
    commit_ts = mark.commit_ts if isinstance(mark, marks.Label) else 0
    name = record.key[len(marks.LABEL) :]
    return LabelRow(name, commit_ts, record.version, record.commit_ts, record.committed_at_us)


def _cursor_row(record: Record) -> CursorRow:
    mark = marks.mark_of(marks.CURSORS, record.key, record.kind, record.value)
    version = record.version
    if not isinstance(mark, marks.Cursor) or mark.deleted:
        return CursorRow(record.key, 0, "", "", version, 0, False)
    through, set_at = mark.through, record.commit_ts
    return CursorRow(mark.name, through, mark.agent_id, mark.prefix, version, set_at, True)
