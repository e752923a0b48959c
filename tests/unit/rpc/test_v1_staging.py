from __future__ import annotations

import pytest

from statehouse.core import limits
from statehouse.core.errors import Failure, Reason
from statehouse.core.model import Kind, Operation
from statehouse.rpc.v1_op_ids import Identity
from statehouse.rpc.v1_staging import Staging

SOME = Operation("ns", "a", "k", Kind.JSON.value, b"{}")


@pytest.fixture
def swept():
    return []


@pytest.fixture
def staging(swept):
    return Staging(swept.append)


def refusal(call, *arguments):
    with pytest.raises(Failure) as refused:
        call(*arguments)
    return refused.value


def test_operations_are_kept_in_their_order(staging):
    txn_id = staging.begin(1000, 0.0)
    for key in ("b", "a", "b"):
        staging.stage(txn_id, Operation("ns", "a", key, 1, b"{}"), 0.5)
    assert [operation.key for operation in staging.find(txn_id, 0.9).operations] == ["b", "a", "b"]


def test_an_unknown_transaction_is_not_found(staging):
    refused = refusal(staging.find, "nobody", 0.0)
    assert refused.reason is Reason.TRANSACTION_NOT_FOUND
    assert "not found" in refused.message


def test_a_transaction_expires_at_its_time_and_stays_known_as_expired(staging):
    txn_id = staging.begin(1000, 5.0)
    staging.find(txn_id, 5.999)
    for _ in range(2):
        refused = refusal(staging.find, txn_id, 6.0)
        assert refused.reason is Reason.TRANSACTION_EXPIRED
        assert "expired" in refused.message
    assert len(staging) == 0


def test_a_timeout_of_zero_expires_at_once(staging):
    txn_id = staging.begin(0, 5.0)
    assert refusal(staging.stage, txn_id, SOME, 5.0).reason is Reason.TRANSACTION_EXPIRED


def test_the_sweep_forgets_what_nobody_asks_for(staging, swept):
    txn_id = staging.begin(1000, 0.0)
    staging.stage(txn_id, SOME, 0.0)
    assert staging.bytes_staged > 0
    staging.sweep(0.999)
    assert len(staging) == 1
    staging.sweep(1.0)
    assert (len(staging), staging.bytes_staged) == (0, 0)
    assert [staged.txn_id for staged in swept] == [txn_id]


def test_a_transaction_being_committed_takes_nothing_more_and_cannot_expire_or_be_aborted(staging):
    txn_id = staging.begin(1000, 0.0)
    staging.find(txn_id, 0.0).op_id = Identity(b"c" * 16, 0).take()
    assert staging.find(txn_id, 50.0).txn_id == txn_id
    assert refusal(staging.stage, txn_id, SOME, 0.5).reason is Reason.TRANSACTION_FINISHED
    assert refusal(staging.abort, txn_id).reason is Reason.TRANSACTION_FINISHED
    staging.sweep(50.0)
    assert len(staging) == 1
    staging.sweep(1 + limits.CALL_TIME_MS_MAX / 1000)
    assert len(staging) == 0


def test_a_committed_transaction_is_remembered_with_its_commit_ts(staging):
    txn_id = staging.begin(1000, 0.0)
    staging.committed(staging.find(txn_id, 0.0), 42)
    assert staging.commit_ts_of(txn_id) == 42
    refused = refusal(staging.stage, txn_id, SOME, 0.0)
    assert refused.reason is Reason.TRANSACTION_FINISHED
    assert "42" in refused.message
    assert "not found" in refused.message


def test_aborting_forgets_and_may_be_repeated(staging):
    txn_id = staging.begin(1000, 0.0)
    staging.stage(txn_id, SOME, 0.0)
    staging.abort(txn_id)
    staging.abort(txn_id)
    staging.abort("nobody")
    assert staging.bytes_staged == 0
    assert refusal(staging.find, txn_id, 0.0).reason is Reason.TRANSACTION_NOT_FOUND


def test_so_many_transactions_are_open_and_no_more(staging, monkeypatch):
    monkeypatch.setattr(limits, "OPEN_TRANSACTIONS_MAX", 3)
    first = staging.begin(1000, 0.0)
    for _ in range(2):
        staging.begin(9000, 0.0)
    assert refusal(staging.begin, 1000, 0.5).reason is Reason.OVERLOADED
    assert staging.begin(1000, 1.0) != first


def test_so_long_may_a_transaction_stay_open_and_no_longer(staging):
    staging.begin(limits.STAGED_TIME_MS_MAX, 0.0)
    refused = refusal(staging.begin, limits.STAGED_TIME_MS_MAX + 1, 0.0)
    assert refused.limit.name == "staged_time_ms_max"


def test_a_transaction_takes_so_many_operations_and_no_more(staging, monkeypatch):
    monkeypatch.setattr(limits, "TRANSACTION_OPERATIONS_MAX", 2)
    txn_id = staging.begin(1000, 0.0)
    staging.stage(txn_id, SOME, 0.0)
    staging.stage(txn_id, SOME, 0.0)
    refused = refusal(staging.stage, txn_id, SOME, 0.0)
    assert (refused.limit.name, refused.limit.actual) == ("transaction_operations_max", 3)
    assert len(staging.find(txn_id, 0.0).operations) == 2


def test_a_transaction_takes_so_many_bytes_and_no_more(staging, monkeypatch):
    monkeypatch.setattr(limits, "TRANSACTION_BYTES_MAX", 100)
    txn_id = staging.begin(1000, 0.0)
    staging.stage(txn_id, SOME, 0.0)
    assert refusal(staging.stage, txn_id, SOME, 0.0).limit.name == "transaction_bytes_max"


def test_all_transactions_together_hold_so_many_bytes_and_no_more(staging, monkeypatch):
    monkeypatch.setattr(limits, "STAGED_BYTES_MAX", 100)
    staging.stage(staging.begin(1000, 0.0), SOME, 0.0)
    second = staging.begin(9000, 0.0)
    assert refusal(staging.stage, second, SOME, 0.5).reason is Reason.OVERLOADED
    staging.stage(second, SOME, 1.0)  # the first one's time is over


def test_sequences_are_acknowledged_up_to_the_oldest_one_open():
    identity = Identity(b"c" * 16, 7)
    assert identity.acknowledged_through() == 0
    first, second, third = identity.take(), identity.take(), identity.take()
    assert [first.sequence, second.sequence, third.sequence] == [1, 2, 3]
    second.release()
    assert identity.acknowledged_through() == 0
    first.release()
    assert identity.acknowledged_through() == 2
    third.release()
    third.release()
    assert identity.acknowledged_through() == 3
