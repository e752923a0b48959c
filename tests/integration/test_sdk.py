"""The client on real nodes: what its tests on fake ones promise holds where it matters."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from statehouse import (
    ConflictError,
    FuturePointError,
    OutcomeUnknownError,
    Statehouse,
    TooLargeError,
    TransactionAbortedError,
    TransactionError,
    UnavailableError,
)
from tests.helpers.on_a_loop import OnALoop
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_cluster import LocalCluster
    from tests.conftest import StartCluster


@pytest.fixture(params=[Statehouse, OnALoop], ids=["threads", "asyncio"])
def client(request: pytest.FixtureRequest, cluster: LocalCluster) -> Iterator[Statehouse]:
    with request.param(cluster.endpoints) as made:
        yield made


def put(client: Statehouse, agent_id: str, key: str, value: object = 1) -> int:
    tx = client.begin_transaction()
    tx.write(agent_id, key, value)
    return tx.commit()


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """The process stands still meanwhile, its connections open."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Follower:
    """Follows an agent in a thread of its own and keeps what it saw."""

    def __init__(self, client: Statehouse, agent_id: str) -> None:
        self.keys: list[str] = []
        self.moments: list[int] = []
        self.ended: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(client, agent_id), daemon=True)
        self._thread.start()

    def _run(self, client: Statehouse, agent_id: str) -> None:
        try:
            for event in client.replay(agent_id, follow=True):
                self.moments.append(event.commit_ts)
                self.keys += [operation.key for operation in event.operations]
        except BaseException as error:
            self.ended = error


class TestValuesAndPoints:
    def test_values_keep_their_type_and_every_digit(self, client: Statehouse, agent_id: str):
        value = {
            "big": 2**53 + 1,
            "huge": -(10**300),
            "float": 1.0,
            "tiny": 5e-324,
            "deep": [[[{"none": None, "text": "ä\u0000\U0001f600"}]]],
        }
        put(client, agent_id, "json", value)
        put(client, agent_id, "raw", b"\x00\xff")
        put(client, agent_id, "none", None)
        assert repr(client.get_state(agent_id, "json").value) == repr(value)
        assert client.get_state(agent_id, "raw").value == b"\x00\xff"
        none = client.get_state(agent_id, "none")
        assert (none.value, none.exists) == (None, True)

    def test_names_may_hold_what_separates_names_elsewhere(self, client: Statehouse, agent_id: str):
        put(client, f"{agent_id}:x", "y", 1)
        put(client, agent_id, "x:y", 2)
        assert client.list_keys(f"{agent_id}:x") == ["y"]
        assert client.list_keys(agent_id) == ["x:y"]

    def test_the_past_is_read_by_commit_ts_and_by_moment(self, client: Statehouse, agent_id: str):
        before = datetime.now(UTC)
        first = put(client, agent_id, "k", "old")
        written = client.get_state(agent_id, "k")
        second = put(client, agent_id, "k", "new")
        assert client.get_state(agent_id, "k", at=first).value == "old"
        assert client.read_state_at(agent_id, "k", written.committed_at).value == "old"
        assert client.read_state_at(agent_id, "k", second).value == "new"
        assert not client.read_state_at(agent_id, "k", before).exists
        assert client.snapshot(agent_id, at=first).records["k"].value == "old"
        with pytest.raises(FuturePointError):
            client.get_state(agent_id, "k", at=second + 1_000_000)

    def test_replay_ends_beyond_the_last_commit_without_an_error(
        self, client: Statehouse, agent_id: str
    ):
        put(client, agent_id, "k")
        assert len(list(client.replay(agent_id, 0, 10**12))) == 1

    def test_more_than_one_message_of_values_is_read_at_one_commit_ts(
        self, client: Statehouse, agent_id: str
    ):
        for number in range(7):
            put(client, agent_id, f"k{number}", bytes([number]) * 1_000_000)
        found = client.get_many(agent_id, [f"k{number}" for number in range(7)])
        assert [result.value[0] for result in found.values()] == list(range(7))
        assert len({result.served_at for result in found.values()}) == 1
        assert len(client.scan_prefix(agent_id, "k")) == 7

    def test_a_large_transaction_is_refused_with_the_limit(self, client: Statehouse, agent_id: str):
        tx = client.begin_transaction()
        for number in range(4):
            tx.write(agent_id, f"k{number}", b"x" * 1_000_000)
        with pytest.raises(TransactionAbortedError) as caught:
            tx.commit()
        assert isinstance(caught.value.cause, TooLargeError)

    def test_a_transaction_of_every_operation_allowed_commits(
        self, client: Statehouse, agent_id: str
    ):
        with client.begin_transaction() as tx:
            for number in range(1024):
                tx.write(agent_id, f"k{number:04}", number, if_absent=True)
        assert tx.versions == [1] * 1024
        assert client.list_keys(agent_id) == [f"k{number:04}" for number in range(1024)]

    def test_conflicts_of_many_keys_are_all_an_error_of_ours(
        self, client: Statehouse, agent_id: str
    ):
        tx = client.begin_transaction()
        for number in range(1024):
            tx.write(agent_id, "x" * 900 + str(number), number, if_version=5)
        with pytest.raises(ConflictError) as caught:
            tx.commit()
        assert caught.value.conflicts


class TestConcurrency:
    def test_counters_of_many_threads_add_up(self, client: Statehouse, agent_id: str):
        def add(tx):
            tx.write(agent_id, "n", (tx.get(agent_id, "n").value or 0) + 1)

        def work():
            for _ in range(15):
                client.transact(add, attempts=200, timeout=60)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = client.get_state(agent_id, "n")
        assert (found.value, found.version) == (90, 90)

    def test_clients_of_followers_see_each_others_commits_at_once(
        self, cluster: LocalCluster, agent_id: str
    ):
        clients = [Statehouse(node.client_address) for node in cluster.nodes]
        try:
            for turn in range(30):
                put(clients[turn % 3], agent_id, "k", turn)
                assert clients[(turn + 1) % 3].get_state(agent_id, "k").value == turn
        finally:
            for client in clients:
                client.close()


class TestTrouble:
    @pytest.mark.slow
    def test_a_paused_leader_is_left_and_nothing_is_doubled(
        self, fresh_cluster: StartCluster, agent_id: str
    ):
        cluster = fresh_cluster()
        with Statehouse(cluster.endpoints) as client:
            put(client, agent_id, "before")
            leader = eventually(cluster.leader, what="a leader")
            follower = Follower(client, agent_id)
            with paused(cluster.node(leader).pid()):
                started_s = time.monotonic()
                for number in range(20):
                    put(client, agent_id, f"k{number}")
                assert client.get_state(agent_id, "k19").version == 1
                assert time.monotonic() - started_s < 15
                wanted = ["before", *(f"k{number}" for number in range(20))]
                eventually(lambda: follower.keys == wanted, timeout_s=40, what="all followed")
            put(client, agent_id, "after")
            assert client.get_state(agent_id, "after").version == 1
            eventually(lambda: follower.keys == [*wanted, "after"], timeout_s=20)
            assert follower.moments == sorted(set(follower.moments))

    @pytest.mark.slow
    def test_following_survives_the_death_of_each_leader(
        self, fresh_cluster: StartCluster, agent_id: str
    ):
        cluster = fresh_cluster()
        with Statehouse(cluster.endpoints) as client:
            follower = Follower(client, agent_id)
            wanted = []
            for turn in range(3):
                for number in range(10):
                    wanted.append(f"{turn}/{number}")
                    put(client, agent_id, wanted[-1])
                leader = eventually(cluster.leader)
                cluster.kill(leader)
                wanted.append(f"{turn}/after")
                put(client, agent_id, wanted[-1])
                cluster.restart(leader)
            eventually(lambda: follower.keys == wanted, timeout_s=30, what="all followed")
            assert follower.ended is None

    @pytest.mark.slow
    def test_without_a_majority_calls_fail_in_time_with_words_and_recover(
        self, fresh_cluster: StartCluster, agent_id: str
    ):
        cluster = fresh_cluster()
        with Statehouse(cluster.endpoints, timeout=4) as client:
            put(client, agent_id, "k", 1)
            kept = eventually(cluster.leader, what="a leader")
            others = [number for number in (1, 2, 3) if number != kept]
            for number in others:
                cluster.kill(number)
            with pytest.raises(UnavailableError):
                client.get_state(agent_id, "k")
            tx = client.begin_transaction()
            tx.write(agent_id, "k", 2)
            with pytest.raises(TransactionError) as caught:
                tx.commit()
            assert isinstance(caught.value, OutcomeUnknownError | TransactionAbortedError)
            address = cluster.node(kept).client_address
            with Statehouse(address, timeout=4) as alone:
                assert alone.get_state(agent_id, "k", stale=True).value == 1
            for number in others:
                cluster.spawn(number)
            cluster.wait(lambda reports: all(report.serving for report in reports), timeout_s=30)
            tx.commit()
            found = client.get_state(agent_id, "k")
            assert (found.value, found.version) == (2, 2)

    def test_a_cluster_of_one_survives_its_restart_under_the_same_client(
        self, fresh_cluster: StartCluster, agent_id: str
    ):
        cluster = fresh_cluster(nodes=1)
        with Statehouse(cluster.endpoints) as client:
            put(client, agent_id, "k")
            cluster.kill(1)
            cluster.spawn(1)
            assert put(client, agent_id, "k") == 2
            assert client.get_state(agent_id, "k").version == 2


class TestTheCluster:
    def test_every_node_tells_the_same_members_and_one_leader(
        self, client: Statehouse, cluster: LocalCluster
    ):
        told = [client.cluster_status(node.client_address) for node in cluster.nodes]
        assert [status.name for status in told] == ["n1", "n2", "n3"]
        assert len({status.cluster_id for status in told}) == 1
        assert sorted(status.role for status in told) == ["follower", "follower", "leader"]
        for status in told:
            assert sorted(member.name for member in status.members) == ["n1", "n2", "n3"]

    def test_leadership_is_given_away_and_the_client_follows(
        self, fresh_cluster: StartCluster, agent_id: str
    ):
        cluster = fresh_cluster()
        with Statehouse(cluster.endpoints) as client:
            put(client, agent_id, "k")
            leader = eventually(cluster.leader, what="a leader")
            heir = next(f"n{number}" for number in (1, 2, 3) if number != leader)
            assert client.transfer_leadership(heir).name == heir
            assert client.transfer_leadership(heir).name == heir
            assert put(client, agent_id, "k") == 2
            eventually(lambda: cluster.node(cluster.leader() or 1).name == heir)
