"""Both stores of simulated nodes are one state machine, and lose no more than a power loss may."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_cluster.interfaces import Entry, Position

from statehouse.core.keys import Table
from tests.helpers.chain import check_chain
from tests.oracle.writing import Writer, delete, version_is, write
from tests.simulation.rows import MemoryRows
from tests.simulation.stores import MemoryStore, RocksStore, Shelf
from tests.simulation.telling import events_of

KEYS = [bytes([number]) for number in range(12)]
TABLES = (Table.LATEST, Table.RECEIPTS)
BATCHES = st.lists(
    st.dictionaries(st.tuples(st.sampled_from(TABLES), st.sampled_from(KEYS)), st.booleans()),
    max_size=12,
)


@given(BATCHES, st.integers(0, 12), st.integers(0, 12))
def test_rows_are_what_is_left_of_the_batches(batches, synced, taken_back):
    rows = MemoryRows()
    states = [{}]
    for number, batch in enumerate(batches):
        puts = [(table, key, b"%d" % number) for (table, key), is_put in batch.items() if is_put]
        deletes = [(table, key) for (table, key), is_put in batch.items() if not is_put]
        rows.write(puts, deletes)
        state = {**states[-1], **{(table, key): value for table, key, value in puts}}
        states.append({place: row for place, row in state.items() if place not in deletes})
        assert [key for key, _ in rows.forward(Table.LATEST, b"", b"")] == in_order(states[-1])
        if number == synced:
            rows.sync()
    unsynced = min(taken_back, rows.unsynced)
    rows.take_back(unsynced)
    left = states[len(batches) - unsynced]
    assert [key for key, _ in rows.forward(Table.LATEST, b"", b"")] == in_order(left)
    assert [key for key, _ in rows.backward(Table.LATEST, b"\xff", b"")] == in_order(left)[::-1]
    for table in TABLES:
        for key in KEYS:
            assert rows.get(table, key) == left.get((table, key))


def in_order(state):
    return sorted(key for table, key in state if table is Table.LATEST)


def some_groups(store, random, count):
    """Entries as a leader would make them: writes, deletes, conflicts."""
    writer = Writer()
    for index in range(1, count + 1):
        key = f"k{random.randrange(4)}"
        operation = delete(key) if random.random() < 0.2 else write(key, b"%d" % index)
        wanted = [version_is(key, random.randrange(3))] if random.random() < 0.3 else []
        payload = store.group([writer.submit(operation, preconditions=wanted)])
        yield Entry(index, 1, payload)


def apply(store, entry):
    return store.apply([entry], Position(entry.index, entry.term), None)


@pytest.fixture
def stores(tmp_path):
    clock = iter(range(1_700_000_000_000_000, 1_800_000_000_000_000, 1_000))
    made = MemoryStore(Shelf(), lambda: next(clock)), RocksStore(tmp_path / "s", lambda: 0)
    yield made
    for store in made:
        store.kill()


def test_memory_and_rocksdb_are_one_state_machine(stores):
    memory, rocks = stores
    for entry in some_groups(memory, Random(1), 60):
        assert apply(memory, entry) == apply(rocks, entry)
    assert memory.head == rocks.head
    assert memory.position() == rocks.position()
    with memory.view() as mine, rocks.view() as theirs:
        assert events_of(mine) == events_of(theirs)
        check_chain(mine)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", [0, 1], ids=["memory", "rocksdb"])
def test_a_power_loss_keeps_a_beginning_and_all_that_was_synced(stores, kind, seed):
    store = stores[kind]
    entries = list(some_groups(stores[0], Random(2), 40))
    heads = [store.head]
    for entry in entries:
        apply(store, entry)
        heads.append(store.head)
        if entry.index == 15:
            store.sync()
    store.lose_power(Random(seed))
    store.start()
    kept = store.position().index
    assert 15 <= kept <= 40
    assert store.head == heads[kept]
    for entry in entries[kept:]:
        apply(store, entry)
    assert store.head == heads[-1]


@pytest.mark.parametrize("kind", [0, 1], ids=["memory", "rocksdb"])
def test_a_kill_loses_nothing_and_a_checkpoint_is_all_of_it(stores, kind, tmp_path):
    store = stores[kind]
    for entry in some_groups(stores[0], Random(3), 20):
        apply(store, entry)
    store.kill()
    store.start()
    assert store.position().index == 20
    store.checkpoint(tmp_path / "copies" / "one")
    shelf = stores[0]._shelf
    other = RocksStore(tmp_path / "o", lambda: 0) if kind else MemoryStore(shelf, lambda: 0)
    other.install(Path(tmp_path / "copies" / "one"))
    assert other.head == store.head
    other.kill()
