"""A store of dictionaries: the real engine and the real views on rows that no library keeps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import islice

from statehouse.core.codec import Head
from statehouse.core.engine import Engine
from statehouse.core.keys import Table
from statehouse.storage.views import StateView


class MemoryRows:
    """`storage.rows.Rows`: a dictionary for each table, its keys sorted when asked."""

    def __init__(self):
        self.tables = {table: {} for table in Table}

    def write(self, puts, deletes):
        for table, key, value in puts:
            self.tables[table][key] = value
        for table, key in deletes:
            self.tables[table].pop(key, None)

    def get(self, table, key):
        return self.tables[table].get(key)

    def some(self, table, keys, backward=False):
        return map(self.tables[table].get, keys)

    def first(self, table, key):
        keys = sorted(self.tables[table])
        place = bisect_left(keys, key)
        return (keys[place], self.tables[table][keys[place]]) if place < len(keys) else None

    def last(self, table, key):
        keys = sorted(self.tables[table])
        place = bisect_right(keys, key)
        return (keys[place - 1], self.tables[table][keys[place - 1]]) if place else None

    def forward(self, table, start, prefix):
        keys = sorted(self.tables[table])
        return self._while_prefix(table, keys[bisect_left(keys, start) :], prefix)

    def batches(self, table, start, prefix):
        rows = self.forward(table, start, prefix)
        return iter(lambda: list(islice(rows, 3)), [])

    def backward(self, table, start, prefix):
        keys = sorted(self.tables[table])
        return self._while_prefix(table, reversed(keys[: bisect_right(keys, start)]), prefix)

    def _while_prefix(self, table, keys, prefix):
        for key in keys:
            if not key.startswith(prefix):
                return
            yield key, self.tables[table][key]


class MemoryStore:
    """Applies groups and makes views, as StateStore does; keeps nothing else."""

    def __init__(self):
        self.rows = MemoryRows()
        self.head = Head()
        self.index = 0

    def apply(self, *groups):
        """Applies groups in one step; returns the answers of each."""
        engine = Engine(_EngineView(self.rows, self.head))
        answers = []
        for group in groups:
            self.index += 1
            answers.append(engine.apply(group, self.index))
        puts, deletes, self.head = engine.effects()
        assert not {put[:2] for put in puts} & set(deletes)
        self.rows.write(puts, deletes)
        return answers

    def view(self):
        return StateView(self.rows, self.head, lambda: None)

    def count(self, table):
        return len(self.rows.tables[table])


class _EngineView:
    def __init__(self, rows, head):
        self.get, self.first = rows.get, rows.first
        self._head = head

    def head(self):
        return self._head
