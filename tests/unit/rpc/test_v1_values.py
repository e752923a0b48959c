from __future__ import annotations

import json
import math

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st
from statehouse_proto.v1 import statehouse_pb2 as v1

from statehouse.core.errors import Failure, Reason
from statehouse.core.model import Kind
from statehouse.rpc.v1_values import NESTING_MAX, json_of, struct_of


def struct(**fields):
    made = struct_pb2.Struct()
    made.update(fields)
    return made


def stored(text, kind=Kind.JSON):
    return struct_of(kind, text.encode(), "k")


doubles = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | doubles | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), plain, max_size=4))
def test_what_an_old_client_wrote_is_what_it_reads(value):
    written = struct_pb2.Struct()
    written.update(value)
    assert struct_of(Kind.JSON, json_of(written), "k") == written


def test_a_whole_number_is_an_integer_to_new_programs():
    text = json_of(struct(one=1.0, minus=-3.0, half=0.5, zero=0.0))
    assert json.loads(text) == {"one": 1, "minus": -3, "half": 0.5, "zero": 0}
    assert isinstance(json.loads(text)["one"], int)
    assert b"1.0" not in text


def test_from_two_to_the_53_on_a_double_stays_a_float():
    told = json.loads(json_of(struct(below=2.0**53 - 1, at=2.0**53)))
    assert told["below"] == 2**53 - 1
    assert isinstance(told["below"], int)
    assert isinstance(told["at"], float)


def test_minus_zero_keeps_its_sign():
    told = stored(json_of(struct(x=-0.0)).decode())
    assert math.copysign(1, told.fields["x"].number_value) == -1


def test_arrays_of_objects_keep_everything():
    value = {"steps": [{"n": 1, "sub": [{"deep": [1, [2, {"x": None}]]}]}, [], {}]}
    assert json.loads(json_of(struct(**value))) == value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_json_has_not_is_refused_with_its_path(number):
    with pytest.raises(Failure, match=r"value\.a\[1\]\.b") as refused:
        json_of(struct(a=[0, {"b": number}]))
    assert refused.value.reason is Reason.INVALID_ARGUMENT


def test_a_missing_value_is_an_empty_object():
    assert json_of(v1.WriteRequest().value) == b"{}"


@pytest.mark.parametrize(
    "text",
    ["[1]", "1", '"text"', "null", "true", '{"a":9007199254740993}', '{"a":' + "9" * 400 + "}"],
)
def test_what_a_struct_cannot_hold_exactly_is_refused_by_key(text):
    with pytest.raises(Failure, match=r'key "k".*v2'):
        stored(text)


def test_raw_bytes_are_refused_by_key():
    with pytest.raises(Failure, match="raw bytes"):
        stored("x", Kind.BYTES)


def test_a_big_integer_that_a_double_holds_exactly_is_told():
    assert stored('{"a":9007199254740994}').fields["a"].number_value == 2**53 + 2


def nested(levels, opening, closing):
    return '{"v":' + opening * (levels - 1) + "1" + closing * (levels - 1) + "}"


@pytest.mark.parametrize(("opening", "closing"), [('{"v":', "}"), ("[", "]")])
def test_whatever_nesting_is_told_can_be_parsed_by_a_client(opening, closing):
    value = stored(nested(NESTING_MAX, opening, closing))
    event = v1.ReplayEvent(operations=[v1.Operation(key="k", value=value)])
    assert v1.ReplayEvent.FromString(event.SerializeToString()) == event
    with pytest.raises(Failure, match="nested"):
        stored(nested(NESTING_MAX + 1, opening, closing))
