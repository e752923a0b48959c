"""The shapes handed out: positions users rely on, moments that are exact, dictionaries of JSON."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_sdk import InvalidRequestError, Operation, ReplayEvent, StateResult
from statehouse_sdk.models import (
    LabelMark,
    Metadata,
    Proof,
    datetime_of_us,
    made_event,
    made_operation,
    us_of_datetime,
)


def test_first_fields_stand_where_users_expect_them():
    result = StateResult({"x": 1}, 2, 3, True)
    assert (result.value, result.version, result.commit_ts, result.exists) == ({"x": 1}, 2, 3, True)
    operation = Operation("k", {"x": 1}, 2)
    assert (operation.key, operation.value, operation.version) == ("k", {"x": 1}, 2)
    event = ReplayEvent("t", 3, [operation])
    assert (event.txn_id, event.commit_ts, event.operations) == ("t", 3, [operation])
    assert (event.namespace, event.agent_id) == ("default", "")


def test_what_a_replay_makes_is_what_the_classes_make():
    fields = ("k", b"v", 2, True, "ns", "a", LabelMark("l", 7))
    operation = made_operation(*fields)
    assert operation == Operation(*fields)
    assert hash(operation) == hash(Operation(*fields))
    rest = ("ns", "a", datetime(2026, 1, 1, tzinfo=UTC), Metadata("me"), b"h", Proof(b"p", b"b"))
    event = made_event("t", 3, [operation], *rest)
    assert event == ReplayEvent("t", 3, [operation], *rest)
    for made, field in ((operation, "key"), (event, "txn_id")):
        assert made == copy.deepcopy(made) == replace(made)
        assert type(made) in (Operation, ReplayEvent)
        with pytest.raises(FrozenInstanceError):
            setattr(made, field, "other")


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31)))
def test_moments_are_exact_to_the_microsecond(naive):
    moment = naive.replace(tzinfo=UTC)
    assert datetime_of_us(us_of_datetime(moment)) == moment


def test_a_moment_is_the_same_in_every_time_zone():
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=-7)))
    assert us_of_datetime(elsewhere) == us_of_datetime(moment)


def test_a_naive_moment_is_refused():
    with pytest.raises(InvalidRequestError, match="time zone"):
        us_of_datetime(datetime(2026, 1, 1))


def test_a_result_as_a_dictionary():
    result = StateResult(b"\x00", 1, 2, True, "k", datetime(2026, 1, 1, tzinfo=UTC), 5)
    assert result.to_dict() == {
        "key": "k",
        "version": 1,
        "commit_ts": 2,
        "committed_at": "2026-01-01T00:00:00+00:00",
        "exists": True,
        "value": None,
        "value_base64": "AA==",
    }
