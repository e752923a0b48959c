"""Agents during an apply: what they inherit does not depend on how the log is cut."""

from __future__ import annotations

import itertools

import pytest

from statehouse.core import codec
from statehouse.core.codec import AgentFacts, CodecError
from statehouse.core.invariants import InvariantViolation
from statehouse.core.keys import Table, agent_key
from statehouse.core.marks import Fork
from statehouse.core.model import Committed
from tests.oracle.memory_store import MemoryStore
from tests.oracle.writing import Writer, group, mark, write

FIRST = agent_key("default", "a")


def cuts(length):
    """Every way to cut a list of so many into steps."""
    for chosen in itertools.product([False, True], repeat=length - 1):
        places = [0, *[at for at, cut in enumerate(chosen, 1) if cut], length]
        yield list(itertools.pairwise(places))


def log():
    """Writes, and forks of them at points before and after; as groups of one transaction."""
    writer = Writer()
    operations = [
        [write("k", b"1"), write("k", b"2")],
        [write("k", b"3"), write("j", b"1")],
        [mark(Fork("a", 1), agent="f")],
        [write("k", b"4")],
        [write("k", b"5", agent="f")],
        [mark(Fork("f", 3), agent="g")],
        [write("k", agent="g"), write("j", agent="g"), write("k", agent="f")],
        [mark(Fork("g", 4), agent="h")],
    ]
    return [group(writer.submit(*made)) for made in operations]


def test_every_way_to_cut_the_log_comes_to_the_same_rows():
    expected = None
    for steps in cuts(8):
        store = MemoryStore()
        answers = [answer for start, end in steps for (answer,) in store.apply(*log()[start:end])]
        versions = [answer.versions for answer in answers]
        assert versions == [(1, 2), (3, 1), (1,), (4,), (3,), (2,), (3, 1, 4), (2,)]
        expected = expected or (answers, store.head, store.rows.tables)
        assert (answers, store.head, store.rows.tables) == expected


def test_a_fork_is_listed_by_its_parent_and_tells_it():
    store = MemoryStore()
    store.apply(*log())
    rows = store.rows.tables
    assert codec.decode_agent(rows[Table.AGENTS][FIRST]) == AgentFacts(1)
    fork = codec.decode_agent(rows[Table.AGENTS][agent_key("default", "f")])
    assert fork == AgentFacts(3, "a", 1)
    assert rows[Table.FORKS][FIRST + (3).to_bytes(8, "big")] == b"f"
    assert store.count(Table.FORKS) == 3


def test_the_last_versions_of_a_fork_are_only_its_own():
    """What is inherited must not be kept as written, even when it is written in the same step."""
    store = MemoryStore()
    store.apply(*log())
    fork = agent_key("default", "h")
    assert [key for key in store.rows.tables[Table.LATEST] if key.startswith(fork)] == [
        fork + b"\x00\xfffork\x00\x01"
    ]


@pytest.mark.parametrize("parent", ["nobody", "f"])
def test_a_fork_of_nobody_or_of_itself_stops_the_node(parent):
    store, writer = MemoryStore(), Writer()
    row = codec.encode_fork_agent(1, parent, 1)
    store.apply(group(writer.submit()))
    store.rows.write([(Table.AGENTS, agent_key("default", "f"), row)], [])
    with pytest.raises(InvariantViolation, match="comes from no agent"):
        store.apply(group(writer.submit(write("k", agent="f"))))


@pytest.mark.parametrize("row", [b"", b"1234567", b"123456789", b"0" * 16 + b"\xff"])
def test_an_agent_row_that_is_none_cannot_be_read(row):
    with pytest.raises(CodecError, match="malformed agent row"):
        codec.decode_agent(row)


def test_an_agent_without_lineage_costs_no_more_reads():
    store, writer = MemoryStore(), Writer()
    store.apply(group(writer.submit(write("k"))))
    asked = []
    get = store.rows.get

    def counted(table, key):
        asked.append(table)
        return get(table, key)

    store.rows.get = counted
    ((answer, _),) = store.apply(group(writer.submit(write("k")), writer.submit(write("new"))))
    assert isinstance(answer, Committed)
    assert sorted(asked) == [Table.LATEST, Table.LATEST, Table.SESSIONS, Table.AGENTS]
