"""Which marks may be set when: each refusal, by what came before, alike however the log is cut."""

from __future__ import annotations

import pytest

from statehouse.core import limits
from statehouse.core.errors import Reason
from statehouse.core.keys import Table
from statehouse.core.marks import FORK, Cursor, Fork, Label
from statehouse.core.model import Committed, Expectation, Metadata, Operation
from tests.oracle.memory_store import MemoryStore
from tests.oracle.writing import Writer, delete, expect, group, mark, version_is, write


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def writer():
    return Writer()


def apply(store, *submissions):
    return store.apply(group(*submissions))[0]


def refused(store, submission):
    before, rows = store.head.commit_ts, store.count(Table.EVENTS)
    (answer,) = apply(store, submission)
    assert not isinstance(answer, Committed), answer
    assert (store.head.commit_ts, store.count(Table.EVENTS)) == (before, rows)
    return Reason(answer.reason), answer.message


class TestPoints:
    @pytest.mark.parametrize(
        "operation", [mark(Label("l", 2)), mark(Cursor("c", 2)), mark(Fork("a", 2), agent="f")]
    )
    def test_a_point_lies_in_the_past(self, store, writer, operation):
        apply(store, writer.submit(write("k")))
        reason, says = refused(store, writer.submit(operation))
        assert reason is Reason.FUTURE_POINT
        assert "names commit_ts 2" in says or "to commit_ts 2" in says or "at commit_ts 2" in says
        assert "the last one committed before it is 1" in says
        apply(store, writer.submit(write("k")))
        (answer,) = apply(store, writer.submit(operation))
        assert answer.commit_ts == 3

    def test_what_the_same_group_committed_before_is_past(self, store, writer):
        answers = apply(store, writer.submit(write("k")), writer.submit(mark(Label("l", 1))))
        assert [type(answer) for answer in answers] == [Committed, Committed]

    def test_a_transaction_cannot_name_itself(self, store, writer):
        assert refused(store, writer.submit(mark(Label("l", 1))))[0] is Reason.FUTURE_POINT

    def test_causes_lie_in_the_past_so_they_form_no_circle(self, store, writer):
        apply(store, writer.submit(write("k")))
        caused = Metadata(caused_by=(1, 2))
        reason, says = refused(store, writer.submit(write("k"), metadata=caused))
        assert reason is Reason.FUTURE_POINT
        assert "metadata.caused_by names commit_ts 2" in says
        (answer,) = apply(store, writer.submit(write("k"), metadata=Metadata(caused_by=(1, 1))))
        assert isinstance(answer, Committed)
        assert store.count(Table.CAUSES) == 1

    def test_no_cause_lies_before_the_first_commit(self, store, writer):
        caused = Metadata(caused_by=(0,))
        reason, says = refused(store, writer.submit(metadata=caused))
        assert (reason, "which is no commit" in says) == (Reason.INVALID_ARGUMENT, True)


class TestLabels:
    def test_only_one_that_is_there_can_be_deleted(self, store, writer):
        gone = mark(Label("l", 0))
        apply(store, writer.submit(write("k")))
        reason, says = refused(store, writer.submit(gone))
        assert reason is Reason.LABEL_NOT_FOUND
        assert "agent 'a' of namespace 'default' has no label 'l'" in says
        apply(store, writer.submit(mark(Label("l", 1))))
        assert apply(store, writer.submit(gone))[0].versions == (2,)
        assert refused(store, writer.submit(gone))[0] is Reason.LABEL_NOT_FOUND

    def test_one_transaction_may_set_and_delete(self, store, writer):
        gone, again = mark(Label("l", 0)), mark(Label("l", 1))
        apply(store, writer.submit(write("k")))
        assert apply(store, writer.submit(again, gone))[0].versions == (1, 2)
        assert refused(store, writer.submit(gone, again))[0] is Reason.LABEL_NOT_FOUND
        assert apply(store, writer.submit(again, gone, again))[0].versions == (3, 4, 5)
        assert refused(store, writer.submit(gone, gone))[0] is Reason.LABEL_NOT_FOUND

    def test_a_fork_can_delete_what_it_inherited_and_the_parent_keeps_it(self, store, writer):
        apply(store, writer.submit(write("k")), writer.submit(mark(Label("l", 1))))
        apply(store, writer.submit(mark(Fork("a", 2), agent="f")))
        assert store.view().label("default", "f", "l") == 1
        assert apply(store, writer.submit(mark(Label("l", 0), agent="f")))[0].versions == (2,)
        assert store.view().label("default", "f", "l") is None
        assert store.view().label("default", "a", "l") == 1

    def test_its_version_can_be_asked_for(self, store, writer):
        apply(store, writer.submit(write("k")))
        label = mark(Label("l", 1))
        first = [version_is(label.key, 0)]
        assert isinstance(apply(store, writer.submit(label, preconditions=first))[0], Committed)
        reason, says = refused(store, writer.submit(label, preconditions=first))
        assert (reason, "label l of agent 'a'" in says) == (Reason.CONFLICT, True)


class TestForks:
    def test_the_new_agent_was_never_written_to(self, store, writer):
        apply(store, writer.submit(write("k"), write("k", agent="b")))
        reason, says = refused(store, writer.submit(mark(Fork("a", 1), agent="b")))
        assert reason is Reason.AGENT_EXISTS
        assert "agent 'b' of namespace 'default' was written to before" in says
        assert refused(store, writer.submit(mark(Fork("a", 1))))[0] is Reason.AGENT_EXISTS

    def test_a_delete_and_a_label_are_writes_too(self, store, writer):
        apply(store, writer.submit(write("k")))
        apply(store, writer.submit(delete("k", agent="b"), mark(Label("l", 1), agent="c")))
        for agent in "bc":
            answer = refused(store, writer.submit(mark(Fork("a", 1), agent=agent)))
            assert answer[0] is Reason.AGENT_EXISTS

    def test_of_two_in_one_group_the_second_is_refused(self, store, writer):
        apply(store, writer.submit(write("k")))
        fork = mark(Fork("a", 1), agent="f")
        answers = apply(store, writer.submit(fork), writer.submit(fork))
        assert isinstance(answers[0], Committed)
        assert answers[1].reason == Reason.AGENT_EXISTS

    def test_the_parent_existed_by_then(self, store, writer):
        apply(store, writer.submit(), writer.submit(write("k")), writer.submit())
        for point in (0, 1):
            reason, says = refused(store, writer.submit(mark(Fork("a", point), agent="f")))
            assert reason is Reason.AGENT_NOT_FOUND
            assert "begins at commit_ts 2; fork it there or later" in says
        reason, says = refused(store, writer.submit(mark(Fork("nobody", 1), agent="f")))
        assert (reason, "never written to" in says) == (Reason.AGENT_NOT_FOUND, True)
        elsewhere = mark(Fork("a", 2), agent="f", namespace="other")
        assert refused(store, writer.submit(elsewhere))[0] is Reason.AGENT_NOT_FOUND

    def test_a_fork_existed_since_its_parent_did(self, store, writer):
        apply(store, writer.submit(), writer.submit(write("k")), writer.submit(write("k")))
        apply(store, writer.submit(mark(Fork("a", 3), agent="f")))
        assert refused(store, writer.submit(mark(Fork("f", 1), agent="g")))[0] is (
            Reason.AGENT_NOT_FOUND
        )
        apply(store, writer.submit(mark(Fork("f", 2), agent="g")))
        assert store.view().get("default", "g", "k").version == 1
        assert store.view().lineage("default", "g")[0].parent_id == "f"

    def test_an_agent_is_not_its_own_parent(self, store, writer):
        apply(store, writer.submit(write("k", agent="b")))
        assert refused(store, writer.submit(mark(Fork("a", 1))))[0] is Reason.AGENT_NOT_FOUND

    def test_forks_of_forks_go_so_deep_and_no_deeper(self, store, writer):
        apply(store, writer.submit(write("k", b"0", agent="0")))
        for depth in range(1, limits.FORK_DEPTH_MAX + 1):
            fork = mark(Fork(f"{depth - 1}", store.head.commit_ts), agent=f"{depth}")
            (answer,) = apply(store, writer.submit(fork))
            assert isinstance(answer, Committed)
        deepest = f"{limits.FORK_DEPTH_MAX}"
        reason, says = refused(store, writer.submit(mark(Fork(deepest, 9), agent="deeper")))
        assert (reason, "fork_depth_max = 64" in says) == (Reason.TOO_LARGE, True)
        assert store.view().get("default", deepest, "k").value == b"0"
        assert len(store.view().lineage("default", deepest)) == limits.FORK_DEPTH_MAX
        assert list(store.view().keys("default", deepest)) == ["k"]
        (answer,) = apply(store, writer.submit(write("k", agent=deepest)))
        assert answer.versions == (2,)

    def test_a_fork_with_other_operations_has_no_right_form(self, store, writer):
        apply(store, writer.submit(write("k")))
        both = writer.submit(mark(Fork("a", 1), agent="f"), write("k", agent="f"))
        reason, says = refused(store, both)
        assert (reason, "commit it alone" in says) == (Reason.INVALID_ARGUMENT, True)

    def test_versions_and_preconditions_go_on_from_the_parent(self, store, writer):
        apply(store, writer.submit(write("k")), writer.submit(write("k"), write("gone")))
        apply(store, writer.submit(delete("gone")))
        apply(store, writer.submit(mark(Fork("a", 3), agent="f")), writer.submit(write("k")))
        asked = [version_is("k", 2, agent="f"), version_is("gone", 2, agent="f")]
        (answer,) = apply(
            store,
            writer.submit(write("k", agent="f"), write("gone", agent="f"), preconditions=asked),
        )
        assert answer.versions == (3, 3)


def test_a_refusal_is_remembered_as_a_conflict_is(store, writer):
    apply(store, writer.submit(write("k")))
    late = writer.submit(mark(Label("l", 2)))
    first = refused(store, late)
    apply(store, writer.submit(write("k")))
    # The point is past now, but this op id has its answer.
    assert refused(store, late) == first


def test_conflicts_are_judged_first(store, writer):
    asked = [version_is("k", 5)]
    answer = refused(store, writer.submit(mark(Label("l", 9)), preconditions=asked))
    assert answer[0] is Reason.CONFLICT


def test_a_refused_mark_leaves_the_rest_of_its_transaction_undone(store, writer):
    apply(store, writer.submit(write("k")))
    refused(store, writer.submit(write("new"), mark(Label("l", 9)), write("more")))
    assert list(store.view().keys("default", "a")) == ["k"]


@pytest.mark.parametrize(
    "odd",
    [
        Operation("n", "a", "\x00odd", 1, b"1"),
        Operation("n", "\x00odd", "k", 1, b"1"),
        Operation("n", "f", FORK, 1, b'["a",-1]'),
        Operation("n", "f", FORK, 0, b""),
    ],
)
def test_a_mark_that_is_none_never_stops_the_node(store, writer, odd):
    assert refused(store, writer.submit(odd))[0] is Reason.INVALID_ARGUMENT


def test_preconditions_see_what_a_fork_inherits(store, writer):
    apply(store, writer.submit(write("k")), writer.submit(mark(Fork("a", 1), agent="f")))
    for expectation, number, holds in (
        (Expectation.ABSENT, 0, False),
        (Expectation.UNCHANGED_SINCE, 0, False),
        (Expectation.UNCHANGED_SINCE, 1, True),
    ):
        asked = [expect("k", expectation, number, agent="f")]
        (answer,) = apply(store, writer.submit(preconditions=asked))
        assert isinstance(answer, Committed) == holds
