"""What is committed is told live, once each, by both clients, whatever happens to the nodes."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from statehouse import (
    ConflictError,
    CursorMovedError,
    FuturePointError,
    NotFoundError,
    Progress,
    Statehouse,
)
from tests.helpers.agents import put
from tests.helpers.on_a_loop import OnALoop
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_cluster import LocalCluster
    from tests.conftest import StartCluster

CLIENTS = pytest.mark.parametrize("connect", [Statehouse, OnALoop], ids=["threads", "asyncio"])


@pytest.fixture(params=[Statehouse, OnALoop], ids=["threads", "asyncio"])
def client(request: pytest.FixtureRequest, cluster: LocalCluster) -> Iterator[Statehouse]:
    with request.param(cluster.endpoints) as made:
        yield made


class TestWatch:
    def test_it_tells_what_comes_and_how_far_it_is(self, client, agent_id):
        first = put(client, agent_id, "a/1", 1)
        watching = client.watch(agent_id, prefix="a/", after=first - 1, progress=True)
        assert next(watching).commit_ts == first
        assert isinstance(next(watching), Progress)
        put(client, agent_id, "b", 2)
        second = put(client, agent_id, "a/2", 2)
        seen = next(item for item in watching if not isinstance(item, Progress))
        assert (seen.commit_ts, [one.key for one in seen.operations]) == (second, ["a/2"])
        watching.close()

    def test_from_now_begins_with_the_first_question(self, client, agent_id):
        put(client, agent_id, "k", 1)
        watching = client.watch(agent_id, progress=True)
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.append(next_event(watching)))
        thread.start()
        numbers = itertools.count(2)

        def told() -> bool:
            put(client, agent_id, "k", next(numbers))
            return bool(seen)

        eventually(told, what="an event that was committed after the watch began")
        thread.join(30)
        assert seen[0].operations[0].value >= 2
        watching.close()

    def test_the_future_is_refused(self, client, agent_id):
        with pytest.raises(FuturePointError):
            next(client.watch(agent_id, after=10**12))


def next_event(items):
    return next(item for item in items if not isinstance(item, Progress))


class TestSubscriptions:
    def test_it_goes_on_behind_what_was_acknowledged(self, client, agent_id):
        points = [put(client, agent_id, "k", number) for number in range(4)]
        with client.subscribe(agent_id, agent_id, start=0) as subscription:
            for event in itertools.islice(subscription, 2):
                subscription.ack(event)
            assert subscription.position == points[1]
        with client.subscribe(agent_id, agent_id) as subscription:
            seen = [event.commit_ts for event in itertools.islice(subscription, 2)]
        assert seen == points[2:]
        (cursor,) = [one for one in client.cursors() if one.name == agent_id]
        assert (cursor.position, cursor.agent_id) == (points[1], agent_id)
        client.delete_cursor(agent_id)
        with pytest.raises(NotFoundError):
            client.delete_cursor(agent_id)

    def test_of_two_readers_the_slower_one_notices(self, client, agent_id):
        points = [put(client, agent_id, "k", number) for number in range(3)]
        one = client.subscribe(agent_id, agent_id, start=0)
        other = client.subscribe(agent_id, agent_id)
        one.ack(points[0])
        with pytest.raises(CursorMovedError):
            other.ack(points[1])
        assert issubclass(CursorMovedError, ConflictError)
        one.ack(points[2])

    def test_effects_happen_exactly_once_with_their_acknowledgement(self, client, agent_id):
        for number in range(5):
            put(client, agent_id, "k", number)
        counter = f"{agent_id}-counter"

        def count(subscription, limit):
            for event in itertools.islice(subscription, limit):
                with client.begin_transaction() as tx:
                    tx.write(counter, "n", (tx.get(counter, "n").value or 0) + 1)
                    tx.acknowledge(subscription, event)

        first = client.subscribe(agent_id, agent_id, start=0)
        count(first, 3)
        second = client.subscribe(agent_id, agent_id)
        count(second, 1)
        with pytest.raises(CursorMovedError):
            count(first, 1)
        count(second, 2 - 1)
        assert client.get_state(counter, "n").value == 5

    def test_an_acknowledgement_wakes_no_watcher_of_the_namespace(self, client, agent_id):
        inside = f"ns-{agent_id}"
        with client.begin_transaction(namespace=inside) as tx:
            tx.write("a", "k", 1)
        subscription = client.subscribe("all", namespace=inside, start=0)
        event = next(iter(subscription))
        subscription.ack(event)
        assert [one.commit_ts for one in client.replay(namespace=inside)] == [event.commit_ts]


KILLS = 3
COMMITS_MIN = 200
COMMITS_BETWEEN_KILLS = 30


@CLIENTS
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_watch_and_a_subscription_outlive_leaders_without_gap_or_repeat(
    fresh_cluster: StartCluster, connect
) -> None:
    cluster = fresh_cluster(nodes=3)
    committed: list[int] = []
    watched: list[int] = []
    subscribed: list[int] = []
    enough, done = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def run(work) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def watch() -> None:
        for event in client.watch("a", after=0):
            watched.append(event.commit_ts)
            if event.operations[0].value == "end":
                return

    def subscribe() -> None:
        # Each round is a reader that is restarted: what it acknowledged is behind it.
        while not (subscribed and done.is_set() and subscribed[-1] == committed[-1]):
            subscription = client.subscribe("reader", "a", start=0)
            for event in itertools.islice(subscription, 20):
                with client.begin_transaction() as tx:
                    tx.write("effects", str(event.commit_ts), 1, if_absent=True)
                    tx.acknowledge(subscription, event)
                subscribed.append(event.commit_ts)
                if event.operations[0].value == "end":
                    return

    def write() -> None:
        for value in itertools.count():
            if value >= COMMITS_MIN and enough.is_set():
                break
            committed.append(put(client, "a", "k", value))
        committed.append(put(client, "a", "k", "end"))
        done.set()

    with connect(cluster.endpoints, timeout=60) as client:
        threads = [run(watch), run(subscribe), run(write)]
        for _ in range(KILLS):
            before = len(committed)
            eventually(
                lambda before=before: failures or len(committed) >= before + COMMITS_BETWEEN_KILLS,
                timeout_s=60,
                what="commits between two deaths",
            )
            leader = eventually(cluster.leader, what="a leader")
            cluster.kill(leader)
            cluster.spawn(leader)
        enough.set()
        for thread in threads:
            thread.join(120)
        assert not failures, failures
        assert not any(thread.is_alive() for thread in threads)
        print(f"{KILLS} leaders killed, {len(committed)} commits")
        assert watched == committed
        assert subscribed == committed
        assert len(client.list_keys("effects")) == len(committed)
