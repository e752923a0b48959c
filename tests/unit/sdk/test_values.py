"""Values: exactly what was written, or refused with the path of the offender."""

from __future__ import annotations

import collections
import datetime
import enum
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_sdk import InvalidValueError, ProtocolError, TooLargeError, values
from statehouse_sdk.limits import INTEGER_DIGITS_MAX, JSON_DEPTH_MAX, VALUE_BYTES_MAX


def round_trip(value):
    return values.decode(*values.encode(value))


def same(left, right):
    """Equal, with equal types at every depth, -0.0 told from 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return math.copysign(1, left) == math.copysign(1, right) and left == right
    return left == right


TEXT = st.text(st.characters(codec="utf-8"))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


@given(JSON)
def test_json_is_read_as_written_with_types_and_order(value):
    assert same(round_trip(value), value)


ODD = (
    st.floats()
    | st.integers(-(2**70), 2**70)
    | st.tuples(LEAVES)
    | st.binary(max_size=2)
    | st.just({1})
    | st.dictionaries(st.none() | st.integers(0, 1), LEAVES, min_size=1, max_size=1)
)
ANYTHING = st.recursive(LEAVES | ODD, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


@given(ANYTHING)
def test_what_is_waved_through_is_what_the_whole_check_lets_pass(value):
    if values._is_plain(value, values._PLAIN_LEVELS):
        values._check(value)


@given(st.binary())
def test_bytes_are_read_as_written_and_told_from_text(data):
    assert values.encode(data) == (data, False)
    assert round_trip(data) == data


@pytest.mark.parametrize("number", [2**53 + 1, -(2**63), 2**64, 10 ** (INTEGER_DIGITS_MAX - 1)])
def test_integers_are_exact_at_any_size_allowed(number):
    assert round_trip({"n": number}) == {"n": number}


@pytest.mark.parametrize("number", [5e-324, 1.7976931348623157e308, 0.1, 1.0, -0.0, 1e22])
def test_floats_stay_floats_and_exact(number):
    assert same(round_trip([number]), [number])


def test_other_buffers_are_bytes():
    assert round_trip(bytearray(b"x")) == b"x"
    assert round_trip(memoryview(b"x")) == b"x"


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


def test_subclasses_are_stored_as_the_plain_type_they_stand_for():
    value = collections.OrderedDict(a=Color.RED, b=Level.HIGH, c=(1, 2))
    assert same(round_trip(value), {"a": "red", "b": 3, "c": [1, 2]})


CYCLE: list = []
CYCLE.append({"again": CYCLE})


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        (math.nan, "$", "nan is not JSON"),
        ({"a": [1, math.inf]}, "$.a[1]", "inf is not JSON"),
        ({"a": {1: 2}}, "$.a", "has the key 1"),
        ({None: 2}, "$", "has the key None"),
        ({"when": datetime.date(2026, 1, 1)}, "$.when", "datetime.date is not a JSON type"),
        ([{1, 2}], "$[0]", "builtins.set is not a JSON type"),
        ({"odd name": b"x"}, '$["odd name"]', "bytes can be a whole value"),
        (CYCLE, "$[0].again", "contains itself"),
        (["fine", "\ud800"], "$[1]", "surrogate"),
        ({"k": {"\udfff": 1}}, "$.k", "surrogate"),
        ({"n": [10**INTEGER_DIGITS_MAX]}, "$.n[0]", "digits"),
        ([1j], "$[0]", "builtins.complex is not a JSON type"),
    ],
    ids=[
        "nan",
        "infinity in a list",
        "integer key",
        "None as key",
        "date",
        "set",
        "bytes inside",
        "cycle",
        "surrogate",
        "surrogate in a key",
        "too many digits",
        "complex",
    ],
)
def test_what_cannot_be_stored_exactly_is_refused_with_its_path(value, path, words):
    with pytest.raises(InvalidValueError, match=words) as caught:
        values.encode(value)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_nesting_is_allowed_to_its_limit_and_not_beyond():
    assert round_trip(nested(JSON_DEPTH_MAX)) == nested(JSON_DEPTH_MAX)
    with pytest.raises(InvalidValueError, match="json_depth_max"):
        values.encode(nested(JSON_DEPTH_MAX + 1))
    with pytest.raises(InvalidValueError, match="json_depth_max"):
        values.encode(nested(50_000))


def test_a_deep_value_in_a_deep_program_is_refused_and_not_a_crash():
    def descend(levels):
        if levels:
            return descend(levels - 1)
        return values.encode(nested(JSON_DEPTH_MAX))

    with pytest.raises(InvalidValueError, match="shallower"):
        descend(sys.getrecursionlimit() - 200)


def test_the_same_object_twice_is_no_cycle():
    shared = [1]
    assert round_trip({"a": shared, "b": [shared, shared]}) == {"a": [1], "b": [[1], [1]]}


@pytest.mark.parametrize("value", [b"x" * (VALUE_BYTES_MAX + 2), "x" * VALUE_BYTES_MAX])
def test_a_value_too_large_names_the_limit(value):
    with pytest.raises(TooLargeError, match="value_bytes_max") as caught:
        values.encode(value)
    assert (caught.value.maximum, caught.value.actual) == (VALUE_BYTES_MAX, VALUE_BYTES_MAX + 2)


def test_a_lower_digit_limit_of_the_interpreter_is_an_error_of_ours():
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        with pytest.raises(InvalidValueError, match="digits"):
            values.encode([10**700])
    finally:
        sys.set_int_max_str_digits(digits)


@pytest.mark.parametrize("text", [b"{", b"NaN", b"\xff", b"", b"[" * 100_000])
def test_stored_text_that_is_not_json_is_a_protocol_error(text):
    with pytest.raises(ProtocolError):
        values.decode(text, True)
