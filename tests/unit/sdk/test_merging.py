"""The three-way merge: no change is lost, and what both sides changed is for the user to say."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_sdk import ABSENT, InvalidRequestError, MergeConflict
from statehouse_sdk.branching import Base, common_base, sides_of
from statehouse_sdk.diffing import same
from statehouse_sdk.history_models import ForkPoint, Lineage
from statehouse_sdk.merging import Choices, merge, union

leaves = st.sampled_from([ABSENT, None, 0, 1, True, 1.0, "a", [1], [1, 2], {"a": 1}])
sides = st.builds(MergeConflict, st.just("k"), leaves, leaves, leaves)
items = st.lists(st.sampled_from([1, 2, 3, "a", {"b": 1}, True, 1.0]), max_size=6)


def merged(side, choose=None, resolve=None):
    """What the key holds after the merge, and whether it is a conflict."""
    outcome = merge([side], Choices(choose, resolve))
    written = {one.key: one.value for one in outcome.written}
    return written.get(side.key, side.target), bool(outcome.conflicts)


@given(sides)
def test_a_change_of_one_side_is_never_lost(side):
    value, in_conflict = merged(side)
    if same(side.source, side.base):
        assert same(value, side.target)
    elif same(side.target, side.base) or same(side.source, side.target):
        assert same(value, side.source)
    else:
        assert in_conflict
        assert same(value, side.target), "an undecided key is left as it is"


@given(sides)
def test_conflicts_are_the_same_from_either_side(side):
    turned = MergeConflict(side.key, side.base, side.target, side.source)
    assert merged(side)[1] == merged(turned)[1]


@given(leaves, leaves)
def test_merging_what_is_equal_does_nothing(base, value):
    outcome = merge([MergeConflict("k", base, value, value)], Choices(None, None))
    assert outcome == merge([], Choices(None, None))


@given(sides, st.sampled_from(["source", "target"]))
def test_with_a_side_chosen_nothing_is_left_undecided(side, word):
    value, in_conflict = merged(side, word)
    assert not in_conflict
    if merged(side)[1]:
        assert same(value, getattr(side, word))


@given(items, items, items)
def test_a_union_keeps_every_addition_and_every_removal(base, target, source):
    def counted(values):
        return Counter(repr(value) for value in values)

    kept, was = counted(union(base, target, source)), counted(base)
    for item in kept | was | counted(target) | counted(source):
        here, there = (counted(side)[item] - was[item] for side in (target, source))
        both = max(here, there) if min(here, there) >= 0 else min(here, there)
        expected = both if here * there >= 0 else here + there
        assert kept[item] == was[item] + expected


@given(items, items)
def test_a_union_with_one_side_unchanged_is_the_other_in_content(base, changed):
    for kept in (union(base, changed, base), union(base, base, changed)):
        assert Counter(map(repr, kept)) == Counter(map(repr, changed))


def test_a_union_has_the_order_of_the_base_and_then_of_the_additions():
    assert union([1, 2, 3], [9, 1, 3], [1, 2, 3, 8, 9]) == [1, 3, 9, 8]


def test_a_union_of_what_are_no_lists_is_a_conflict():
    assert merged(MergeConflict("k", [1], ABSENT, [2]), "union")[1]
    assert merged(MergeConflict("k", ABSENT, [1], [2]), "union") == ([2, 1], False)


CONFLICT = MergeConflict("plan/a", 1, 2, 3)


def test_the_longest_prefix_chooses():
    choose = {"": "error", "plan/": "target", "plan/a": "source"}
    assert merged(CONFLICT, choose) == (2, False)
    assert merged(MergeConflict("plan/b", 1, 2, 3), choose) == (3, False)
    assert merged(MergeConflict("goal", 1, 2, 3), choose)[1]


def test_a_resolver_is_asked_for_what_nothing_else_decides():
    asked = []

    def resolve(key, base, ours, theirs):
        asked.append((key, base, ours, theirs))
        return ours + theirs

    assert merged(CONFLICT, {"goal": "source"}, resolve) == (5, False)
    assert merged(CONFLICT, {"plan/": "target"}, resolve) == (3, False)
    assert asked == [("plan/a", 1, 3, 2)]
    assert merged(CONFLICT, {"plan/": lambda *_: ABSENT}) == (ABSENT, False)


def test_an_error_that_was_chosen_goes_before_the_resolver():
    assert merged(CONFLICT, {"plan/": "error"}, lambda *_: 1)[1]


@pytest.mark.parametrize("wrong", ["ours", {"": "theirs"}, {1: "source"}, {"a": None}, 5])
def test_a_choice_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidRequestError):
        Choices(wrong, None)


def test_a_resolver_that_is_none_is_refused():
    with pytest.raises(InvalidRequestError):
        Choices(None, "source")


def test_a_conflict_reads_as_its_sides():
    assert str(MergeConflict("k", ABSENT, 1, "x")) == "k: base ABSENT, source 1, target 'x'"


class TestTheBase:
    def lineage(self, agent_id, *forks):
        points, child = [], agent_id
        for parent_id, commit_ts in forks:
            points.append(ForkPoint(child, parent_id, commit_ts, commit_ts + 1))
            child = parent_id
        return Lineage(agent_id, tuple(points), ())

    def test_it_is_where_a_fork_began(self):
        fork, parent = self.lineage("f", ("p", 5)), self.lineage("p")
        assert common_base(fork, parent, 90) == Base("p", 5)
        assert common_base(parent, fork, 90) == Base("p", 5)

    def test_of_siblings_it_is_the_earlier_point(self):
        assert common_base(self.lineage("f", ("p", 5)), self.lineage("g", ("p", 9)), 90) == Base(
            "p", 5
        )

    def test_a_point_before_the_parent_began_counts_for_all_above(self):
        # f was made of g as it was at 3, when g was still p.
        fork = self.lineage("f", ("g", 3), ("p", 7))
        assert common_base(fork, self.lineage("p"), 90) == Base("p", 3)
        assert common_base(fork, self.lineage("g", ("p", 7)), 90) == Base("g", 3)

    def test_agents_without_a_common_ancestor_have_none(self):
        assert common_base(self.lineage("a"), self.lineage("b", ("c", 2)), 90) is None

    def test_an_agent_and_itself_share_all(self):
        assert common_base(self.lineage("a"), self.lineage("a"), 90) == Base("a", 90)


def test_a_key_the_target_did_not_touch_is_there_as_in_the_base():
    from statehouse_sdk import Diff, KeyChange, StateResult

    def result(value):
        return StateResult(value, 1, 1, True)

    theirs = Diff(
        "n", "p", "s", 1, 2, (KeyChange("a", result(1), result(2)), KeyChange("b", None, result(3)))
    )
    ours = Diff(
        "n", "p", "t", 1, 2, (KeyChange("b", None, result(4)), KeyChange("c", result(1), None))
    )
    assert sides_of(theirs, ours) == [
        MergeConflict("a", 1, 2, 1),
        MergeConflict("b", ABSENT, 3, 4),
    ]
