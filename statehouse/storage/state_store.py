"""Owns the replicated state of one node: what consensus applies, copies and replaces.

Each apply is one batch: the rows of its transactions, and the position, the head of the history and
the configuration that belong to them. So after any crash the database says by itself how far it is.
Consensus calls from the raft thread; `view`, `head` and `position` may be called from any thread.
It must not know Raft, nor what the engine's rows mean.
"""

from __future__ import annotations

import shutil
from threading import Lock
from typing import TYPE_CHECKING

from statehouse_cluster.interfaces import Position

from statehouse.core import codec
from statehouse.core.codec import CodecError, Head, State
from statehouse.core.digest import GENESIS, HASH_BYTES
from statehouse.core.engine import Engine
from statehouse.core.invariants import invariant
from statehouse.core.keys import META_CONFIGURATION, META_FORMAT, META_STATE, Table, number_of
from statehouse.storage.database import Database
from statehouse.storage.directory import StoreDirectory, sync_tree
from statehouse.storage.faults import REPLACE_MEMBER, StoreFailed, StoreRefused
from statehouse.storage.manifest import manifest_is_whole
from statehouse.storage.recent_rows import RecentRows
from statehouse.storage.temporary import TemporaryDirectory
from statehouse.storage.views import StateView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from statehouse_cluster.interfaces import Entry

    from statehouse.core.model import Answer
    from statehouse.storage.rows import Row

_LATEST = Table.LATEST


class StateStore:
    """A `statehouse_cluster.interfaces.StateMachine` on RocksDB, with views for readers.

    Anything it raises after it was opened means that this node must stop.
    """

    def __init__(self, directory: Path, *, now_us: Callable[[], int]) -> None:
        """Opens the store in `directory`, or makes it there. Raises StoreRefused.

        now_us: UTC microseconds, for the time of what is grouped on this node.
        """
        self._directory = StoreDirectory(directory)
        self._now_us = now_us
        self._temporary: TemporaryDirectory | None = None
        self._closed = False
        self._prepared = False
        self._swap = Lock()
        self._told_failure: Callable[[StoreFailed], None] = lambda failure: None
        if not self._directory.ready:
            _make(self._directory)
        self._database, self._state, self._configuration = _open(
            self._directory.database, self._directory.durable_index
        )
        self._last_versions = RecentRows()

    @classmethod
    def temporary(cls, *, now_us: Callable[[], int]) -> StateStore:
        """A store for nodes without a disk; it is gone when it is closed, or its process ends."""
        home = TemporaryDirectory()
        store = cls(home.path / "state", now_us=now_us)
        store._temporary = home
        return store

    def when_failed(self, call: Callable[[StoreFailed], None]) -> None:
        """Has `call` called when the database fails, also under a reader's hands.

        It comes on the thread that met the failure, before the failure is raised there.
        """
        self._told_failure = call
        self._database.when_failed(call)

    # -- What readers ask

    @property
    def head(self) -> Head:
        """commit_ts, committed_at_us and chain_hash of the last commit that is applied."""
        return self._state.head

    def view(self) -> StateView:
        """The state as applied now; to be closed."""
        with self._swap:
            database, head = self._database, self._state.head
            database.retain()
        return StateView(database, head, database.release)

    # -- What consensus asks

    def position(self) -> Position:
        """The last position applied; (0, 0) for a new store."""
        return Position(self._state.index, self._state.term)

    def configuration(self) -> bytes:
        """The blob given with the last apply or install that had one; b"" when there was none."""
        return self._configuration

    def group(self, commands: Sequence[bytes]) -> bytes:
        """One log entry's payload, with this node's time."""
        time_us = max(self._now_us(), self._state.head.committed_at_us)
        return codec.encode_group(time_us, commands)

    def apply(
        self, entries: Sequence[Entry], position: Position, configuration: bytes | None
    ) -> list[Sequence[Answer]]:
        """Applies entries in one batch; for each, the answers to its commands."""
        engine = Engine(_EngineView(self._database, self._state.head, self._last_versions))
        index = self._state.index
        answers: list[Sequence[Answer]] = []
        for entry in entries:
            invariant(entry.index > index, f"entry {entry.index} comes after {index}")
            index = entry.index
            answers.append(engine.apply(codec.decode_group(entry.payload), index))
        invariant(position.index >= index, f"position {position.index} lies before entry {index}")
        puts, deletes, head = engine.effects()
        state = State(position.index, position.term, head)
        puts.append((Table.META, META_STATE, codec.encode_state(state)))
        if configuration is not None:
            puts.append((Table.META, META_CONFIGURATION, configuration))
        self._database.write(puts, deletes)
        for table, key, row in puts:
            if table is _LATEST:
                self._last_versions.put(key, row)
        self._state = state
        if configuration is not None:
            self._configuration = configuration
        return answers

    def sync(self) -> None:
        """Makes all that was applied durable; a later open that finds less refuses."""
        index = self._state.index
        self._database.sync()
        self._directory.mark_durable(index)

    def prepare_checkpoint(self) -> bool:
        """Has what is only in memory written out in the background; whether it is by now.

        A checkpoint writes that out first, and the interpreter stands still until it has.
        """
        if not self._prepared:
            self._prepared = True
            self._database.begin_flush()
        return not self._database.is_flushing()

    def checkpoint(self, directory: Path) -> None:
        """Writes a consistent copy into `directory`, which must not exist; `install` syncs it."""
        self._prepared = False
        self._database.checkpoint(directory)

    def install(self, directory: Path) -> None:
        """Replaces the state by a checkpoint, atomically and durably; takes the directory over.

        Raises StoreRefused when the copy is unsound; the state in use is then untouched. Open views
        keep reading the state they were made from.
        """
        # Once it is open, RocksDB adds and removes files of its own, and syncs them itself.
        _sync_copy(directory)
        moved = self._directory.move_in(directory)
        try:
            database, state, configuration = _open(moved, self._state.index)
        except StoreRefused:
            shutil.rmtree(moved, ignore_errors=True)
            raise
        database.sync()
        self._directory.switch(state.index)
        database.when_failed(self._told_failure)
        with self._swap:
            old, self._database = self._database, database
            self._last_versions = RecentRows()
            self._state, self._configuration = state, configuration
        old.when_closed(lambda: shutil.rmtree(old.path, ignore_errors=True))
        old.release()

    def close(self) -> None:
        """Syncs and closes; views must have been closed before. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self.sync()
        self._database.release()
        if self._temporary is not None:
            self._temporary.remove()


class _EngineView:
    """What the engine sees: the database before the apply."""

    def __init__(self, database: Database, head: Head, last_versions: RecentRows) -> None:
        self._head = head
        self._database = database
        self._last_versions = last_versions
        self.first = database.first

    def head(self) -> Head:
        return self._head

    def get(self, table: Table, key: bytes) -> bytes | None:
        if table is not _LATEST:
            return self._database.get(table, key)
        row = self._last_versions.get(key)
        return self._database.get(table, key) if row is None else row


def _make(directory: StoreDirectory) -> None:
    """Makes the first database; nothing of it counts before the directory is marked ready."""
    database = Database(directory.database, create=True)
    puts = [
        (Table.META, META_FORMAT, str(codec.STORE_FORMAT).encode()),
        (Table.META, META_STATE, codec.encode_state(State(0, 0, Head()))),
        (Table.META, META_CONFIGURATION, b""),
    ]
    try:
        database.write(puts, [])
        database.sync()
    finally:
        database.release()
    directory.mark_ready()


def _open(path: Path, least_index: int) -> tuple[Database, State, bytes]:
    """Opens a database and reads what it says of itself; raises StoreRefused.

    least_index: what it must have applied at least, or it has lost data.
    """
    if not manifest_is_whole(path):
        # Torn in a crash, or damaged at the very end. What was named there may be lost, and
        # RocksDB would delete it: look before it does.
        probe = Database(path, read_only=True)
        try:
            state, _ = _read(probe, least_index)
            _check_dense(probe, state.head)
        finally:
            probe.release()
    database = Database(path)
    try:
        return database, *_read(database, least_index)
    except StoreRefused:
        database.release()
        raise


def _read(database: Database, least_index: int) -> tuple[State, bytes]:
    """What a database says of itself; StoreRefused when it is not one of ours, or damaged."""
    try:
        version = database.get(Table.META, META_FORMAT)
        if version != str(codec.STORE_FORMAT).encode():
            shown = "none" if version is None else repr(version.decode(errors="replace"))
            raise StoreRefused(
                f"the database in {database.path} has format {shown}, and this program knows "
                f"{codec.STORE_FORMAT} only; run the version that wrote it"
            )
        row = database.get(Table.META, META_STATE)
        configuration = database.get(Table.META, META_CONFIGURATION)
        if row is None or configuration is None:
            raise StoreRefused(f"the database in {database.path} does not say what it holds")
        state = codec.decode_state(row)
        if state.index < least_index:
            raise StoreRefused(
                f"the database in {database.path} holds what was applied up to entry "
                f"{state.index}, but {least_index} was durable before: {REPLACE_MEMBER}"
            )
        _check_head(database, state.head)
    except (StoreFailed, CodecError) as error:
        raise StoreRefused(f"the database in {database.path} is damaged: {error}") from error
    return state, configuration


def _check_head(database: Database, head: Head) -> None:
    """The last event is there and is the one the head names; no later one is."""
    last: Row | None = database.last(Table.EVENTS, b"\xff" * 8)
    found = GENESIS if last is None else last[1][:HASH_BYTES]
    commit_ts = 0 if last is None else number_of(last[0])
    if commit_ts != head.commit_ts or found != head.chain_hash:
        raise StoreRefused(
            f"the database in {database.path} ends at commit_ts {commit_ts}, but says it holds "
            f"{head.commit_ts}; {REPLACE_MEMBER}"
        )


def _check_dense(database: Database, head: Head) -> None:
    """Every event is there; tables are flushed together, so no other table has lost rows."""
    expected = 1
    for key, _ in database.forward(Table.EVENTS, b"", b""):
        if number_of(key) != expected:
            break
        expected += 1
    if expected <= head.commit_ts:
        raise StoreRefused(
            f"the database in {database.path} has lost the event of commit_ts {expected}; "
            f"{REPLACE_MEMBER}"
        )


def _sync_copy(directory: Path) -> None:
    try:
        sync_tree(directory)
    except OSError as error:
        raise StoreFailed(f"cannot sync the copy in {directory}: {error}") from error
