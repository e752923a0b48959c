"""What users of the published v1 SDK rely on holds through ours, on a real cluster.

Names, parameters, results and errors are those users know; each test is one behaviour.
"""

from __future__ import annotations

import inspect
import time

import pytest

from statehouse import (
    ReplayEvent,
    Statehouse,
    StatehouseError,
    StateResult,
    Transaction,
    TransactionError,
)
from tests.helpers.on_a_loop import OnALoop
from tests.helpers.waiting import eventually


@pytest.fixture(params=[Statehouse, OnALoop], ids=["threads", "asyncio"])
def client(request, cluster):
    with request.param(url=cluster.endpoints) as client:
        yield client


def put(client, agent_id, key, value, **options):
    tx = client.begin_transaction(**options)
    tx.write(agent_id=agent_id, key=key, value=value)
    return tx.commit()


def delete(client, agent_id, key):
    tx = client.begin_transaction()
    tx.delete(agent_id=agent_id, key=key)
    return tx.commit()


class TestTheService:
    def test_health_is_ok(self, client):
        assert client.health() == "ok"

    def test_version_names_a_release_and_a_build(self, client):
        version, git_sha = client.version()
        assert version
        assert git_sha


class TestNames:
    """Positions and keywords that calls in users' code depend on."""

    @pytest.mark.parametrize(
        ("function", "first_parameters"),
        [
            (Statehouse, ["url", "namespace"]),
            (Statehouse.begin_transaction, ["self", "timeout_ms", "namespace"]),
            (Statehouse.get_state, ["self", "agent_id", "key", "namespace"]),
            (
                Statehouse.get_state_at_version,
                ["self", "agent_id", "key", "version", "namespace"],
            ),
            (Statehouse.list_keys, ["self", "agent_id", "namespace"]),
            (Statehouse.scan_prefix, ["self", "agent_id", "prefix", "namespace"]),
            (Statehouse.replay, ["self", "agent_id", "start_ts", "end_ts", "namespace"]),
            (Statehouse.replay_events, ["self", "agent_id", "start_ts", "end_ts", "namespace"]),
            (
                Statehouse.replay_pretty,
                ["self", "agent_id", "start_ts", "end_ts", "namespace", "verbose"],
            ),
            (Transaction.write, ["self", "agent_id", "key", "value"]),
            (Transaction.delete, ["self", "agent_id", "key"]),
            (StateResult, ["value", "version", "commit_ts", "exists"]),
            (ReplayEvent, ["txn_id", "commit_ts", "operations", "namespace", "agent_id"]),
        ],
        ids=lambda value: getattr(value, "__qualname__", ""),
    )
    def test_parameters_keep_their_order(self, function, first_parameters):
        found = list(inspect.signature(function).parameters)
        assert found[: len(first_parameters)] == first_parameters

    def test_every_failure_can_be_caught_as_statehouse_error(self):
        assert issubclass(TransactionError, StatehouseError)
        assert issubclass(StatehouseError, Exception)


class TestCommits:
    def test_a_commit_returns_a_number_that_grows(self, client, agent_id):
        numbers = [put(client, agent_id, "k", {"n": n}) for n in range(3)]
        assert all(type(number) is int for number in numbers)
        assert 0 < numbers[0] < numbers[1] < numbers[2]

    def test_a_commit_is_read_by_whoever_reads_next(self, cluster, client, agent_id):
        for number in range(1, 10):
            put(client, agent_id, "k", {"n": number})
            node = cluster.nodes[number % 3]
            with Statehouse(url=node.client_address) as elsewhere:
                assert elsewhere.get_state(agent_id, "k").value == {"n": number}

    def test_operations_of_a_transaction_share_its_commit_ts(self, client, agent_id):
        tx = client.begin_transaction()
        tx.write(agent_id, "a", {"n": 1})
        tx.write(agent_id, "b", {"n": 2})
        commit_ts = tx.commit()
        assert [one.commit_ts for one in client.scan_prefix(agent_id, "")] == [commit_ts] * 2

    def test_a_transaction_may_span_agents(self, client, agent_id):
        tx = client.begin_transaction()
        tx.write(f"{agent_id}-a", "k", {"n": 1})
        tx.write(f"{agent_id}-b", "k", {"n": 2})
        commit_ts = tx.commit()
        for suffix in "ab":
            assert client.get_state(f"{agent_id}-{suffix}", "k").commit_ts == commit_ts

    def test_what_is_not_committed_is_seen_by_nobody(self, client, agent_id):
        tx = client.begin_transaction()
        tx.write(agent_id, "k", {"n": 1})
        assert not client.get_state(agent_id, "k").exists
        tx.abort()
        assert not client.get_state(agent_id, "k").exists
        assert list(client.replay(agent_id)) == []

    def test_an_empty_transaction_commits(self, client, agent_id):
        before = put(client, agent_id, "k", {"n": 1})
        assert client.begin_transaction().commit() > before
        assert len(list(client.replay(agent_id))) == 1

    def test_a_finished_transaction_takes_nothing_more(self, client, agent_id):
        committed, aborted = client.begin_transaction(), client.begin_transaction()
        committed.commit()
        aborted.abort()
        aborted.abort()
        for call in (
            committed.commit,
            committed.abort,
            aborted.commit,
            lambda: committed.write(agent_id, "k", {}),
            lambda: committed.delete(agent_id, "k"),
            lambda: aborted.write(agent_id, "k", {}),
        ):
            with pytest.raises(TransactionError):
                call()

    def test_a_late_transaction_says_that_it_expired(self, client, agent_id):
        tx = client.begin_transaction(timeout_ms=500)
        tx.write(agent_id, "k", {"n": 1})
        over = time.monotonic() + 0.5
        eventually(lambda: time.monotonic() > over)
        with pytest.raises(TransactionError, match="expired"):
            tx.commit()
        assert not client.get_state(agent_id, "k").exists


class TestWithBlocks:
    def test_a_clean_end_commits(self, client, agent_id):
        with client.begin_transaction() as tx:
            tx.write(agent_id, "k", {"n": 1})
        assert client.get_state(agent_id, "k").exists

    def test_an_exception_aborts_and_goes_on(self, client, agent_id):
        def broken():
            with client.begin_transaction() as tx:
                tx.write(agent_id, "k", {"n": 1})
                raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            broken()
        assert not client.get_state(agent_id, "k").exists

    def test_a_commit_inside_is_not_repeated(self, client, agent_id):
        with client.begin_transaction() as tx:
            tx.write(agent_id, "k", {"n": 1})
            tx.commit()
        assert client.get_state(agent_id, "k").version == 1

    def test_a_client_is_one_too(self, cluster):
        with Statehouse(url=cluster.endpoints) as client:
            assert client.health() == "ok"


class TestReads:
    def test_a_written_key(self, client, agent_id):
        commit_ts = put(client, agent_id, "k", {"fact": "Paris"})
        found = client.get_state(agent_id=agent_id, key="k")
        assert (found.value, found.version) == ({"fact": "Paris"}, 1)
        assert (found.commit_ts, found.exists) == (commit_ts, True)

    def test_a_missing_key_is_no_error(self, client, agent_id):
        found = client.get_state(agent_id, "missing")
        assert (found.value, found.version, found.commit_ts, found.exists) == (None, 0, 0, False)

    def test_a_deleted_key_tells_its_tombstone(self, client, agent_id):
        put(client, agent_id, "k", {"n": 1})
        commit_ts = delete(client, agent_id, "k")
        found = client.get_state(agent_id, "k")
        assert (found.value, found.version) == (None, 2)
        assert (found.commit_ts, found.exists) == (commit_ts, False)

    def test_every_version_stays_readable(self, client, agent_id):
        put(client, agent_id, "k", {"n": 1})
        put(client, agent_id, "k", {"n": 2})
        delete(client, agent_id, "k")
        found = [client.get_state_at_version(agent_id, "k", v) for v in (1, 2, 3, 4)]
        assert [one.value for one in found] == [{"n": 1}, {"n": 2}, None, None]
        assert [one.version for one in found] == [1, 2, 3, 0]
        assert [one.exists for one in found] == [True, True, False, False]

    def test_namespaces_are_apart(self, cluster, client, agent_id):
        put(client, agent_id, "k", {"where": "here"})
        put(client, agent_id, "k", {"where": "there"}, namespace="there")
        assert client.get_state(agent_id, "k").value == {"where": "here"}
        assert client.get_state(agent_id, "k", namespace="there").value == {"where": "there"}
        assert client.get_state(agent_id, "k", namespace="").value == {"where": "here"}
        with Statehouse(url=cluster.endpoints, namespace="there") as other:
            assert other.get_state(agent_id, "k").value == {"where": "there"}


class TestVersions:
    def test_they_count_each_write_and_delete_of_their_key(self, client, agent_id):
        put(client, agent_id, "other", {"n": 0})
        put(client, agent_id, "k", {"n": 1})
        delete(client, agent_id, "k")
        put(client, agent_id, "k", {"n": 3})
        assert client.get_state(agent_id, "k").version == 3

    def test_two_writes_in_one_transaction_are_two_versions(self, client, agent_id):
        with client.begin_transaction() as tx:
            tx.write(agent_id, "k", {"n": 1})
            tx.write(agent_id, "k", {"n": 2})
        latest = client.get_state(agent_id, "k")
        first = client.get_state_at_version(agent_id, "k", 1)
        assert (latest.version, latest.value) == (2, {"n": 2})
        assert (first.commit_ts, first.value) == (latest.commit_ts, {"n": 1})

    def test_deleting_a_missing_key_makes_the_first(self, client, agent_id):
        delete(client, agent_id, "k")
        assert client.get_state(agent_id, "k").version == 1


class TestListsAndScans:
    def test_keys_come_in_bytewise_order_without_the_deleted(self, client, agent_id):
        names = ["b", "a/2", "a/10", "é", "Z", "a"]
        for name in [*names, "gone"]:
            put(client, agent_id, name, {"n": 1})
        delete(client, agent_id, "gone")
        assert client.list_keys(agent_id) == sorted(names, key=str.encode)

    def test_an_unknown_agent_has_none(self, client, agent_id):
        assert client.list_keys(agent_id) == []
        assert client.scan_prefix(agent_id, "") == []

    def test_a_scan_gives_records_with_their_keys(self, client, agent_id):
        for name in ("m:2", "m:1", "n:1", "m:3"):
            put(client, agent_id, name, {"name": name})
        delete(client, agent_id, "m:3")
        found = client.scan_prefix(agent_id, "m:")
        assert [(one.key, one.value) for one in found] == [
            ("m:1", {"name": "m:1"}),
            ("m:2", {"name": "m:2"}),
        ]
        assert len(client.scan_prefix(agent_id, "")) == 3

    def test_a_colon_in_a_name_is_only_a_character(self, client, agent_id):
        put(client, agent_id, "x:k", {"whose": "mine"})
        put(client, f"{agent_id}:x", "k", {"whose": "neighbour"})
        assert client.get_state(agent_id, "x:k").value == {"whose": "mine"}
        assert client.list_keys(agent_id) == ["x:k"]


class TestReplay:
    def test_it_tells_each_transaction_once_in_order(self, client, agent_id):
        with client.begin_transaction() as tx:
            tx.write(agent_id, "b", {"n": 1})
            tx.write(agent_id, "a", {"n": 2})
        second = delete(client, agent_id, "a")
        events = list(client.replay(agent_id))
        assert [event.commit_ts for event in events] == [tx.commit_ts, second]
        told = [[(op.key, op.value, op.version) for op in event.operations] for event in events]
        assert told == [[("b", {"n": 1}, 1), ("a", {"n": 2}, 1)], [("a", None, 2)]]
        assert len({event.txn_id for event in events}) == 2

    def test_its_bounds_are_inclusive(self, client, agent_id):
        first, second, third = (put(client, agent_id, "k", {"n": n}) for n in range(3))

        def between(**bounds):
            return [event.commit_ts for event in client.replay(agent_id, **bounds)]

        assert between() == [first, second, third]
        assert between(start_ts=second) == [second, third]
        assert between(end_ts=second) == [first, second]
        assert between(start_ts=second, end_ts=second) == [second]

    def test_an_empty_object_is_a_write_and_not_a_delete(self, client, agent_id):
        put(client, agent_id, "k", {})
        (event,) = client.replay(agent_id)
        assert event.operations[0].value == {}
        assert client.get_state(agent_id, "k").exists

    def test_it_shows_only_the_operations_of_its_agent(self, client, agent_id):
        with client.begin_transaction() as tx:
            tx.write(agent_id, "mine", {"n": 1})
            tx.write(f"{agent_id}-second", "theirs", {"n": 2})
        (event,) = client.replay(agent_id)
        assert [op.key for op in event.operations] == ["mine"]

    def test_an_unknown_agent_has_no_history(self, client, agent_id):
        assert list(client.replay(agent_id)) == []

    def test_an_event_becomes_a_dictionary(self, client, agent_id):
        commit_ts = put(client, agent_id, "k", {"n": 1})
        (event,) = client.replay_events(agent_id)
        told = event.to_dict()
        assert told["commit_ts"] == commit_ts
        assert told["txn_id"] == event.txn_id
        assert (told["namespace"], told["agent_id"]) == ("default", agent_id)
        (operation,) = told["operations"]
        assert (operation["key"], operation["value"], operation["version"]) == ("k", {"n": 1}, 1)

    def test_it_reads_as_lines_one_an_operation(self, client, agent_id):
        with client.begin_transaction() as tx:
            tx.write(agent_id, "note/1", {"n": 1})
            tx.delete(agent_id, "k")
        note, deleted = client.replay_pretty(agent_id)
        assert "NOTE" in note
        assert "key=note/1" in note
        assert "DEL" in deleted
        assert "v=1" in deleted


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [
            {"n": 1, "big": 2**53 + 1, "float": 1.0, "tiny": 5e-324, "yes": True, "no": None},
            {"deep": [[{"a": [1, [2, {"b": {}}]]}], []]},
            {"text": 'Grüße \U0001f600 \x00 "quoted" \\'},
            {},
        ],
    )
    def test_what_was_written_is_read_exactly(self, client, agent_id, value):
        put(client, agent_id, "k", value)
        found = client.get_state(agent_id, "k").value
        assert found == value
        # Equality alone would take 1 for 1.0 and for True.
        assert repr(found) == repr(value)

    def test_a_write_replaces_and_does_not_merge(self, client, agent_id):
        put(client, agent_id, "k", {"a": 1, "b": 2})
        put(client, agent_id, "k", {"b": 3})
        assert client.get_state(agent_id, "k").value == {"b": 3}

    def test_what_cannot_be_stored_is_an_error_of_ours(self, client, agent_id):
        tx = client.begin_transaction()
        with pytest.raises(StatehouseError):
            tx.write(agent_id, "k", {"set": {1, 2}})
        with pytest.raises(StatehouseError):
            tx.write(agent_id, "k", {"nan": float("nan")})


class TestErrors:
    def test_a_dead_server_is_an_error_of_ours_for_every_call(self, free_address, agent_id):
        with Statehouse(url=free_address, timeout=0.5) as client:
            with pytest.raises(StatehouseError):
                client.health()
            with pytest.raises(StatehouseError):
                client.get_state(agent_id, "k")
            with pytest.raises(StatehouseError):
                list(client.replay(agent_id))
            with pytest.raises(StatehouseError):
                put(client, agent_id, "k", {})

    def test_a_refused_name_is_an_error_of_ours(self, client):
        with pytest.raises(StatehouseError):
            client.list_keys("x" * 5000)


@pytest.fixture
def free_address():
    from scripts.local_cluster import free_base_port

    return f"127.0.0.1:{free_base_port(1)}"
