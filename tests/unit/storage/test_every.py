"""All events in a row, and an agent's among them: each once, and what is lost is missed."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statehouse.core import codec
from statehouse.core.keys import Table, u64
from statehouse.core.marks import Fork
from statehouse.storage.database import Database
from statehouse.storage.events import _SAMPLE, _STRETCH_MAX, Events
from statehouse.storage.faults import RowLost
from tests.oracle.memory_store import MemoryStore
from tests.oracle.writing import Writer, group, mark, write


def store_of(agents):
    """A store with a commit for each letter, by the agent of that name."""
    store, writer = MemoryStore(), Writer()
    store.apply(group(*[writer.submit(write("k", agent=agent)) for agent in agents]))
    return store


def told(view, *scope, **only):
    return [event.commit_ts for event in view.events(*scope, **only) if event is not None]


# An agent alone, then rarely, then nearly alone: whichever way they are found changes between.
mixed = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ab", "aaaaaaaab"]), st.integers(1, 2 * _STRETCH_MAX)),
    min_size=1,
    max_size=4,
).map(lambda parts: "".join((pattern * count)[:count] for pattern, count in parts))


@given(agents=mixed, first=st.integers(1, 50), cut=st.integers(0, 50))
def test_an_agents_events_are_told_once_each_wherever_they_are_dense(agents, first, cut):
    view = store_of(agents).view()
    last = len(agents) - cut
    wanted = [n for n, agent in enumerate(agents, 1) if agent == "a" and first <= n <= last]
    assert told(view, "default", "a", first, last) == wanted
    assert told(view, "default", "a", first, last, newest_first=True) == wanted[::-1]


@given(
    parts=st.lists(
        st.tuples(st.lists(st.sampled_from("abf"), max_size=3), st.integers(1, 40)), max_size=6
    ),
    forked_after=st.integers(0, 5),
    agent=st.sampled_from("abf"),
    prefix=st.sampled_from(["", "k1"]),
    read_ahead=st.sampled_from([1, 512]),
)
def test_forwards_is_backwards_the_other_way_round(parts, forked_after, agent, prefix, read_ahead):
    # Backwards each event is looked up in the agent's list, so neither knows of the other.
    store, writer = MemoryStore(), Writer()
    for number, (agents, times) in enumerate(parts):
        if number == forked_after and store.head.commit_ts:
            fork = mark(Fork("a", store.head.commit_ts), agent="g")
            store.apply(group(writer.submit(fork)))
        for time in range(times):
            writes = [
                write(f"k{time % 2}", agent="g" if one == "f" and number > forked_after else one)
                for one in agents
            ]
            store.apply(group(writer.submit(*writes)))
    view = store.view()
    asked = {"prefix": prefix, "with_proof": True, "read_ahead": read_ahead}
    for name in (agent, "g"):
        forwards, backwards = [
            [event for event in view.events("default", name, newest_first=newest, **asked) if event]
            for newest in (False, True)
        ]
        assert forwards == backwards[::-1]


def test_where_an_agent_writes_in_bursts_others_are_passed_over_no_further_than_it_wrote(
    monkeypatch,
):
    view = store_of(("a" * _SAMPLE + "b" * (_STRETCH_MAX - _SAMPLE)) * 4).view()
    decoded = []
    decode = codec.decode_event
    monkeypatch.setattr(codec, "decode_event", lambda row: decoded.append(row) or decode(row))
    assert len(told(view, "default", "a")) == 4 * _SAMPLE
    assert len(decoded) <= 2 * 4 * _SAMPLE


@pytest.mark.parametrize("scope", [(), ("default",), ("default", "a")])
@pytest.mark.parametrize("newest_first", [False, True])
@given(first=st.integers(1, 60), last=st.integers(1, 60), gone=st.integers(1, 60))
def test_an_event_that_is_gone_is_missed(scope, newest_first, first, last, gone):
    store = store_of("a" * 60)
    del store.rows.tables[Table.EVENTS][u64(gone)]
    bounds = {"start_ts": first, "end_ts": last, "newest_first": newest_first}
    if first <= gone <= last:
        with pytest.raises(RowLost, match=f"commit_ts {gone} is not"):
            told(store.view(), *scope, **bounds)
    else:
        ascending = list(range(first, last + 1))
        wanted = ascending[::-1] if newest_first else ascending
        assert told(store.view(), *scope, **bounds) == wanted


@pytest.mark.parametrize(("first", "last"), [(5, 4), (5, 3), (9, 5), (10, 3), (1, 0)])
def test_nothing_is_told_of_nothing(first, last):
    view = store_of("a" * 20).view()
    assert list(view.links(first, last)) == []
    assert told(view, start_ts=first, end_ts=last) == []


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "db", create=True)
    yield made
    made.release()


def events_in(database, rows):
    database.write([(Table.EVENTS, u64(number), row) for number, row in rows.items()], [])
    return Events(database, max(rows), None)


@pytest.mark.parametrize("gone", range(1, 31))
def test_an_event_that_is_gone_from_a_database_is_missed(database, gone):
    events = events_in(database, {n: b"%d" % n for n in range(1, 31) if n != gone})
    with pytest.raises(RowLost, match=f"commit_ts {gone} is not"):
        list(events.every(1, 30))
    assert len(list(events.every(1, gone - 1))) == gone - 1
    assert len(list(events.every(gone + 1, 30))) == 30 - gone


def test_of_large_events_few_are_held_at_once(database):
    large = 2_000_000
    events = events_in(database, dict.fromkeys(range(1, 31), b"x" * large))
    tracemalloc.start()
    try:
        assert sum(map(len, events.every(1, 30))) == 30 * large
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * large
