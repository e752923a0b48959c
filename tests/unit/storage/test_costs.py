"""What a question costs, in rows looked at: never more because the history is longer."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from statehouse.core.engine import Engine
from statehouse.core.keys import Table
from statehouse.core.marks import Fork
from statehouse.storage.views import StateView
from tests.oracle.memory_store import MemoryStore
from tests.oracle.writing import Writer, group, mark, write


class CountedRows:
    """Rows that count each one they hand out, by table."""

    def __init__(self, rows):
        self._rows = rows
        self.count = dict.fromkeys(Table, 0)
        for name in ("get", "first", "last"):
            setattr(self, name, self._one(getattr(rows, name)))
        self.forward, self.backward = self._many(rows.forward), self._many(rows.backward)
        self.some = self._many(rows.some)

    def _one(self, ask):
        def counted(table, key):
            self.count[table] += 1
            return ask(table, key)

        return counted

    def _many(self, walk):
        def counted(table, *where):
            for row in walk(table, *where):
                self.count[table] += 1
                yield row

        return counted

    def spent(self, ask):
        """The rows that an answer cost."""
        before = sum(self.count.values())
        answer = ask()
        if hasattr(answer, "__next__"):
            list(answer)
        return sum(self.count.values()) - before


def counted(store):
    rows = CountedRows(store.rows)
    return rows, StateView(rows, store.head, lambda: None)


def store_of(keys, versions):
    """An agent with so many keys, each written so many times."""
    store, writer = MemoryStore(), Writer()
    for number in range(versions):
        names = [f"k{key:05}" for key in range(keys)]
        for start in range(0, keys, 100):
            made = [write(name, b"%d" % number) for name in names[start : start + 100]]
            store.apply(group(writer.submit(*made)))
    return store, writer


class EngineView:
    """What an engine sees, counted."""

    def __init__(self, rows, head):
        self.get, self.first, self._head = rows.get, rows.first, head

    def head(self):
        return self._head


def cost_of_a_fork(store, writer):
    """Rows read and written by the commit of a fork."""
    rows = CountedRows(store.rows)
    engine = Engine(EngineView(rows, store.head))
    fork = writer.submit(mark(Fork("a", store.head.commit_ts), agent="f"))
    (answer,) = engine.apply(group(fork), store.index + 1)
    assert answer.commit_ts == store.head.commit_ts + 1
    effects = engine.effects()
    return sum(rows.count.values()), len(effects.puts), len(effects.deletes)


def test_a_fork_costs_the_same_whatever_the_parent_holds():
    costs = {cost_of_a_fork(*store_of(keys, 2)) for keys in (1, 100, 3000)}
    assert len(costs) == 1
    (reads, puts, deletes) = costs.pop()
    assert reads <= 6
    assert puts <= 12
    assert deletes == 0


@pytest.mark.parametrize("at", [1, 30, 59])
def test_the_past_of_a_key_is_one_seek_away_however_long_its_history(at):
    for versions in (60, 120):
        store, _ = store_of(1, versions)
        rows, view = counted(store)
        assert rows.spent(lambda: view.get("default", "a", "k00000", at)) == 1  # noqa: B023  # called at once


def test_the_present_of_a_key_is_two_reads_away():
    store, _ = store_of(1, 100)
    rows, view = counted(store)
    assert rows.spent(lambda: view.get("default", "a", "k00000")) == 2


def test_a_fork_is_read_with_a_seek_more_for_each_ancestor():
    store, writer = store_of(1, 50)
    store.apply(group(writer.submit(mark(Fork("a", 40), agent="f"))))
    store.apply(group(writer.submit(mark(Fork("f", 51), agent="g"))))
    rows, view = counted(store)
    assert rows.spent(lambda: view.get("default", "g", "k00000")) == 3 + 3  # lineage, then levels
    assert rows.spent(lambda: view.get("default", "g", "k00000")) == 3


def test_a_list_of_keys_costs_the_keys_not_their_versions():
    costs = set()
    for versions in (2, 20):
        store, _ = store_of(50, versions)
        rows, view = counted(store)
        costs.add(rows.spent(lambda: view.keys("default", "a")))  # noqa: B023  # called at once
    assert costs == {50 + 1}


def test_a_difference_costs_the_keys_and_what_changed_not_the_history():
    costs = set()
    for versions in (3, 30):
        store, writer = store_of(200, versions)
        before = store.head.commit_ts
        store.apply(group(writer.submit(write("k00007", b'"new"'))))
        rows, view = counted(store)
        costs.add(rows.spent(lambda: view.diff("default", "a", before, "a", before + 1)))  # noqa: B023  # called at once
    (cost,) = costs
    assert cost <= 2 * 200 + 8


def test_what_fork_and_parent_share_is_compared_without_its_values():
    store, writer = store_of(200, 5)
    store.apply(group(writer.submit(mark(Fork("a", store.head.commit_ts), agent="f"))))
    store.apply(group(writer.submit(write("k00007", b'"new"', agent="f"))))
    rows, view = counted(store)
    last = store.head.commit_ts
    rows.spent(lambda: view.diff("default", "a", last, "f", last))
    assert rows.count[Table.RECORDS] == 2


def test_blame_reads_a_version_only_while_it_may_tell_something():
    store, writer = MemoryStore(), Writer()
    for number in range(100):
        store.apply(group(writer.submit(write("k", b'{"n":%d}' % number))))
    rows, view = counted(store)
    rows.spent(lambda: view.blame("default", "a", fields=True))
    assert rows.count[Table.RECORDS] <= 4


def test_blame_keeps_no_values_of_the_versions_it_has_looked_at():
    store, writer = MemoryStore(), Writer()
    fields: dict[str, object] = {"pad": "x" * 100_000}
    for number in range(100):
        fields[f"f{number}"] = number
        store.apply(group(writer.submit(write("k", json.dumps(fields).encode()))))
    view = store.view()
    tracemalloc.start()
    try:
        (told,) = [row for row in view.blame("default", "a", fields=True) if row is not None]
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [field.version for field in told.fields] == [1, *range(1, 101)]
    assert peak_bytes < 3_000_000
