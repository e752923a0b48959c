"""Hundreds of tasks of one asyncio client on real nodes: nothing lost, doubled or mixed up."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from statehouse import (
    AsyncStatehouse,
    ConflictError,
    OutcomeUnknownError,
    Statehouse,
    StatehouseError,
    TooLargeError,
    TransactionAbortedError,
)
from tests.helpers.workload import AGENT, Notes, check_record

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scripts.local_cluster import LocalCluster
    from tests.conftest import StartCluster

TASKS = 64

T = TypeVar("T")


async def put(client: AsyncStatehouse, agent_id: str, key: str, value: object) -> int:
    async with client.begin_transaction() as tx:
        tx.write(agent_id, key, value)
    assert tx.commit_ts is not None
    return tx.commit_ts


async def until(condition: Callable[[], T], *, timeout_s: float, what: str) -> T:
    """The first true answer."""
    try:
        async with asyncio.timeout(timeout_s):
            while not (answer := condition()):
                await asyncio.sleep(0.02)
            return answer
    except TimeoutError:
        raise AssertionError(f"{what} did not come within {timeout_s:g} s") from None


def with_a_client(
    cluster: LocalCluster, scenario: Callable[[AsyncStatehouse], Coroutine[None, None, None]]
) -> None:
    """Runs the scenario; afterwards no task is left on its loop."""

    async def whole() -> None:
        async with AsyncStatehouse(cluster.endpoints, timeout=30) as client:
            await scenario(client)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, others = await asyncio.wait(others, timeout=2)
        assert not others

    asyncio.run(whole())


def test_each_of_many_tasks_gets_its_own_answers(cluster: LocalCluster, agent_id: str) -> None:
    async def scenario(client: AsyncStatehouse) -> None:
        async def work(number: int) -> list[int]:
            seen = []
            for turn in range(5):
                at = await put(client, agent_id, f"k{number}", [number, turn])
                found = await client.get_state(agent_id, f"k{number}")
                assert (found.value, found.version, found.commit_ts) == (
                    [number, turn],
                    turn + 1,
                    at,
                )
                assert found.served_at >= at
                seen.append(at)
            return seen

        seen = await asyncio.gather(*[work(number) for number in range(256)])
        committed = [at for one in seen for at in one]
        assert len(set(committed)) == 256 * 5

    with_a_client(cluster, scenario)


def test_a_conflict_and_a_refusal_among_others_are_their_own(
    cluster: LocalCluster, agent_id: str
) -> None:
    async def scenario(client: AsyncStatehouse) -> None:
        await put(client, agent_id, "taken", 1)

        async def work(number: int) -> int:
            if number == 7:
                async with client.begin_transaction() as tx:
                    tx.write(agent_id, "taken", 2, if_absent=True)
            if number == 8:
                # Only the node has this limit, so it is the node that refuses.
                async with client.begin_transaction(reason="x" * 20_000) as tx:
                    tx.write(agent_id, "large", 2)
            return await put(client, agent_id, f"k{number}", number)

        works = [work(number) for number in range(TASKS)]
        outcomes = await asyncio.gather(*works, return_exceptions=True)
        conflict, refused = outcomes[7:9]
        assert isinstance(conflict, ConflictError)
        assert conflict.conflicts[0].key == "taken"
        assert isinstance(refused, TransactionAbortedError)
        assert isinstance(refused.cause, TooLargeError)
        others = [outcome for number, outcome in enumerate(outcomes) if number not in (7, 8)]
        assert all(isinstance(outcome, int) for outcome in others), others
        assert len(await client.list_keys(agent_id)) == TASKS - 2 + 1

    with_a_client(cluster, scenario)


def test_large_values_travel_beside_small_ones(cluster: LocalCluster, agent_id: str) -> None:
    async def scenario(client: AsyncStatehouse) -> None:
        async def work(number: int) -> bool:
            value = bytes([number]) * (900_000 if number % 16 == 0 else 10)
            await put(client, agent_id, f"k{number}", value)
            return (await client.get_state(agent_id, f"k{number}")).value == value

        outcomes = await asyncio.gather(*[work(number) for number in range(TASKS)])
        assert outcomes == [True] * TASKS

    with_a_client(cluster, scenario)


def test_more_calls_than_a_node_takes_at_once_are_all_answered(
    cluster: LocalCluster, agent_id: str
) -> None:
    async def scenario(client: AsyncStatehouse) -> None:
        await put(client, agent_id, "k", 1)
        reads = [client.get_state(agent_id, "k") for _ in range(3000)]
        assert {result.value for result in await asyncio.gather(*reads)} == {1}

    with_a_client(cluster, scenario)


def test_counters_of_many_tasks_add_up(cluster: LocalCluster, agent_id: str) -> None:
    async def scenario(client: AsyncStatehouse) -> None:
        async def add(tx):
            tx.write(agent_id, "n", ((await tx.get(agent_id, "n")).value or 0) + 1)

        async def work() -> None:
            for _ in range(10):
                await client.transact(add, attempts=300, timeout=60)

        await asyncio.gather(*[work() for _ in range(8)])
        found = await client.get_state(agent_id, "n")
        assert (found.value, found.version) == (80, 80)

    with_a_client(cluster, scenario)


class Writers:
    """Tasks that each write 1, 2, 3, ... to a key of their own until stopped.

    `cancels`: how likely a commit is cancelled on its way; it is then asked for at the end.
    """

    def __init__(self, client: AsyncStatehouse, count: int, cancels: float = 0.0) -> None:
        self.notes = {f"writer-{number}": Notes() for number in range(count)}
        self.in_doubt = []
        self._client = client
        self._cancels = cancels
        self._draw = random.Random(7)
        self._stopped = False
        self._tasks = [
            asyncio.create_task(self._write(key, notes)) for key, notes in self.notes.items()
        ]

    async def stop(self) -> None:
        """Lets each writer end its write, then asks for what is in doubt."""
        self._stopped = True
        await asyncio.gather(*self._tasks)
        for tx, value, notes in self.in_doubt:
            notes.acknowledged[value] = await tx.commit()

    @property
    def acknowledged_count(self) -> int:
        return sum(len(notes.acknowledged) for notes in self.notes.values())

    async def _write(self, key: str, notes: Notes) -> None:
        value = 0
        while not self._stopped:
            value += 1
            tx = self._client.begin_transaction()
            tx.write(AGENT, key, {"value": value})
            try:
                notes.acknowledged[value] = await self._commit(tx)
            except asyncio.CancelledError:
                self.in_doubt.append((tx, value, notes))
            except OutcomeUnknownError:
                notes.unknown.add(value)
            except StatehouseError:
                notes.refused.add(value)

    async def _commit(self, tx) -> int:
        committing = asyncio.create_task(tx.commit())
        if self._draw.random() < self._cancels:
            await asyncio.sleep(self._draw.uniform(0, 0.01))
            committing.cancel()
        return await committing


def test_the_leaders_death_loses_and_doubles_nothing(fresh_cluster: StartCluster) -> None:
    cluster = fresh_cluster(nodes=3)

    async def scenario(client: AsyncStatehouse) -> None:
        writers = Writers(client, TASKS)
        for kill in (True, True, False):
            before = writers.acknowledged_count
            await until(
                lambda before=before: writers.acknowledged_count > before + 500,
                timeout_s=60,
                what="500 more commits",
            )
            if kill:
                leader = await until(cluster.leader, timeout_s=20, what="a leader")
                cluster.kill(leader)
                cluster.spawn(leader)
        await writers.stop()
        refused = {value for notes in writers.notes.values() for value in notes.refused}
        assert refused == set()
        check(cluster, writers)

    with_a_client(cluster, scenario)


def test_cancelled_commits_are_there_once_when_they_are_asked_for(
    fresh_cluster: StartCluster,
) -> None:
    cluster = fresh_cluster(nodes=3)

    async def scenario(client: AsyncStatehouse) -> None:
        writers = Writers(client, TASKS, cancels=0.2)
        await until(lambda: len(writers.in_doubt) > 100, timeout_s=60, what="100 cancelled commits")
        leader = await until(cluster.leader, timeout_s=20, what="a leader")
        cluster.kill(leader)
        cluster.spawn(leader)
        before = writers.acknowledged_count
        await until(
            lambda: writers.acknowledged_count > before + 300, timeout_s=60, what="more commits"
        )
        await writers.stop()
        check(cluster, writers)

    with_a_client(cluster, scenario)


def check(cluster: LocalCluster, writers: Writers) -> None:
    cluster.wait(lambda reports: all(report.serving for report in reports), timeout_s=60)
    with Statehouse(cluster.endpoints) as client:
        check_record(client, writers.notes)
