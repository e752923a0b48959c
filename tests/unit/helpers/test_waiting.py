"""The wait of all other tests neither gives up early nor hides what went wrong."""

import pytest

from tests.helpers.waiting import eventually


def test_the_first_truthy_value_is_returned():
    answers = iter([None, 0, "", "there"])
    assert eventually(lambda: next(answers)) == "there"


def test_a_failing_assertion_means_not_yet():
    answers = iter([1, 2, 3])

    def is_three() -> bool:
        assert next(answers) == 3
        return True

    assert eventually(is_three)


def test_the_deadline_is_an_assertion_that_names_what_was_awaited_and_seen():
    with pytest.raises(AssertionError, match=r"a leader did not hold within 0 s; last: none yet"):
        eventually(lambda: NoneYet(), timeout_s=0, what="a leader")


def test_an_error_other_than_an_assertion_is_not_waited_away():
    with pytest.raises(KeyError):
        eventually(lambda: {}["missing"])


class NoneYet:
    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "none yet"
