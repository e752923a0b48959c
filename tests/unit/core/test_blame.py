"""Which version gave a field its value: exact, whatever the text looks like."""

from __future__ import annotations

import pytest

from statehouse.core.blame import Settling, fields_of, same
from statehouse.core.model import Kind

JSON = Kind.JSON.value


def blamed(*values, kinds=None):
    """Of the last of these versions, counted from 1: each field and the version that set it."""
    numbered = [*zip(kinds or [JSON] * len(values), values, range(1, len(values) + 1), strict=True)]
    settling = Settling(*numbered[-1])
    for older in reversed(numbered[:-1]):
        settling.look(*older)
    return settling.result()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1", b"1"),
        (b"1e2", b"100.0"),
        (b'{"a":1,"b":2}', b'{ "b" : 2, "a" : 1 }'),
        (b'"\\u00e9"', b'"\xc3\xa9"'),
        (b"[1, 2]", b"[1,2]"),
        (b"123456789012345678901234567890", b" 123456789012345678901234567890"),
    ],
)
def test_texts_that_say_the_same_are_the_same(one, other):
    assert same(one, other)
    assert same(other, one)


def test_what_differs_differs():
    texts = [b"1", b"1.0", b"true", b'"1"', b"null", b"0", b"-0.0", b"0.0", b"false", b"[]", b"{}"]
    texts += [b"[1]", b"[1.0]", b"[true]", b"9007199254740993", b"9007199254740992", b'"true"']
    for number, one in enumerate(texts):
        assert [other for other in texts if same(one, other)] == [texts[number]]


def test_texts_that_cannot_be_read_differ_unless_they_are_equal():
    assert same(b"nonsense", b"nonsense")
    assert not same(b"nonsense", b"1")


def test_only_objects_have_fields():
    assert fields_of(JSON, b'{"b":1,"a":[2]}') == {"b": b"1", "a": b"[2]"}
    for value in (b"[]", b"1", b'"{}"', b"null", b"nonsense", b""):
        assert fields_of(JSON, value) is None
    assert fields_of(Kind.BYTES.value, b'{"a":1}') is None


def test_a_field_was_set_where_its_value_began():
    versions = [b'{"x":1}', b'{"x":2}', b'{"x":2,"y":1}', b'{"y":2,"x":2}']
    assert blamed(*versions) == [("y", 4), ("x", 2)]


def test_a_value_that_came_back_was_set_when_it_came_back():
    assert blamed(b'{"x":1}', b'{"x":2}', b'{"x":1}') == [("x", 3)]
    assert blamed(b'{"x":1}', b"{}", b'{"x":1}') == [("x", 3)]


def test_a_delete_or_another_kind_between_sets_all_anew():
    others = [(Kind.TOMBSTONE.value, b""), (Kind.BYTES.value, b'{"x":1}'), (JSON, b"1")]
    for kind, between in others:
        found = blamed(b'{"x":1}', between, b'{"x":1}', kinds=[JSON, kind, JSON])
        assert found == [("x", 3)]


def test_what_was_there_from_the_first_was_set_by_the_first():
    assert blamed(b'{"x":1}') == [("x", 1)]
    assert blamed(b'{"x":1}', b'{ "x": 1 }', b'{"x":1}') == [("x", 1)]


def test_no_older_version_is_needed_once_all_are_settled():
    settling = Settling(JSON, b'{"x":1,"y":1}', 9)
    settling.look(JSON, b'{"x":1,"y":2}', 8)
    assert not settling.settled
    settling.look(JSON, b'{"x":2,"y":2}', 7)
    assert settling.settled
    assert settling.result() == [("x", 8), ("y", 9)]
    assert Settling(JSON, b"{}", 1).settled
    assert Settling(JSON, b"[1]", 1).settled


def test_of_a_name_given_twice_the_last_counts():
    assert blamed(b'{"x":1,"x":2}', b'{"x":2}') == [("x", 1)]
