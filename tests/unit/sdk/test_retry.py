"""What is tried again, how soon, for how long, and what is raised in the end."""

from __future__ import annotations

import pytest
from statehouse_proto.services import CLUSTER_SERVICE, HISTORY_SERVICE, STATE_SERVICE, methods
from statehouse_sdk import errors
from statehouse_sdk.retry import (
    ATTEMPT_TIMEOUT_MAX_S,
    ATTEMPT_TIMEOUT_S,
    BACKOFF_MAX_S,
    FIRST_CONTACT_S,
    LAST_ATTEMPT_S,
    RULES,
    Again,
    Attempts,
    Certainty,
    Fault,
    GiveUp,
    Rule,
)

BUSY = Fault(errors.OverloadedError("busy"), True, Certainty.ATTEMPT)
LOST = Fault(errors.UnavailableError("lost"), True, Certainty.NONE)
SILENT = Fault(errors.DeadlineExceededError("silent"), True, Certainty.NONE, stalled=True)
AWAY = Fault(errors.ConnectionError("away"), True, Certainty.ATTEMPT, reached=False)
WRONG = Fault(errors.InvalidRequestError("wrong"), False, Certainty.ATTEMPT)
BROKEN = Fault(errors.ServerError("broken"), False, Certainty.NONE)
CONFLICT = Fault(errors.ConflictError("conflict"), False, Certainty.OPERATION)


def attempts(rule, **options):
    options = {"started_s": 0.0, "deadline_s": 30.0, "random": lambda: 1.0} | options
    return Attempts(rule, **options)


def final(made, *faults, now_s=0.0):
    for fault in faults[:-1]:
        assert isinstance(made.failed(fault, 0.0), Again)
    action = made.failed(faults[-1], now_s)
    assert isinstance(action, GiveUp)
    return action.error


def test_every_method_of_the_native_services_has_a_rule_and_a_reason():
    names = {*methods(STATE_SERVICE), *methods(HISTORY_SERVICE), *methods(CLUSTER_SERVICE)}
    assert set(RULES) == names
    assert all(reason for _, reason in RULES.values())


def test_the_first_detour_is_free_and_then_the_waits_grow_to_a_bound():
    made = attempts(Rule.READ)
    delays = [made.failed(BUSY, 0.0).delay_s for _ in range(9)]
    assert delays[0] == 0.0
    assert delays[1:] == sorted(delays[1:])
    assert delays[-1] == BACKOFF_MAX_S


def test_waits_are_jittered_downwards_by_at_most_half():
    low, high = attempts(Rule.READ, random=lambda: 0.0), attempts(Rule.READ)
    pairs = [(low.failed(BUSY, 0).delay_s, high.failed(BUSY, 0).delay_s) for _ in range(5)]
    assert all(shorter == longer / 2 for shorter, longer in pairs)


def test_an_attempt_is_short_and_longer_after_each_silence():
    made = attempts(Rule.READ)
    seen = []
    for _ in range(6):
        seen.append(made.timeout_s(0.0))
        made.failed(SILENT, 0.0)
    assert seen[:2] == [ATTEMPT_TIMEOUT_S, 2 * ATTEMPT_TIMEOUT_S]
    assert seen[-1] == ATTEMPT_TIMEOUT_MAX_S


def test_no_attempt_outlives_the_deadline():
    assert attempts(Rule.OP_ID).timeout_s(29.5) == 0.5
    assert 0 < attempts(Rule.OP_ID).timeout_s(31.0) < 0.01


def test_what_may_not_be_repeated_has_all_the_time_there_is():
    assert attempts(Rule.NEVER).timeout_s(10.0) == 20.0


def test_at_the_deadline_a_read_raises_its_last_error_with_the_count():
    error = final(attempts(Rule.READ), LOST, BUSY, now_s=30.0)
    assert isinstance(error, errors.OverloadedError)
    assert str(error) == "gave up after 30.0 s and 2 attempts; last: busy"


def test_a_last_attempt_cut_short_does_not_hide_what_was_told_before():
    made = attempts(Rule.READ)
    made.failed(BUSY, 0.0)
    made.timeout_s(29.9)
    assert isinstance(final(made, SILENT, now_s=30.0), errors.OverloadedError)
    made = attempts(Rule.READ)
    made.failed(BUSY, 0.0)
    made.timeout_s(20.0)
    assert isinstance(final(made, SILENT, now_s=30.0), errors.DeadlineExceededError)


def test_a_wrong_request_is_not_repeated():
    assert final(attempts(Rule.READ), WRONG) is WRONG.error


@pytest.mark.parametrize("fault", [LOST, SILENT])
def test_a_read_of_unknown_fate_is_simply_repeated(fault):
    assert isinstance(attempts(Rule.READ).failed(fault, 0.0), Again)


class TestCommits:
    def test_unknown_attempts_make_an_unknown_outcome(self):
        error = final(attempts(Rule.OP_ID), LOST, BUSY, now_s=30.0)
        assert isinstance(error, errors.OutcomeUnknownError)

    def test_only_definite_failures_make_a_definite_abort(self):
        error = final(attempts(Rule.OP_ID), BUSY, AWAY, now_s=30.0)
        assert isinstance(error, errors.TransactionAbortedError)
        assert isinstance(error.cause, errors.ConnectionError)

    def test_no_last_attempt_without_time_puts_a_sure_outcome_in_doubt(self):
        soon_s = 30.0 - LAST_ATTEMPT_S / 2
        error = final(attempts(Rule.OP_ID), BUSY, now_s=soon_s)
        assert type(error) is errors.TransactionAbortedError

    def test_what_is_in_doubt_already_is_asked_about_to_the_last_moment(self):
        soon_s = 30.0 - LAST_ATTEMPT_S / 2
        assert isinstance(attempts(Rule.OP_ID).failed(LOST, soon_s), Again)

    def test_a_conflict_settles_it_even_after_doubt(self):
        assert final(attempts(Rule.OP_ID), LOST, CONFLICT) is CONFLICT.error

    def test_a_refusal_after_doubt_settles_nothing(self):
        assert isinstance(final(attempts(Rule.OP_ID), LOST, WRONG), errors.OutcomeUnknownError)

    def test_a_refusal_at_once_is_an_abort_with_its_cause(self):
        error = final(attempts(Rule.OP_ID), WRONG)
        assert isinstance(error, errors.TransactionAbortedError)
        assert error.cause is WRONG.error

    def test_an_unnamed_failure_of_the_server_is_doubt(self):
        assert isinstance(final(attempts(Rule.OP_ID), BROKEN), errors.OutcomeUnknownError)

    def test_doubt_of_an_earlier_call_counts(self):
        error = final(attempts(Rule.OP_ID, uncertain=True), BUSY, now_s=30.0)
        assert isinstance(error, errors.OutcomeUnknownError)


class TestNever:
    def test_a_definite_refusal_is_followed_to_the_next_node(self):
        assert isinstance(attempts(Rule.NEVER).failed(BUSY, 0.0), Again)

    def test_doubt_ends_it_at_once(self):
        error = final(attempts(Rule.NEVER), LOST)
        assert isinstance(error, errors.UnavailableError)
        assert "may or may not" in str(error)


class TestFirstContact:
    def test_a_client_that_never_reached_a_node_gives_up_early(self):
        made = attempts(Rule.READ, contacted=False)
        assert isinstance(made.failed(AWAY, 1.0), Again)
        assert isinstance(made.failed(AWAY, FIRST_CONTACT_S), GiveUp)

    def test_any_contact_gives_it_all_its_time(self):
        made = attempts(Rule.READ, contacted=False)
        made.failed(BUSY, 1.0)
        assert isinstance(made.failed(AWAY, FIRST_CONTACT_S), Again)
        assert made.remaining_s(10.0) == 20.0
