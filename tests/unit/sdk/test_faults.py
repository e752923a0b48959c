"""Every reason and every gRPC code means one class of error, and nothing of gRPC gets past."""

from __future__ import annotations

import grpc
import pytest
from statehouse_proto.v2 import common_pb2 as common
from statehouse_sdk import OutcomeUnknownError, Statehouse, StatehouseError, errors, faults
from statehouse_sdk.retry import Certainty

from tests.fakes.fake_cluster import Break, FakeCluster, Refuse
from tests.helpers.on_a_loop import OnALoop

REASONS = [number for number in common.Reason.values() if number]


@pytest.fixture(scope="module")
def lone():
    running = FakeCluster(1)
    yield running
    running.stop()


@pytest.fixture(scope="module", params=[Statehouse, OnALoop], ids=["threads", "asyncio"])
def connect(request):
    return request.param


@pytest.fixture(scope="module")
def patient(connect, lone):
    lone.nodes[0]._scripts.clear()
    with connect(lone.url) as made:
        made.begin_transaction().commit()
        yield made


@pytest.fixture
def hasty(connect, lone):
    """For failures that are repeated until the time is over; new, so that no node rests for it."""
    lone.nodes[0]._scripts.clear()
    with connect(lone.url, timeout=0.8) as made:
        made.begin_transaction().commit()
        yield made


def test_every_reason_and_every_code_has_a_meaning():
    assert set(faults.REASONS) == set(REASONS)
    assert set(faults.CODES) == set(grpc.StatusCode)


@pytest.mark.parametrize("table", [faults.REASONS, faults.CODES])
def test_only_availability_and_doubt_are_tried_again(table):
    for meaning in table.values():
        if meaning.retry:
            assert issubclass(
                meaning.error, errors.UnavailableError | OutcomeUnknownError | errors.ServerError
            )


@pytest.mark.parametrize("reason", REASONS, ids=common.Reason.Name)
def test_a_read_raises_the_class_of_the_reason(lone, hasty, patient, reason):
    client = hasty if faults.REASONS[reason].retry else patient
    lone.nodes[0]._scripts.clear()
    lone.nodes[0].will("Get", *[Refuse(reason, "in its own words")] * 50)
    with pytest.raises(faults.REASONS[reason].error, match="in its own words"):
        client.get_state("a", "k")


@pytest.mark.parametrize("reason", REASONS, ids=common.Reason.Name)
def test_a_commit_raises_a_transaction_error_for_every_reason(lone, hasty, patient, reason):
    client = hasty if faults.REASONS[reason].retry else patient
    lone.nodes[0]._scripts.clear()
    lone.nodes[0].will("Commit", *[Refuse(reason)] * 50)
    with pytest.raises(errors.TransactionError) as caught:
        client.begin_transaction().commit()
    if faults.REASONS[reason].certainty is Certainty.NONE:
        assert isinstance(caught.value, OutcomeUnknownError)


CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("code", CODES, ids=str)
def test_a_bare_code_raises_its_class_and_never_an_error_of_grpc(lone, hasty, patient, code):
    client = hasty if faults.CODES[code].retry else patient
    lone.nodes[0]._scripts.clear()
    lone.nodes[0].will("Get", *[Break(code)] * 50)
    with pytest.raises(StatehouseError) as caught:
        client.get_state("a", "k")
    if code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        assert isinstance(caught.value, faults.CODES[code].error)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_details_that_are_not_ours_are_ignored():
    class Foreign(grpc.RpcError, grpc.Call):
        def code(self):
            return grpc.StatusCode.NOT_FOUND

        def details(self):
            return "gone\n  with lines"

        def trailing_metadata(self):
            return ((faults.DETAILS_KEY, b"\xff\xff"), ("other", "x"))

        initial_metadata = time_remaining = cancel = is_active = add_callback = None

    Foreign.__abstractmethods__ = frozenset()
    fault = faults.failure_of(Foreign(), "n1").fault
    assert isinstance(fault.error, errors.NotFoundError)
    assert str(fault.error) == "n1 answered NOT_FOUND: gone with lines"


def test_an_unknown_reason_of_a_newer_server_goes_by_its_code(lone, hasty):
    lone.nodes[0]._scripts.clear()
    lone.nodes[0].will("Get", *[Refuse(999)] * 50)
    with pytest.raises(errors.UnavailableError):
        hasty.get_state("a", "k")


def test_a_limit_is_told_with_its_numbers():
    details = common.ErrorDetails(
        reason=common.REASON_TOO_LARGE,
        message="too large",
        limit=common.LimitExceeded(name="value_bytes_max", maximum=5, actual=9),
    )
    error = faults.fault_of_details(details, "n1").error
    assert (error.limit_name, error.maximum, error.actual) == ("value_bytes_max", 5, 9)
