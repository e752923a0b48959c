"""Differences: exact, told by path, and enough to turn the one value into the other."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_sdk import ABSENT, Diff, KeyChange, StateResult, json_diff
from statehouse_sdk.diffing import same

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, -0.0, 1.0, 2.5])
    | st.sampled_from(["", "a", "b"])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "odd name"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def apply(changes, value):
    """Makes the changes, one after the other."""
    value = copy.deepcopy(value)
    for change in changes:
        if not change.steps:
            value = copy.deepcopy(change.after)
            continue
        place = value
        for step in change.steps[:-1]:
            place = place[step]
        last = change.steps[-1]
        if change.kind == "removed":
            del place[last]
        elif change.kind == "added" and isinstance(place, list):
            assert last == len(place), "what is added to a list goes to its end"
            place.append(copy.deepcopy(change.after))
        else:
            place[last] = copy.deepcopy(change.after)
    return value


def exact(value):
    """A value as text in which 1, 1.0, -0.0 and true differ, and the order of fields does not."""
    return json.dumps(value, sort_keys=True)


@given(values, values)
def test_the_changes_turn_the_one_value_into_the_other(before, after):
    assert exact(apply(json_diff(before, after), before)) == exact(after)


@given(values, values)
def test_there_are_changes_if_and_only_if_the_values_differ(before, after):
    assert (json_diff(before, after) == ()) == (exact(before) == exact(after))
    assert same(before, after) == (exact(before) == exact(after))


@given(values)
def test_a_value_does_not_differ_from_itself(value):
    assert json_diff(value, copy.deepcopy(value)) == ()


@given(values, values)
def test_the_way_back_tells_the_same_places(before, after):
    there = {(change.path, change.kind) for change in json_diff(before, after)}
    back = {(change.path, change.kind) for change in json_diff(after, before)}
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    assert {(path, turned[kind]) for path, kind in there} == back


def told(before, after):
    return [(change.path, change.kind) for change in json_diff(before, after)]


def test_paths_read_as_people_write_them():
    before = {"plan": {"steps": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}, "odd name": 1}
    after = {"plan": {"steps": [{"name": "a"}, {"name": "b"}, {"name": "d"}]}, "odd name": 2}
    assert told(before, after) == [("plan.steps[2].name", "changed"), ('["odd name"]', "changed")]


def test_a_path_may_begin_with_a_place_and_be_empty_for_the_whole():
    assert told([1], [2]) == [("[0]", "changed")]
    assert told(1, [1]) == [("", "changed")]
    assert told(ABSENT, {"a": 1}) == [("", "added")]
    assert told(b"one", b"two") == [("", "changed")]
    assert told(b"one", "one") == [("", "changed")]


def test_lists_are_compared_place_by_place_and_lose_their_ends_first():
    assert told([1, 2, 3, 4], [1, 9]) == [
        ("[1]", "changed"),
        ("[3]", "removed"),
        ("[2]", "removed"),
    ]
    assert told([1], [1, 2, 3]) == [("[1]", "added"), ("[2]", "added")]


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), (0, False), (0.0, -0.0), (None, False), ("1", 1)]
)
def test_what_only_looks_alike_differs(one, other):
    assert told({"a": one}, {"a": other}) == [("a", "changed")]


def test_none_is_a_value_and_not_an_absence():
    (change,) = json_diff({"a": None}, {})
    assert (change.kind, change.before, change.after) == ("removed", None, ABSENT)
    assert change.to_dict() == {"path": "a", "kind": "removed", "before": None}


def test_values_as_deep_as_can_be_stored_are_compared():
    def nested(leaf):
        for _ in range(511):
            leaf = [leaf]
        return leaf

    (change,) = json_diff(nested(1), nested(2))
    assert change.path == "[0]" * 511
    assert not same(nested(1), nested(2))


def result(value, version=1):
    return StateResult(value, version, 10 + version, True, "k")


def diff(*changes):
    return Diff("default", "scout", "scout", 11, 12, tuple(changes))


CHANGED = KeyChange("plan", result({"a": 1, "b": [1]}), result({"a": 2, "b": [1, 2]}, 2))
ADDED = KeyChange("new", None, result("x"))
REMOVED = KeyChange("old", result(b"\x00"), None)


def test_a_diff_tells_its_kinds_apart():
    found = diff(CHANGED, ADDED, REMOVED)
    assert (found.changed, found.added, found.removed) == ((CHANGED,), (ADDED,), (REMOVED,))
    assert found
    assert not diff()


def test_a_diff_reads_as_lines():
    assert diff(ADDED, REMOVED, CHANGED).lines() == [
        '+ new  v1  "x"',
        "- old  v1  <1 bytes>",
        "~ plan  v1 -> v2",
        "    ~ a: 1 -> 2",
        "    + b[1]: 2",
    ]


def test_a_changed_order_of_fields_is_told_as_that():
    turned = KeyChange("k", result({"a": 1, "b": 2}), result({"b": 2, "a": 1}, 2))
    assert turned.kind == "changed"
    assert diff(turned).lines()[1].strip() == "(only the order of its fields)"


def test_a_line_break_in_a_key_breaks_no_line():
    odd = KeyChange("a\nb", result({"c\nd": 1}), result({"c\nd": 2}))
    assert all("\n" not in line for line in diff(odd).lines())


def test_a_diff_is_json():
    told = json.loads(diff(CHANGED, ADDED, REMOVED).to_json())
    assert (told["a"], told["b"]) == (11, 12)
    assert [key["kind"] for key in told["keys"]] == ["changed", "added", "removed"]
    assert told["keys"][0]["fields"] == [
        {"path": "a", "kind": "changed", "before": 1, "after": 2},
        {"path": "b[1]", "kind": "added", "after": 2},
    ]
    assert told["keys"][2]["before"]["value_base64"] == "AA=="


def test_absent_is_one_thing_and_false():
    assert repr(ABSENT) == "ABSENT"
    assert not ABSENT
    assert copy.deepcopy(ABSENT) is ABSENT
