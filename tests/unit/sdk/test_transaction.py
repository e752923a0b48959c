"""What a user holds between begin and commit: buffering, reads, preconditions, and every end."""

from __future__ import annotations

import pickle
import time

import pytest
from statehouse_sdk import (
    ConflictError,
    InvalidRequestError,
    InvalidValueError,
    Metadata,
    TooLargeError,
    TransactionAbortedError,
    TransactionError,
    TransactionExpiredError,
    TransactionFinishedError,
)


@pytest.fixture
def tx(client):
    return client.begin_transaction()


class TestBuffering:
    def test_nothing_is_sent_before_the_commit(self, client, fake, tx):
        tx.write("a", "k", 1)
        tx.delete("a", "l")
        assert [node.calls for node in fake.nodes] == [[], [], []]
        assert tx.commit() == 1
        assert fake.nodes[0].count("Commit") == 1

    def test_a_value_changed_after_the_write_is_stored_as_it_was(self, client, tx):
        value = {"list": [1]}
        tx.write("a", "k", value)
        value["list"].append(2)
        tx.commit()
        assert client.get_state("a", "k").value == {"list": [1]}

    def test_a_transaction_may_span_agents_and_namespaces(self, client, tx):
        tx.write("a", "k", 1)
        tx.write("b", "k", 2, namespace="other")
        tx.commit()
        assert client.get_state("b", "k", "other").commit_ts == client.get_state("a", "k").commit_ts

    def test_two_writes_of_one_key_make_two_versions(self, client, tx):
        tx.write("a", "k", 1)
        tx.write("a", "k", 2)
        tx.commit()
        assert tx.versions == [1, 2]
        assert client.get_state("a", "k").value == 2

    def test_an_empty_transaction_commits(self, tx):
        assert tx.commit() == 1
        assert tx.versions == []

    def test_metadata_and_transaction_id_are_kept_with_the_event(self, client):
        tx = client.begin_transaction(
            actor="me", reason="why", run_id="r", tool_call_id="t", caused_by=7, extra={"x": "y"}
        )
        tx.write("a", "k", 1)
        tx.commit()
        (event,) = client.replay("a")
        assert event.txn_id == tx.txn_id
        assert event.metadata == Metadata("me", "why", "r", "t", (7,), {"x": "y"})

    @pytest.mark.parametrize("options", [{"actor": 7}, {"extra": {"x": 1}}, {"caused_by": [-1]}])
    def test_wrong_metadata_is_refused_at_once(self, client, options):
        with pytest.raises(InvalidRequestError):
            client.begin_transaction(**options)

    def test_a_refused_value_leaves_the_transaction_usable(self, client, tx):
        with pytest.raises(InvalidValueError):
            tx.write("a", "k", {1})
        tx.write("a", "k", [1])
        tx.commit()
        assert client.get_state("a", "k").value == [1]

    def test_too_many_operations_are_refused_with_the_limit(self, tx):
        for number in range(1024):
            tx.delete("a", f"k{number}")
        with pytest.raises(TooLargeError) as caught:
            tx.delete("a", "one more")
        assert caught.value.limit_name == "transaction_operations_max"

    def test_too_many_bytes_are_refused_before_they_are_sent(self, fake, tx):
        for number in range(4):
            tx.write("a", f"k{number}", b"x" * 1024 * 1000)
        with pytest.raises(TransactionAbortedError) as caught:
            tx.commit()
        assert isinstance(caught.value.cause, TooLargeError)
        assert fake.nodes[0].count("Commit") == 0


class TestReadingInside:
    def test_a_read_sees_the_own_write_and_the_own_delete(self, tx):
        tx.write("a", "k", {"x": 1})
        assert tx.get("a", "k").value == {"x": 1}
        assert tx.get("a", "k").version == 0
        tx.delete("a", "k")
        assert not tx.get("a", "k").exists

    def test_a_read_is_repeatable_and_checked_at_commit(self, client, tx):
        assert not tx.get("a", "k").exists
        with client.begin_transaction() as other:
            other.write("a", "k", "theirs")
        assert not tx.get("a", "k").exists
        tx.write("a", "result", 1)
        with pytest.raises(ConflictError) as caught:
            tx.commit()
        (conflict,) = caught.value.conflicts
        assert (conflict.key, conflict.expected_version, conflict.actual_version) == ("k", 0, 1)
        assert "default/a/k: expected version 0, found version 1" in str(caught.value)
        assert not client.get_state("a", "result").exists

    def test_a_delete_between_read_and_commit_is_noticed(self, client, tx):
        with client.begin_transaction() as first:
            first.write("a", "k", 1)
        tx.get("a", "k")
        with client.begin_transaction() as other:
            other.delete("a", "k")
        with pytest.raises(ConflictError, match="found deleted at version 2"):
            tx.commit()


class TestPreconditions:
    @pytest.fixture(autouse=True)
    def _one_key(self, client):
        with client.begin_transaction() as tx:
            tx.write("a", "there", 1)

    @pytest.mark.parametrize(
        ("key", "condition"),
        [
            ("there", {"version": 1}),
            ("gone", {"version": 0}),
            ("gone", {"absent": True}),
            ("there", {"unchanged_since": 1}),
        ],
    )
    def test_what_holds_lets_the_commit_through(self, client, key, condition):
        tx = client.begin_transaction()
        tx.require("a", key, **condition)
        tx.write("a", "k", 1, **{f"if_{name}": value for name, value in condition.items()})
        if key == "there" or "version" in condition:
            tx = client.begin_transaction()
            tx.require("a", key, **condition)
        tx.commit()

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ({"if_version": 2}, "expected version 2"),
            ({"if_absent": True}, "expected no value"),
            ({"if_unchanged_since": 0}, "expected unchanged since commit_ts 0"),
        ],
    )
    @pytest.mark.parametrize("verb", ["write", "delete"])
    def test_what_does_not_hold_is_told(self, client, tx, verb, condition, expected):
        value = [2] if verb == "write" else []
        getattr(tx, verb)("a", "there", *value, **condition)
        with pytest.raises(ConflictError, match=expected):
            tx.commit()
        assert client.get_state("a", "there").version == 1

    def test_require_without_a_demand_is_refused(self, tx):
        with pytest.raises(InvalidRequestError, match="needs"):
            tx.require("a", "k")

    def test_a_conflict_ends_the_transaction(self, tx):
        tx.require("a", "there", absent=True)
        with pytest.raises(ConflictError):
            tx.commit()
        with pytest.raises(TransactionFinishedError, match="aborted"):
            tx.commit()


class TestTheEnd:
    def test_a_clean_block_commits_and_tells_where(self, client):
        with client.begin_transaction() as tx:
            tx.write("a", "k", 1)
        assert (tx.commit_ts, tx.versions) == (1, [1])
        assert tx.committed_at_us is not None

    def test_an_exception_aborts_and_comes_out_unchanged(self, client, fake):
        with pytest.raises(ZeroDivisionError), client.begin_transaction() as tx:
            tx.write("a", "k", 1 / 0)
        assert fake.state.commit_ts == 0
        with pytest.raises(TransactionFinishedError):
            tx.write("a", "k", 1)

    def test_a_block_that_committed_or_aborted_itself_is_left_alone(self, client, fake):
        with client.begin_transaction() as tx:
            tx.commit()
        with client.begin_transaction() as tx:
            tx.abort()
        assert fake.state.commit_ts == 1

    def test_nothing_works_after_a_commit(self, tx):
        tx.commit()
        for use in (
            tx.commit,
            tx.abort,
            lambda: tx.write("a", "k", 1),
            lambda: tx.delete("a", "k"),
            lambda: tx.get("a", "k"),
            lambda: tx.require("a", "k", absent=True),
        ):
            with pytest.raises(TransactionError, match="committed"):
                use()

    def test_a_second_abort_does_nothing(self, tx):
        tx.abort()
        tx.abort()
        with pytest.raises(TransactionFinishedError):
            tx.commit()

    def test_an_expired_transaction_says_so_and_writes_nothing(self, client, fake):
        tx = client.begin_transaction(timeout_ms=0)
        for use in (lambda: tx.write("a", "k", 1), tx.commit, tx.commit):
            with pytest.raises(TransactionExpiredError, match="expired"):
                use()
        assert fake.state.commit_ts == 0

    def test_an_expiring_block_raises_at_its_end(self, client):
        def too_slow():
            with client.begin_transaction(timeout_ms=30) as tx:
                tx.write("a", "k", 1)
                time.sleep(0.05)

        with pytest.raises(TransactionError, match="expired"):
            too_slow()

    def test_an_error_of_a_commit_can_be_pickled(self, tx):
        tx.require("a", "k", version=3)
        with pytest.raises(ConflictError) as caught:
            tx.commit()
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.conflicts) == (str(caught.value), caught.value.conflicts)
