"""The client against well-behaved nodes: what is written is what is read, in every way to read."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
from statehouse_sdk import (
    ConflictError,
    FuturePointError,
    InvalidRequestError,
    MembershipError,
    StatehouseError,
    StateResult,
    TooLargeError,
)
from statehouse_sdk import ConnectionError as NoConnection

from tests.fakes.fake_cluster import Refuse
from tests.fakes.toy_state import FIRST_MOMENT_US


def put(client, key, value, agent_id="a", **options):
    with client.begin_transaction(**options) as tx:
        tx.write(agent_id, key, value)
    return tx.commit_ts


def moment(commit_ts):
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=FIRST_MOMENT_US)
    return start + timedelta(seconds=commit_ts)


VALUES = [
    None,
    True,
    1,
    1.0,
    2**53 + 1,
    -(10**40),
    0.1,
    "",
    "ä\n\0",
    [],
    {},
    {"deep": [{"list": [1, [2.5, {"x": None}]]}]},
    b"",
    b"\xff\x00",
]


class TestReading:
    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_what_is_written_is_read_with_its_type(self, client, value):
        put(client, "k", value)
        found = client.get_state("a", "k").value
        assert found == value
        assert type(found) is type(value)

    def test_a_key_never_written_has_no_version(self, client):
        found = client.get_state("a", "none")
        assert (found.value, found.version, found.commit_ts, found.exists) == (None, 0, 0, False)
        assert found.committed_at is None

    def test_a_result_tells_key_moment_and_point_of_view(self, client):
        put(client, "other", 1)
        put(client, "k", 2)
        found = client.get_state("a", "k")
        assert found == StateResult(2, 1, 2, True, "k", moment(2), 2)

    def test_the_past_is_read_by_commit_ts_and_by_moment(self, client):
        first, second = put(client, "k", "old"), put(client, "k", "new")
        assert client.get_state("a", "k", at=first).value == "old"
        assert client.read_state_at("a", "k", moment(first)).value == "old"
        assert client.read_state_at("a", "k", moment(second)).value == "new"
        assert not client.read_state_at("a", "k", moment(first) - timedelta(seconds=1)).exists

    def test_the_future_is_refused(self, client):
        with pytest.raises(FuturePointError):
            client.get_state("a", "k", at=99)

    def test_a_moment_without_a_time_zone_is_refused(self, client):
        with pytest.raises(InvalidRequestError, match="time zone"):
            client.get_state("a", "k", at=datetime(2026, 1, 1))

    def test_versions_are_read_and_missing_ones_are_no_error(self, client):
        put(client, "k", "one")
        put(client, "k", "two")
        assert client.get_state_at_version("a", "k", 1).value == "one"
        assert client.get_state("a", "k", version=2).value == "two"
        assert not client.get_state_at_version("a", "k", 3).exists
        assert client.get_state_at_version("a", "k", 0) == StateResult(None, 0, 0, False)

    def test_many_keys_come_in_the_order_asked_with_the_missing(self, client):
        put(client, "b", 1)
        put(client, "a", 2)
        found = client.get_many("a", ["b", "none", "a", "b"])
        assert [(key, result.value) for key, result in found.items()] == [
            ("b", 1),
            ("none", None),
            ("a", 2),
        ]
        assert {result.served_at for result in found.values()} == {2}

    def test_many_keys_too_large_for_one_message_come_in_parts_of_one_commit_ts(self, client, fake):
        fake.get_many_keys_max = 2
        for number in range(7):
            put(client, f"k{number}", number)
        found = client.get_many("a", [f"k{number}" for number in range(7)])
        assert [result.value for result in found.values()] == list(range(7))
        assert {result.served_at for result in found.values()} == {7}

    def test_lists_and_scans_are_in_order_with_their_keys(self, client):
        for key in ("b/2", "b/1", "a", "c", "b/3"):
            put(client, key, key.upper())
        assert client.list_keys("a") == ["a", "b/1", "b/2", "b/3", "c"]
        assert client.list_keys("a", prefix="b/") == ["b/1", "b/2", "b/3"]
        scanned = client.scan_prefix("a", "b/")
        assert [(result.key, result.value) for result in scanned] == [
            ("b/1", "B/1"),
            ("b/2", "B/2"),
            ("b/3", "B/3"),
        ]
        assert client.list_keys("a", at=1) == ["b/2"]

    def test_a_snapshot_is_the_agent_at_one_commit_ts(self, client):
        first = put(client, "k", 1)
        put(client, "l", 2)
        snapshot = client.snapshot("a", at=first)
        assert (snapshot.commit_ts, list(snapshot.records)) == (first, ["k"])
        assert client.snapshot("a").to_dict()["records"]["l"]["value"] == 2
        assert client.snapshot("nobody").records == {}

    def test_agents_and_namespaces_are_listed(self, client):
        put(client, "k", 1, agent_id="x")
        put(client, "k", 1, agent_id="y", namespace="other")
        assert client.list_agents() == ["x", "y"]
        assert client.list_namespaces() == ["default", "other"]

    def test_the_namespace_of_the_client_is_the_default_of_its_calls(self, connect, fake):
        with connect(fake.url, namespace="mine") as mine, connect(fake.url) as other:
            put(mine, "k", 1)
            assert mine.get_state("a", "k", "").exists
            assert other.get_state("a", "k", "mine").exists
            assert not other.get_state("a", "k").exists

    def test_stale_reads_are_spread_over_all_nodes(self, client, fake):
        put(client, "k", 1)
        for _ in range(6):
            assert client.get_state("a", "k", stale=True).value == 1
        assert [node.count("Get") for node in fake.nodes] == [2, 2, 2]

    @pytest.mark.parametrize("name", ["", 7, "\ud800", "x" * 1025])
    def test_an_impossible_name_is_refused_before_it_is_sent(self, client, fake, name):
        with pytest.raises(InvalidRequestError):
            client.get_state(name, "k")
        assert fake.nodes[0].calls == []


class TestTransact:
    def test_it_commits_what_the_function_wrote_and_returns_its_result(self, client):
        def add(tx):
            count = (tx.get("a", "n").value or 0) + 1
            tx.write("a", "n", count)
            return count

        assert [client.transact(add) for _ in range(3)] == [1, 2, 3]

    def test_it_runs_again_on_a_conflict(self, client):
        runs = []

        def interfered(tx):
            seen = tx.get("a", "n").value
            if not runs:
                put(client, "n", 10)
            runs.append(seen)
            tx.write("a", "n", (seen or 0) + 1)

        client.transact(interfered)
        assert runs == [None, 10]
        assert client.get_state("a", "n").value == 11

    def test_it_gives_up_after_so_many_attempts(self, client):
        runs = []

        def hopeless(tx):
            runs.append(1)
            tx.write("a", "k", 1, if_version=99)

        with pytest.raises(ConflictError):
            client.transact(hopeless, attempts=3)
        assert len(runs) == 3

    def test_its_time_bounds_it_too(self, client):
        with pytest.raises(ConflictError):
            client.transact(lambda tx: tx.require("a", "k", version=9), timeout=0.05, attempts=999)

    def test_an_error_of_the_function_is_raised_and_nothing_written(self, client, fake):
        def fails(tx):
            tx.write("a", "k", 1)
            raise KeyError("mine")

        with pytest.raises(KeyError):
            client.transact(fails)
        assert fake.state.commit_ts == 0


class TestTheCluster:
    def test_health_is_ok_while_a_node_serves_and_knows_a_leader(self, client, fake):
        assert client.health() == "ok"
        fake.nodes[0].lifecycle = "starting"
        assert client.health() == "ok"
        fake.elect(None)
        with pytest.raises(NoConnection, match="no leader"):
            client.health()

    def test_version_is_that_of_the_node(self, client):
        assert client.version() == ("9.9.9", "cafe")

    def test_status_of_any_node_or_of_one(self, client, fake):
        assert client.cluster_status().leader_name == "n1"
        status = client.cluster_status(fake.nodes[2].address)
        assert (status.name, status.role, len(status.members)) == ("n3", "follower", 3)
        assert status.to_dict()["members"][0]["name"] == "n1"

    def test_members_are_added_removed_and_given_the_lead_at_the_leader(self, client, fake):
        fake.elect(fake.nodes[1])
        phases = [(step.phase, step.member and step.member.name) for step in client.add_member("p")]
        assert phases == [("catching_up", None), ("voting", "n9")]
        assert [member.name for member in client.remove_member("n3")] == ["n2"]
        assert fake.removed == ["n3"]
        assert client.transfer_leadership("n3").name == "n3"

    def test_a_refused_change_says_why(self, client, fake):
        from statehouse_proto.v2 import common_pb2 as common

        fake.nodes[0].will("RemoveMember", Refuse(common.REASON_MEMBERSHIP_REFUSED, "last voter"))
        with pytest.raises(MembershipError, match="last voter"):
            client.remove_member("n1")

    def test_too_many_keys_at_once_are_refused_with_the_limit(self, client):
        with pytest.raises(TooLargeError) as caught:
            client.get_many("a", [str(number) for number in range(1025)])
        assert caught.value.limit_name == "get_many_keys_max"


class TestTheEnd:
    def test_a_closed_client_says_so(self, client):
        client.get_state("a", "k")
        client.close()
        for call in (client.version, lambda: client.get_state("a", "k")):
            with pytest.raises(StatehouseError, match="closed"):
                call()

    def test_a_client_can_be_closed_while_it_connects(self, connect):
        told = []

        def ask(client):
            try:
                client.get_state("a", "k")
            except StatehouseError as error:
                told.append(str(error))

        with (
            socket.create_server(("127.0.0.1", 0)) as deaf,
            connect(f"127.0.0.1:{deaf.getsockname()[1]}", timeout=60) as client,
        ):
            asking = threading.Thread(target=ask, args=(client,))
            asking.start()
            connection, _ = deaf.accept()
            with connection:
                client.close()
                asking.join()
        assert "closed" in told[0]
