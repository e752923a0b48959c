"""A v1 client at a follower: two nodes in this process, each over its own store.

What reaches the second node's store can only have come through the first one.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from statehouse.rpc import leader_route
from tests.helpers.served_node import Refusal, run, serving

KEY = {"namespace": "ns", "agent_id": "a", "key": "k"}
AGENT = {"namespace": "ns", "agent_id": "a"}
Code = grpc.StatusCode


@asynccontextmanager
async def pair(tmp_path):
    """A leader and a follower that knows where it is."""
    async with serving(tmp_path / "leader") as leader, serving(tmp_path / "follower") as follower:
        follower.consensus.follow(replace(leader.consensus.me, name="n9"))
        await asyncio.sleep(0)
        assert not follower.node.leads()
        yield leader, follower


async def staged(node, value):
    txn_id = (await node.call("v1", "BeginTransaction")).txn_id
    await node.call("v1", "Write", txn_id=txn_id, **KEY, value=value)
    return txn_id


def test_a_follower_passes_commits_and_reads_on_to_the_leader(tmp_path):
    async def scenario():
        async with pair(tmp_path) as (leader, follower):
            txn_id = await staged(follower, {"n": 1})
            assert (await follower.call("v1", "Commit", txn_id=txn_id)).commit_ts == 1
            assert (await leader.call("v1", "GetState", **KEY)).value["n"] == 1
            assert (await follower.call("v1", "GetState", **KEY)).value["n"] == 1
            assert list((await follower.call("v1", "ListKeys", **AGENT)).keys) == ["k"]
            scan = await follower.call("v1", "ScanPrefix", **AGENT)
            assert [entry.key for entry in scan.entries] == ["k"]
            (event,) = await follower.call("v1", "Replay", **AGENT)
            assert (event.txn_id, event.commit_ts) == (txn_id, 1)
            assert follower.consensus.proposed == 0

    run(scenario)


def test_a_long_replay_through_a_follower_has_every_event_once(tmp_path, monkeypatch):
    monkeypatch.setattr("statehouse.core.limits.CHUNK_ROWS_MAX", 7)

    async def scenario():
        async with pair(tmp_path) as (leader, follower):
            for number in range(50):
                await leader.commit(("a", "k", f'{{"n":{number}}}'))
            events = await follower.call("v1", "Replay", **AGENT)
            assert [event.commit_ts for event in events] == list(range(1, 51))

    run(scenario)


def test_an_answer_lost_at_the_leader_is_asked_for_again_under_the_same_op_id(tmp_path):
    async def scenario():
        async with pair(tmp_path) as (leader, follower):
            leader.consensus.lose_answers = 2
            txn_id = await staged(follower, {"n": 1})
            assert (await follower.call("v1", "Commit", txn_id=txn_id)).commit_ts == 1
            assert leader.consensus.proposed == 3
            assert (await follower.call("v1", "GetState", **KEY)).version == 1

    run(scenario)


def test_a_stalled_leader_is_left_for_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr(leader_route, "_ATTEMPT_S", 0.3)

    async def scenario():
        async with pair(tmp_path) as (leader, follower):
            await staged(follower, {"n": 0})
            txn_id = await staged(follower, {"n": 1})
            first = await staged(follower, {"n": 0})
            await follower.call("v1", "Commit", txn_id=first)
            leader.consensus.hold = True
            commit = asyncio.create_task(follower.call("v1", "Commit", txn_id=txn_id))
            while not leader.consensus.held:
                await asyncio.sleep(0.01)
            leader.consensus.let_go()
            assert (await commit).commit_ts == 2

    run(scenario)


def test_a_dead_leader_is_an_unknown_outcome_when_patience_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(leader_route, "_PATIENCE_S", 0.3)

    async def scenario():
        async with pair(tmp_path) as (leader, follower):
            first = await staged(follower, {"n": 0})
            await follower.call("v1", "Commit", txn_id=first)
            txn_id = await staged(follower, {"n": 1})
            await leader.server.stop(0)
            refused = await follower.refused("v1", "Commit", txn_id=txn_id)
            assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "REASON_OUTCOME_UNKNOWN")
            refused = await follower.refused("v1", "GetState", **KEY)
            assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "REASON_NO_LEADER")

    run(scenario)


def test_a_native_call_is_never_passed_on(tmp_path):
    async def scenario():
        async with pair(tmp_path) as (leader, follower):
            with pytest.raises(Refusal) as refused:
                await follower.commit(("a", "k", "1"))
            assert refused.value.reason == "REASON_NOT_LEADER"
            assert refused.value.details.leader.address == leader.address
            assert leader.consensus.proposed == 0

    run(scenario)


def test_a_definite_refusal_of_the_leader_comes_back_as_it_is(tmp_path):
    async def scenario():
        async with pair(tmp_path) as (leader, follower):
            leader.disk.room = False
            txn_id = await staged(follower, {"n": 1})
            refused = await follower.refused("v1", "Commit", txn_id=txn_id)
            assert (refused.code, refused.reason) == (
                Code.RESOURCE_EXHAUSTED,
                "REASON_STORAGE_FULL",
            )
            leader.disk.room = True
            assert (await follower.call("v1", "Commit", txn_id=txn_id)).commit_ts == 1

    run(scenario)
