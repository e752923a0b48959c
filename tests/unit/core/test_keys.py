"""Keys are injective and ordered as their parts are, whatever the names hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statehouse.core import keys
from statehouse.core.invariants import InvariantViolation
from statehouse.core.keys import Table

awkward = st.text(st.sampled_from("\x00\x01\xffa:/é\U0001f600"), max_size=4)
names = st.tuples(awkward, awkward, awkward)
numbers = st.integers(1, 2**63 - 1)


def in_bytes(name):
    return tuple(part.encode() for part in name)


@given(names)
def test_a_key_gives_its_names_back(name):
    assert keys.names(keys.latest_key(*name)) == name


@given(names, names)
def test_keys_are_ordered_as_their_names_are(one, other):
    assert (keys.latest_key(*one) < keys.latest_key(*other)) == (in_bytes(one) < in_bytes(other))


@given(names, names)
def test_no_key_begins_another(one, other):
    if one != other:
        assert not keys.latest_key(*one).startswith(keys.latest_key(*other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("n", "a:b", "c"), ("n", "a", "b:c")),
        (("n", "a\x00b", "c"), ("n", "a", "b\x00c")),
        (("n", "a\x00", "c"), ("n", "a", "\x00c")),
        (("n", "a", "b\x00\x01"), ("n", "a\x00\x01b", "")),
    ],
)
def test_names_that_hold_separators_do_not_collide(one, other):
    assert keys.latest_key(*one) != keys.latest_key(*other)


@given(awkward, awkward, awkward, awkward)
def test_a_beginning_finds_just_the_names_that_begin_so(namespace, agent, name, beginning):
    prefix = keys.agent_key(namespace, agent) + keys.escaped(beginning)
    key = keys.latest_key(namespace, agent, name)
    assert key.startswith(prefix) == name.startswith(beginning)


@given(awkward, awkward, awkward)
def test_the_last_name_of_a_key_is_read_without_the_others(namespace, agent, name):
    prefix_bytes = len(keys.agent_key(namespace, agent))
    assert keys.last_name(keys.latest_key(namespace, agent, name), prefix_bytes) == name


@given(names, numbers, numbers)
def test_a_record_key_gives_its_place_back(name, commit_ts, version):
    key = keys.record_key(keys.latest_key(*name), commit_ts, version)
    assert keys.record_place(key) == (commit_ts, version)


@given(names, numbers, numbers, numbers, numbers)
def test_the_newest_record_comes_first(name, commit_ts, version, other_ts, other_version):
    prefix = keys.latest_key(*name)
    one, other = (commit_ts, version), (other_ts, other_version)
    assert (keys.record_key(prefix, *one) < keys.record_key(prefix, *other)) == (one > other)


@given(names, numbers, numbers)
def test_seeking_a_commit_finds_its_last_version(name, commit_ts, version):
    prefix = keys.latest_key(*name)
    assert keys.record_key(prefix, commit_ts) <= keys.record_key(prefix, commit_ts, version)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_numbers_are_ordered(one, other):
    assert (keys.u64(one) < keys.u64(other)) == (one < other)
    assert keys.number_of(keys.u64(one)) == one


def test_a_key_cut_inside_a_name_is_damage():
    with pytest.raises(InvariantViolation, match="inside a name"):
        keys.names(keys.latest_key("n", "a", "k")[:-1])


def test_the_names_of_tables_are_stored_and_stay():
    assert [table.name for table in Table] == [
        *("META", "EVENTS", "RECORDS", "LATEST", "AGENT_EVENTS", "TIMES"),
        *("RECEIPTS", "RECEIPT_GROUPS", "SESSIONS", "AGENTS", "NAMESPACES"),
        *("FORKS", "RUNS", "CAUSES"),
    ]
