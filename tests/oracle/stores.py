"""Two stores to commit to and to view, alike in use: of dictionaries, and on a real database."""

from __future__ import annotations

from statehouse_cluster.interfaces import Entry, Position

from statehouse.core import codec
from statehouse.core.keys import Table
from statehouse.storage.state_store import StateStore
from tests.oracle.memory_store import MemoryStore
from tests.oracle.writing import START_US, group


class Dictionaries:
    def __init__(self, _path):
        self.store = MemoryStore()
        self.rows = self.store.rows
        self.apply, self.view = self.store.apply, self.store.view

    def commit(self, *submissions, at_us=START_US):
        """Applies one group."""
        return self.apply(group(*submissions, at_us=at_us))[0]

    def tables(self):
        return self.rows.tables

    def close(self):
        pass


class OnRocksDB:
    def __init__(self, path):
        self.store = StateStore(path / "state", now_us=lambda: START_US)
        self.rows = self.store._database
        self.index = 0
        self.view, self.close = self.store.view, self.store.close

    def apply(self, *groups):
        """Applies groups in one step; returns the answers of each."""
        entries = []
        for one in groups:
            self.index += 1
            payload = codec.encode_group(one.committed_at_us, one.submissions)
            entries.append(Entry(self.index, 1, payload))
        return self.store.apply(entries, Position(self.index, 1), None)

    def commit(self, *submissions, at_us=START_US):
        """Applies one group."""
        return self.apply(group(*submissions, at_us=at_us))[0]

    def tables(self):
        """The rows of all tables but `META`, which dictionaries do not have."""
        return {table: dict(self.rows.forward(table, b"", b"")) if table else {} for table in Table}
