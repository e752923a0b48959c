"""64 threads of one client on one stream: nothing lost, doubled or mixed up, whoever fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from statehouse import ConflictError, Statehouse, TooLargeError, TransactionAbortedError
from tests.helpers.waiting import eventually
from tests.helpers.workload import Writers, check_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.local_cluster import LocalCluster
    from tests.conftest import StartCluster

THREADS = 64


def together(work: Callable[[int], object]) -> list[object]:
    """What `work(number)` returned or raised, in THREADS threads that start at once."""
    start = threading.Barrier(THREADS)
    outcomes: list[object] = [None] * THREADS

    def run(number: int) -> None:
        start.wait(30)
        try:
            outcomes[number] = work(number)
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return outcomes


def put(client: Statehouse, agent_id: str, key: str, value: object) -> int:
    with client.begin_transaction() as tx:
        tx.write(agent_id, key, value)
    assert tx.commit_ts is not None
    return tx.commit_ts


def test_each_of_64_threads_gets_its_own_answers(cluster: LocalCluster, agent_id: str) -> None:
    with Statehouse(cluster.endpoints) as client:

        def work(number: int) -> list[int]:
            seen = []
            for turn in range(10):
                at = put(client, agent_id, f"k{number}", [number, turn])
                found = client.get_state(agent_id, f"k{number}")
                assert (found.value, found.version, found.commit_ts) == (
                    [number, turn],
                    turn + 1,
                    at,
                )
                assert found.served_at >= at
                seen.append(at)
            return seen

        outcomes = together(work)
        committed = [at for seen in outcomes if isinstance(seen, list) for at in seen]
        assert len(set(committed)) == THREADS * 10, outcomes


def test_a_conflict_and_a_refusal_among_others_are_their_own(
    cluster: LocalCluster, agent_id: str
) -> None:
    with Statehouse(cluster.endpoints) as client:
        put(client, agent_id, "taken", 1)

        def work(number: int) -> int:
            if number == 7:
                with client.begin_transaction() as tx:
                    tx.write(agent_id, "taken", 2, if_absent=True)
            if number == 8:
                # Only the node has this limit, so it is the node that refuses.
                with client.begin_transaction(reason="x" * 20_000) as tx:
                    tx.write(agent_id, "large", 2)
            if number == 9:
                with client.begin_transaction() as tx:
                    tx.write(agent_id, "huge", "x" * 1024 * 1024)
            return put(client, agent_id, f"k{number}", number)

        outcomes = together(work)
        conflict, refused, huge = outcomes[7:10]
        assert isinstance(conflict, ConflictError)
        assert conflict.conflicts[0].key == "taken"
        assert isinstance(refused, TransactionAbortedError)
        assert isinstance(refused.cause, TooLargeError)
        assert refused.cause.limit_name == "metadata_bytes_max"
        assert isinstance(huge, TooLargeError)
        others = [outcome for number, outcome in enumerate(outcomes) if number not in (7, 8, 9)]
        assert all(isinstance(outcome, int) for outcome in others), others
        keys = client.list_keys(agent_id)
        assert len(keys) == THREADS - 3 + 1


def test_large_values_travel_beside_small_ones(cluster: LocalCluster, agent_id: str) -> None:
    with Statehouse(cluster.endpoints) as client:

        def work(number: int) -> bool:
            value = bytes([number]) * (900_000 if number % 16 == 0 else 10)
            put(client, agent_id, f"k{number}", value)
            return client.get_state(agent_id, f"k{number}").value == value

        assert together(work) == [True] * THREADS


def test_the_leaders_death_in_mid_stream_loses_and_doubles_nothing(
    fresh_cluster: StartCluster,
) -> None:
    cluster = fresh_cluster(nodes=3)
    with Statehouse(cluster.endpoints, timeout=30) as client:
        writers = Writers(client, THREADS)
        writers.start()
        try:
            for _ in range(2):
                before = writers.acknowledged_count
                eventually(
                    lambda before=before: writers.acknowledged_count > before + 500,
                    timeout_s=30,
                    what="500 more commits",
                )
                leader = eventually(cluster.leader, what="a leader")
                cluster.kill(leader)
                cluster.spawn(leader)
            before = writers.acknowledged_count
            eventually(
                lambda: writers.acknowledged_count > before + 500,
                timeout_s=30,
                what="500 more commits",
            )
        finally:
            writers.stop()
        cluster.wait(lambda reports: all(report.serving for report in reports), timeout_s=60)
        check_record(client, writers.notes)


def test_a_leader_that_is_asked_to_stop_fails_nobody_though_streams_are_open(
    fresh_cluster: StartCluster,
) -> None:
    cluster = fresh_cluster(nodes=3)
    with Statehouse(cluster.endpoints, timeout=30) as client:
        writers = Writers(client, 8)
        writers.start()
        try:
            eventually(lambda: writers.acknowledged_count > 50, timeout_s=30, what="some commits")
            leader = eventually(cluster.leader, what="a leader")
            cluster.stop_node(leader)
            before = writers.acknowledged_count
            eventually(
                lambda: writers.acknowledged_count > before + 50, timeout_s=30, what="more commits"
            )
        finally:
            writers.stop()
        refused = {value for notes in writers.notes.values() for value in notes.refused}
        assert refused == set()
        check_record(client, writers.notes)
