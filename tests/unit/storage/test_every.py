"""All events in a row, and an agent's among them: each once, and what is lost is missed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statehouse.core.keys import Table, u64
from statehouse.storage.events import _STRETCH
from statehouse.storage.faults import RowLost
from tests.oracle.memory_store import MemoryStore
from tests.oracle.writing import Writer, group, write


def store_of(agents):
    """A store with a commit for each letter, by the agent of that name."""
    store, writer = MemoryStore(), Writer()
    store.apply(group(*[writer.submit(write("k", agent=agent)) for agent in agents]))
    return store


def told(view, *scope, **only):
    return [event.commit_ts for event in view.events(*scope, **only) if event is not None]


# An agent alone, then rarely, then nearly alone: whichever way they are found changes between.
mixed = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ab", "aaaaaaaab"]), st.integers(1, 2 * _STRETCH)),
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
