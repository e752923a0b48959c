from __future__ import annotations

import asyncio

import pytest
from statehouse_cluster.interfaces import NotLeader, Outcome

from statehouse.barriers import Barriers


def run(scenario):
    async def bounded():
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(bounded())


def test_reads_of_one_turn_share_a_barrier_and_later_ones_get_their_own():
    async def scenario():
        asked = []
        barriers = Barriers(asyncio.get_running_loop(), asked.append)
        first = [asyncio.create_task(barriers.passed()) for _ in range(5)]
        while not asked:
            await asyncio.sleep(0)
        late = asyncio.create_task(barriers.passed())
        asked[0].settle(Outcome(asked[0], result=7))
        await asyncio.gather(*first)
        assert not late.done()
        while len(asked) < 2:
            await asyncio.sleep(0)
        asked[1].settle(Outcome(asked[1], result=8))
        await late

    run(scenario)


def test_a_refused_barrier_refuses_every_reader():
    async def scenario():
        asked = []
        barriers = Barriers(asyncio.get_running_loop(), asked.append)
        reads = [asyncio.create_task(barriers.passed()) for _ in range(2)]
        while not asked:
            await asyncio.sleep(0)
        asked[0].settle(Outcome(asked[0], error=NotLeader()))
        for read in reads:
            with pytest.raises(NotLeader):
                await read

    run(scenario)


def test_a_reader_that_gave_up_does_not_disturb_the_others():
    async def scenario():
        asked = []
        barriers = Barriers(asyncio.get_running_loop(), asked.append)
        gone = asyncio.create_task(barriers.passed())
        stays = asyncio.create_task(barriers.passed())
        while not asked:
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        asked[0].settle(Outcome(asked[0], result=1))
        await stays

    run(scenario)
