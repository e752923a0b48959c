"""Values of many events read together: the same values, none of them missed, none too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statehouse.core.keys import Table
from statehouse.core.limits import READ_AHEAD_BYTES_MAX
from statehouse.core.model import Kind
from statehouse.storage.faults import RowLost
from tests.oracle.memory_store import MemoryStore
from tests.oracle.writing import Writer, delete, group, write

names = st.sampled_from(["k", "l", "m/1", "m/2"])
agents = st.sampled_from(["a", "b"])
operations = st.builds(
    lambda key, agent, value: write(key, value, agent=agent, kind=Kind.BYTES),
    names,
    agents,
    st.sampled_from([b"", b"1", b"x" * 300, b"y" * (READ_AHEAD_BYTES_MAX // 3)]),
) | st.builds(lambda key, agent: delete(key, agent=agent), names, agents)


def store_of(*commits):
    store, writer = MemoryStore(), Writer()
    store.apply(group(*[writer.submit(*made) for made in commits]))
    return store


@given(
    commits=st.lists(st.lists(operations, max_size=3), max_size=30),
    read_ahead=st.sampled_from([2, 3, 7, 512]),
    scope=st.sampled_from([(), ("default",), ("default", "a"), ("default", "b")]),
    prefix=st.sampled_from(["", "m/"]),
    newest_first=st.booleans(),
    with_proof=st.booleans(),
)
def test_events_are_the_same_however_many_are_read_at_once(
    commits, read_ahead, scope, prefix, newest_first, with_proof
):
    view = store_of(*commits).view()
    one_by_one, together = [
        [
            event
            for event in view.events(
                *scope,
                newest_first=newest_first,
                prefix=prefix,
                with_proof=with_proof,
                read_ahead=ahead,
            )
            if event is not None
        ]
        for ahead in (1, read_ahead)
    ]
    assert together == one_by_one


@pytest.mark.parametrize("lost", [1, 3, 7, 10])
def test_a_value_that_is_gone_is_missed_when_its_event_is_told(lost):
    store = store_of(*[[write(f"k{number % 2}")] for number in range(10)])
    records = store.rows.tables[Table.RECORDS]
    events = store.view().events("default", "a")
    (operation,) = [event.operations[0] for event in events if event.commit_ts == lost]
    gone = [key for key in records if _is_of(key, operation.key, operation.version)]
    assert len(gone) == 1
    del records[gone[0]]
    told = filter(None, store.view().events("default", "a", read_ahead=512))
    for commit_ts in range(1, lost):
        assert next(told).commit_ts == commit_ts
    with pytest.raises(RowLost, match=f"version {operation.version} of key '{operation.key}'"):
        next(told)


def _is_of(row_key, name, version):
    return name.encode() in row_key and row_key.endswith((2**64 - 1 - version).to_bytes(8, "big"))


class Counted:
    """Rows of which it is told how many bytes of values were read."""

    def __init__(self, rows):
        self._rows = rows
        self.read_bytes = 0
        self.forward, self.backward, self.batches = rows.forward, rows.backward, rows.batches

    def get(self, table, key):
        return self._count(table, self._rows.get(table, key))

    def some(self, table, keys, backward=False):
        return (self._count(table, row) for row in self._rows.some(table, keys, backward))

    def _count(self, table, row):
        self.read_bytes += len(row or b"") if table is Table.RECORDS else 0
        return row


def test_what_is_read_ahead_is_bounded():
    small, large = 16, READ_AHEAD_BYTES_MAX // 2
    sizes = [small] * 100 + [large] * 100
    store = store_of(*[[write(f"k{n:03}", b"x" * size)] for n, size in enumerate(sizes)])
    store.rows = rows = Counted(store.rows)
    told_bytes = 0
    for event in filter(None, store.view().events("default", "a", read_ahead=512)):
        told_bytes += len(event.operations[0].value)
        assert rows.read_bytes - told_bytes <= READ_AHEAD_BYTES_MAX + 2 * large


def test_no_more_is_read_than_is_asked_for():
    store = store_of(*[[write(f"k{number:03}", b"x" * 20)] for number in range(100)])
    store.rows = rows = Counted(store.rows)
    events = filter(None, store.view().events("default", "a", read_ahead=10))
    assert [next(events).commit_ts for _ in range(10)] == list(range(1, 11))
    assert rows.read_bytes < 11 * 30
