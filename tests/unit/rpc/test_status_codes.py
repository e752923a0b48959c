from __future__ import annotations

import grpc
import pytest
from statehouse_proto.v2 import common_pb2

from statehouse.core.errors import Failure, LeaderHint, LimitExceeded, Reason
from statehouse.core.model import Conflict, Expectation, Precondition
from statehouse.rpc import status_codes


def conflict(expectation, number, key="k"):
    return Conflict(Precondition("ns", "a", key, expectation.value, number), 3, 9, True)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_code_that_says_something(reason):
    assert status_codes.CODES[reason] not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)


def test_the_reasons_of_the_core_are_those_of_the_wire():
    wire = {
        value.name: value.number
        for value in common_pb2.DESCRIPTOR.enum_types_by_name["Reason"].values
    }
    assert wire.pop("REASON_UNSPECIFIED") == 0
    assert wire == {f"REASON_{reason.name}": reason.value for reason in Reason}


def test_details_come_back_as_the_failure_they_told():
    sent = Failure(
        Reason.CONFLICT,
        "two keys changed",
        leader=LeaderHint("n2", "127.0.0.1:2", 7),
        limit=LimitExceeded("value_bytes_max", 10, 11),
        conflicts=(
            conflict(Expectation.VERSION, 2),
            conflict(Expectation.ABSENT, 0),
            conflict(Expectation.UNCHANGED_SINCE, 5),
        ),
    )
    got = status_codes.failure_from_wire(grpc.StatusCode.ABORTED, "", status_codes.details_of(sent))
    assert got is not None
    assert (got.reason, got.message, got.leader, got.limit, got.conflicts) == (
        sent.reason,
        sent.message,
        sent.leader,
        sent.limit,
        sent.conflicts,
    )


@pytest.mark.parametrize("details", [None, b"\xff\xff", b"", b"\x08\x63"])
def test_what_is_not_ours_is_no_failure_of_ours(details):
    assert status_codes.failure_from_wire(grpc.StatusCode.UNAVAILABLE, "x", details) is None


def test_a_conflict_on_a_mark_is_told_in_words():
    failure = Failure(
        Reason.CONFLICT,
        "marks changed",
        conflicts=tuple(
            Conflict(Precondition("ns", agent_id, key, 0, 1), 3, 9, True)
            for agent_id, key in (("a", "\0label\0x"), ("\0cursors", "mine"), ("b", "\0fork"))
        ),
    )
    told = status_codes.details_message(failure).conflicts
    assert [(conflict.agent_id, conflict.key) for conflict in told] == [
        ("a", "label x"),
        ("", "cursor mine"),
        ("b", "fork"),
    ]


def test_many_conflicts_fit_into_headers_and_the_first_is_always_told():
    long = "ä" * 512
    many = tuple(Conflict(Precondition(long, long, long, 0, 1), 3, 9, True) for _ in range(1000))
    details = status_codes.details_of(Failure(Reason.CONFLICT, "ü" * 5000, conflicts=many))
    assert len(details) < 5000
    assert len(common_pb2.ErrorDetails.FromString(details).conflicts) == 1


@pytest.mark.parametrize("message", ["é" * 5000, "\ud800", "x" * 513])
def test_any_text_can_be_sent(message):
    text = status_codes.text_of(Failure(Reason.INTERNAL, message))
    assert len(text.encode("utf-8")) <= 512
