"""What only tasks have: cancelling, event loops, closing under way; the rest both clients share."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from statehouse_proto.v2 import common_pb2 as common
from statehouse_sdk import (
    AsyncStatehouse,
    ConflictError,
    InvalidRequestError,
    OutcomeUnknownError,
    Statehouse,
    StatehouseError,
    TransactionError,
    TransactionFinishedError,
    UnavailableError,
)

from tests.fakes.fake_cluster import LoseAnswer, Refuse, Stall


async def put(client, key="k", value=1):
    async with client.begin_transaction() as tx:
        tx.write("a", key, value)
    return tx.commit_ts


async def until(condition):
    while not condition():
        await asyncio.sleep(0.002)


def alone(scenario):
    """The test as a coroutine with a client of `fake`, after which no task may be left."""

    def test(self, fake):
        async def whole():
            async with asyncio.timeout(20):
                async with AsyncStatehouse(fake.url, timeout=5) as client:
                    await scenario(self, client, fake)
                await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

        asyncio.run(whole())

    test.__name__ = scenario.__name__
    return test


class TestTogether:
    @alone
    async def test_tasks_share_a_stream_and_get_each_their_own_answer(self, client, fake):
        async def work(number):
            for turn in range(10):
                await put(client, f"k{number}", [number, turn])
                found = await client.get_state("a", f"k{number}")
                assert (found.value, found.version) == ([number, turn], turn + 1)

        await put(client)
        await asyncio.gather(*[work(number) for number in range(64)])
        assert fake.state.commit_ts == 641
        assert max(fake.state.executed.values()) == 1
        assert max(fake.nodes[0].messages) > 16

    @alone
    async def test_a_conflict_among_others_is_its_own(self, client, fake):
        await put(client)
        fake.nodes[0].will("Commit", None, Refuse(common.REASON_CONFLICT), None)
        puts = [put(client, f"k{number}") for number in range(3)]
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [int, ConflictError, int]

    @alone
    async def test_a_call_without_an_answer_does_not_hold_up_the_others(self, client, fake):
        await put(client)
        fake.nodes[0].will("Get", Stall())
        stuck = asyncio.create_task(client.get_state("a", "k"))
        await until(lambda: fake.nodes[0].count("Get") == 1)
        async with asyncio.timeout(1.4):
            assert await put(client, "j") == 2
        assert (await stuck).value == 1

    @alone
    async def test_one_text_serves_both_clients(self, client, fake):
        with Statehouse(fake.url) as blocking:
            with blocking.begin_transaction(actor="me") as tx:
                tx.write("a", "k", {"n": 1})
            assert await client.get_state("a", "k") == blocking.get_state("a", "k")
            assert [event async for event in client.replay("a")] == list(blocking.replay("a"))
            assert [line async for line in client.replay_pretty("a")] == list(
                blocking.replay_pretty("a")
            )

    @alone
    async def test_transact_wants_a_coroutine_function(self, client, fake):
        with pytest.raises(InvalidRequestError, match="async def"):
            await client.transact(lambda tx: tx.write("a", "k", 1))
        assert fake.state.commit_ts == 0


class TestCancelling:
    @alone
    async def test_a_cancelled_commit_is_in_doubt_until_it_is_asked_again(self, client, fake):
        await put(client)
        tx = client.begin_transaction()
        tx.write("a", "k", 2)
        fake.nodes[0].will("Commit", Stall(after=True))
        committing = asyncio.create_task(tx.commit())
        await until(lambda: fake.state.commit_ts == 2)
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
        with pytest.raises(OutcomeUnknownError):
            tx.abort()
        with pytest.raises(OutcomeUnknownError):
            tx.write("a", "k", 3)
        assert await tx.commit() == 2
        assert set(fake.state.executed.values()) == {1}

    @alone
    async def test_a_timeout_around_a_block_leaves_it_in_doubt(self, client, fake):
        await put(client)
        fake.nodes[0].will("Commit", Stall())
        tx = client.begin_transaction()

        async def too_long():
            async with asyncio.timeout(0.1), tx:
                tx.write("a", "k", 2)

        with pytest.raises(TimeoutError):
            await too_long()
        assert await tx.commit() == 2
        assert tx.versions == [2]

    @alone
    async def test_the_op_id_of_a_cancelled_commit_is_used_for_nothing_else(self, client, fake):
        await put(client)
        for number in range(5):
            fake.nodes[0].will("Commit", Stall())
            count = fake.nodes[0].count("Commit")
            given_up = asyncio.create_task(put(client, f"given up {number}"))
            await until(lambda count=count: fake.nodes[0].count("Commit") > count)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            await put(client, f"k{number}")
        sequences = [sequence for _, sequence in fake.state.receipts]
        assert sequences == [1, 3, 5, 7, 9, 11]

    @alone
    async def test_a_block_left_by_cancelling_before_the_commit_is_aborted(self, client, fake):
        async def work():
            nonlocal tx
            async with client.begin_transaction() as tx:
                tx.write("a", "k", 1)
                await asyncio.sleep(60)

        tx = None
        task = asyncio.create_task(work())
        await until(lambda: tx is not None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TransactionFinishedError, match="aborted"):
            await tx.commit()
        assert fake.state.commit_ts == 0

    @alone
    async def test_a_cancelled_read_disturbs_nobody(self, client, fake):
        await put(client)
        fake.nodes[0].will("Get", *[Stall()] * 8)
        reads = [asyncio.create_task(client.get_state("a", "k")) for _ in range(8)]
        await until(lambda: fake.nodes[0].count("Get") == 8)
        for read in reads:
            read.cancel()
        await asyncio.wait(reads)
        assert all(read.cancelled() for read in reads)
        assert (await client.get_state("a", "k")).value == 1
        assert fake.nodes[0].messages[-1] == 1

    @alone
    async def test_a_cancelled_list_lets_its_stream_go(self, client, fake):
        await put(client)
        fake.nodes[0].will("ListKeys", Stall())
        listing = asyncio.create_task(client.list_keys("a"))
        await until(lambda: fake.nodes[0].count("ListKeys") == 1)
        listing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listing
        assert await client.list_keys("a") == ["k"]

    @alone
    async def test_a_cancelled_wait_for_an_election_ends_at_once(self, client, fake):
        await put(client)
        fake.elect(None)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(put(client), 0.2)
        fake.elect(fake.nodes[1])
        # One that was on its way when it was given up may have come before.
        assert await put(client) == fake.state.commit_ts
        assert max(fake.state.executed.values()) == 1


class TestIterators:
    @alone
    async def test_a_replay_left_early_lets_its_stream_go(self, client, fake):
        await put(client)
        async for event in client.replay("a", follow=True):
            assert event.commit_ts == 1
            break
        await until(lambda: asyncio.all_tasks() - {asyncio.current_task()} == exchange_tasks())

    @alone
    async def test_following_goes_on_while_others_write(self, client, fake):
        seen = []

        async def follow():
            async for event in client.replay("a", follow=True):
                seen.append(event.commit_ts)
                if len(seen) == 20:
                    return

        following = asyncio.create_task(follow())
        for number in range(20):
            if number == 10:
                fake.elect(fake.nodes[1])
            await put(client, f"k{number}")
        await following
        assert seen == list(range(1, 21))

    @alone
    async def test_a_cancelled_follower_ends(self, client, fake):
        async def follow():
            async for _ in client.replay("a", follow=True):
                pass

        following = asyncio.create_task(follow())
        await put(client)
        await until(lambda: fake.nodes[0].count("Replay") == 1)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following


def exchange_tasks():
    names = {"AsyncExchange._write", "AsyncExchange._read"}
    return {task for task in asyncio.all_tasks() if task.get_coro().__qualname__ in names}


class TestClosing:
    @alone
    async def test_calls_under_way_fail_with_words(self, client, fake):
        await put(client)
        fake.nodes[0].will("Get", Stall())
        fake.nodes[0].will("Commit", Stall())
        fake.nodes[0].will("Scan", Stall())
        calls = [
            asyncio.create_task(call)
            for call in (client.get_state("a", "k"), put(client), client.scan_prefix("a", ""))
        ]
        await until(lambda: {"Get", "Scan"} <= set(fake.nodes[0].calls))
        await until(lambda: fake.nodes[0].count("Commit") == 2)
        await client.close()
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(error) for error in told] == [
            "this client is closed; make a new AsyncStatehouse()"
        ] * 3

    @alone
    async def test_a_follower_under_way_fails_with_words(self, client, fake):
        await put(client)
        events = client.replay("a", follow=True)
        assert (await anext(events)).commit_ts == 1
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(StatehouseError, match="closed"):
            await waiting

    @alone
    async def test_a_closed_client_says_so_and_may_be_closed_again(self, client, fake):
        await put(client)
        await client.close()
        await client.close()
        with pytest.raises(StatehouseError, match="make a new AsyncStatehouse"):
            await client.version()
        with pytest.raises(StatehouseError, match="closed"):
            await put(client)

    @alone
    async def test_a_commit_in_doubt_when_the_client_is_closed_stays_in_doubt(self, client, fake):
        await put(client)
        fake.nodes[0].will("Commit", LoseAnswer(), *[Stall()] * 8)
        tx = client.begin_transaction()
        committing = asyncio.create_task(tx.commit())
        await until(lambda: fake.nodes[0].count("Commit") >= 3)
        await client.close()
        with pytest.raises(StatehouseError, match="closed"):
            await committing
        with pytest.raises(OutcomeUnknownError):
            tx.abort()

    def test_a_client_that_is_never_used_closes_in_silence(self):
        async def whole():
            async with AsyncStatehouse("127.0.0.1:1"):
                pass

        asyncio.run(whole())

    def test_a_program_that_forgets_to_close_ends_in_silence(self, elsewhere):
        code = (
            "import asyncio; from statehouse import AsyncStatehouse\n"
            "async def main():\n"
            # A busy machine is not what this test is about.
            "    asyncio.get_running_loop().slow_callback_duration = 60\n"
            f"    client = AsyncStatehouse({elsewhere!r})\n"
            "    async with client.begin_transaction() as tx:\n"
            "        tx.write('a', 'k', 1)\n"
            "    async for event in client.replay('a', follow=True):\n"
            "        break\n"
            "asyncio.run(main())\n"
        )
        told = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


class TestWhereItBelongs:
    def test_another_event_loop_is_told_apart(self, fake):
        client = AsyncStatehouse(fake.url)
        first = asyncio.new_event_loop()
        assert first.run_until_complete(put(client)) == 1

        async def use():
            with pytest.raises(StatehouseError, match="another event loop"):
                await client.get_state("a", "k")
            with pytest.raises(StatehouseError, match="another event loop"):
                client.replay("a")

        asyncio.run(use())
        assert first.run_until_complete(put(client)) == 2
        first.run_until_complete(client.close())
        first.close()

    def test_a_client_may_be_made_before_there_is_a_loop(self, fake):
        client = AsyncStatehouse(fake.url)
        tx = client.begin_transaction()
        tx.write("a", "k", 1)

        async def use():
            async with client:
                assert await tx.commit() == 1

        asyncio.run(use())

    def test_without_a_loop_it_says_what_to_use(self, fake):
        with pytest.raises(StatehouseError, match="no event loop"):
            AsyncStatehouse(fake.url).replay("a")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestAfterAFork:
    def told_by_child(self, code):
        """What a forked child of a fresh interpreter prints; gRPC itself must not be running."""
        whole = (
            "import asyncio, os, sys\n"
            "from statehouse import AsyncStatehouse, StatehouseError\n"
            "from statehouse_sdk import async_transport\n"
            "client = AsyncStatehouse('127.0.0.1:1', timeout=0.5)\n"
            "class Channel: pass\n"
            f"{code}"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    try:\n"
            "        asyncio.run(use())\n"
            "    except StatehouseError as error:\n"
            "        print(error, flush=True)\n"
            "    os._exit(0)\n"
            "os.waitpid(child, 0)\n"
        )
        told = subprocess.run(
            [sys.executable, "-c", whole], capture_output=True, text=True, timeout=60, check=True
        )
        return told.stdout

    def test_an_inherited_client_says_so(self):
        told = self.told_by_child("async def use(): await client.get_state('a', 'k')\n")
        assert "cannot be used after a fork" in told

    def test_an_inherited_transaction_says_so(self):
        told = self.told_by_child(
            "tx = client.begin_transaction()\nasync def use(): await tx.commit()\n"
        )
        assert "after a fork" in told

    def test_a_new_client_is_refused_where_grpc_would_hang(self):
        told = self.told_by_child(
            "channel = Channel()\n"
            "async_transport._channels.add(channel)\n"
            "async def use(): await AsyncStatehouse('127.0.0.1:1').get_state('a', 'k')\n"
        )
        assert "start processes by spawn" in told

    def test_a_new_client_works_when_none_was_in_use(self):
        told = self.told_by_child(
            "async def use(): await AsyncStatehouse('127.0.0.1:1', timeout=0.5).health()\n"
        )
        assert "no connection" in told


def test_unavailable_is_told_as_by_the_other_client(fake):
    async def whole():
        async with AsyncStatehouse(fake.url, timeout=1.2) as client:
            await put(client)
            for node in fake.nodes:
                node.stop()
            with pytest.raises(UnavailableError, match="gave up after"):
                await client.get_state("a", "k")
            with pytest.raises(TransactionError):
                await put(client)

    asyncio.run(whole())
