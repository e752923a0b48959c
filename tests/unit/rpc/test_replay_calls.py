from __future__ import annotations

import asyncio
import hashlib

import grpc
import pytest

from statehouse.rpc import replay
from statehouse.storage.state_store import StateStore
from statehouse.storage.views import StateView
from tests.helpers.served_node import CLIENT, end_of, label, operation, run, serving

AGENT = {"namespace": "ns", "agent_id": "a"}


def seen(pages):
    return [event.commit_ts for page in pages for event in page.events]


async def filled(node):
    """Six commits: of a, b, a and b, empty, a, and of another namespace."""
    await node.commit(("a", "k", "1"), metadata={"actor": "me", "extra": {"z": "1", "y": "2"}})
    await node.commit(("b", "k", "2"))
    await node.commit(("a", "x", "3"), ("b", "x", None), ("a", "k", b"raw"))
    await node.commit()
    last = await node.commit(("a", "k", None))
    await node.call(
        "state",
        "Commit",
        op_id={"client_id": CLIENT, "sequence": 90},
        operations=[operation("a", "k", "6", namespace="other")],
    )
    return last


def test_an_agents_replay_has_only_its_own_operations_in_staging_order(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await filled(node)
            pages = await node.call("state", "Replay", **AGENT)
            assert seen(pages) == [1, 3, 5]
            events = [event for page in pages for event in page.events]
            assert [(o.agent_id, o.key, o.version) for o in events[1].operations] == [
                ("a", "x", 1),
                ("a", "k", 2),
            ]
            assert events[1].operations[1].value.raw == b"raw"
            assert not events[2].operations[0].HasField("value")
            assert events[0].metadata.actor == "me"
            assert dict(events[0].metadata.extra) == {"z": "1", "y": "2"}
            assert len({event.hash for event in events}) == 3
            assert pages[-1].served_at == 6

    run(scenario)


def test_a_namespace_and_everything_can_be_replayed(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await filled(node)
            assert seen(await node.call("state", "Replay", namespace="ns")) == [1, 2, 3, 5]
            assert seen(await node.call("state", "Replay")) == [1, 2, 3, 4, 5, 6]

    run(scenario)


def test_bounds_are_inclusive_by_commit_ts_and_by_time(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            times = []
            for number in range(5):
                times.append((await node.commit(("a", "k", str(number)))).committed_at_us)
                await asyncio.sleep(0.002)
            for start, end in (
                ({"commit_ts": 2}, {"commit_ts": 4}),
                ({"time_us": times[1]}, {"time_us": times[3]}),
                ({"time_us": times[0] + 1}, {"time_us": times[4] - 1}),
            ):
                pages = await node.call("state", "Replay", **AGENT, start=start, end=end)
                assert seen(pages) == [2, 3, 4]
                assert pages[-1].served_at == 4
            assert seen(await node.call("state", "Replay", start={"commit_ts": 9})) == []
            assert seen(await node.call("state", "Replay", end={"commit_ts": 2**64 - 1})) == [
                1,
                2,
                3,
                4,
                5,
            ]

    run(scenario)


def test_the_first_and_the_last_events_can_be_asked_for(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await filled(node)
            pages = await node.call("state", "Replay", **AGENT, limit=2)
            assert (seen(pages), pages[-1].served_at) == ([1, 3], 3)
            assert seen(await node.call("state", "Replay", **AGENT, last=2)) == [3, 5]
            assert seen(await node.call("state", "Replay", **AGENT, last=99)) == [1, 3, 5]

    run(scenario)


def test_a_long_history_comes_in_bounded_messages_without_gap_or_repeat(tmp_path, monkeypatch):
    monkeypatch.setattr(replay.chunks.limits, "CHUNK_ROWS_MAX", 16)

    async def scenario():
        async with serving(tmp_path) as node:
            for _ in range(100):
                await node.commit(("a", "k", "1"))
            pages = await node.call("state", "Replay", **AGENT)
            assert seen(pages) == list(range(1, 101))
            assert max(len(page.events) for page in pages) == 16
            assert [page.served_at for page in pages[:-1]] == [
                page.events[-1].commit_ts for page in pages[:-1]
            ]

    run(scenario)


def test_a_follower_gets_every_event_once_while_others_write(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "0"))
            follow = node.stream("state", "Replay", **AGENT, follow=True)
            got = []

            async def read():
                while len(got) < 101:
                    page = await follow.read()
                    got.extend(event.commit_ts for event in page.events)

            reader = asyncio.create_task(read())
            for number in range(100):
                await node.commit(("a", "k", "1"), ("b", "k", "2"))
                if number % 10 == 0:
                    await asyncio.sleep(0.001)
            await reader
            assert got == list(range(1, 102))
            follow.cancel()

    run(scenario)


def test_hundreds_of_followers_starve_nobody(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "0"))
            follows = [node.stream("state", "Replay", **AGENT, follow=True) for _ in range(300)]
            for follow in follows:
                await follow.read()
            # Each waits for the next commit; commits and reads must get through in between.
            async with asyncio.timeout(20):
                for number in range(1, 6):
                    await node.commit(("a", "k", str(number)))
                    await node.call("state", "Get", namespace="ns", agent_id="a", key="k")
                for follow in follows:
                    got = [1]
                    while got[-1] < 6:
                        got += [event.commit_ts for event in (await follow.read()).events]
                    assert got == [1, 2, 3, 4, 5, 6]
                    follow.cancel()

    run(scenario)


def test_a_follower_may_start_after_the_end_or_with_the_last_events(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await filled(node)
            later = node.stream(
                "state",
                "Replay",
                **AGENT,
                follow=True,
                start={"commit_ts": 8},
                consistency="CONSISTENCY_STALE",
            )
            tail = node.stream("state", "Replay", **AGENT, follow=True, last=1)
            assert [event.commit_ts for event in (await tail.read()).events] == [5]
            await later.read()
            await node.commit(("a", "k", "7"))
            await node.commit(("a", "k", "8"))
            got = []
            while not got:
                got = [event.commit_ts for event in (await later.read()).events]
            assert got == [8]
            rest = []
            while len(rest) < 2:
                rest += [event.commit_ts for event in (await tail.read()).events]
            assert rest == [7, 8]
            later.cancel()
            tail.cancel()

    run(scenario)


def test_a_follower_resumes_after_what_is_committed_but_not_in_the_future(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await filled(node)
            following = {**AGENT, "follow": True}
            refused = await node.refused("state", "Replay", **following, start={"commit_ts": 8})
            assert refused.code is grpc.StatusCode.OUT_OF_RANGE
            assert refused.reason == "REASON_FUTURE_POINT"
            assert "7" in refused.text
            assert "6" in refused.text
            resumed = node.stream("state", "Replay", **following, start={"commit_ts": 7})
            assert (await resumed.read()).served_at == 6
            await node.commit(("a", "k", "7"))
            assert [event.commit_ts for event in (await resumed.read()).events] == [7]
            resumed.cancel()

    run(scenario)


def test_a_stretch_without_events_in_scope_is_told_soon(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            follow = node.stream("state", "Replay", **AGENT, follow=True)
            await follow.read()
            for _ in range(20):
                await node.commit(("b", "k", "1"))
            clock = asyncio.get_running_loop().time
            committed_at_s = clock()
            page = await follow.read()
            while page.served_at < 20:
                page = await follow.read()
            assert not page.events
            assert clock() - committed_at_s < 3
            follow.cancel()

    run(scenario)


def test_a_follower_that_sees_nothing_of_its_scope_is_told_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_PROGRESS_INTERVAL_S", 0.05)

    async def scenario():
        async with serving(tmp_path) as node:
            follow = node.stream("state", "Replay", **AGENT, follow=True)
            await follow.read()
            await node.commit(("b", "k", "1"))
            page = await follow.read()
            while page.served_at < 1:
                page = await follow.read()
            assert not page.events
            follow.cancel()

    run(scenario)


def test_a_linearizable_follower_is_sent_on_when_leadership_is_lost(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            follow = node.stream("state", "Replay", **AGENT, follow=True)
            stale = node.stream(
                "state", "Replay", **AGENT, follow=True, consistency="CONSISTENCY_STALE"
            )
            await follow.read()
            assert (await stale.read()).events
            node.consensus.follow(node.consensus.other)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await end_of(follow)
            assert ended.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            stale.cancel()

    run(scenario)


async def with_runs(node):
    """Five commits: three of run r1, one of r2, one of none; 3 and 4 had causes."""
    await node.commit(("a", "x/1", "1"), metadata={"run_id": "r1"})
    await node.commit(("a", "y/1", "2"), ("b", "x/1", "2"), metadata={"run_id": "r1"})
    await node.commit(("b", "x/2", "3"), metadata={"run_id": "r1", "caused_by": [1]})
    await node.commit(("a", "x/1", "4"), metadata={"run_id": "r2", "caused_by": [2, 1]})
    await node.commit(("a", "z", "5"))


def test_events_are_found_by_prefix_by_run_and_by_cause(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await with_runs(node)
            for expected, fields in (
                ([1, 4], {**AGENT, "prefix": "x/"}),
                ([1, 2, 3, 4], {"namespace": "ns", "prefix": "x/"}),
                ([1, 2, 3, 4], {"prefix": "x/"}),
                ([1, 2, 3], {"namespace": "ns", "run_id": "r1"}),
                ([1, 2], {**AGENT, "run_id": "r1"}),
                ([3, 4], {"caused_by": 1}),
                ([4], {**AGENT, "caused_by": 1}),
                ([], {"namespace": "ns", "run_id": "nobody"}),
                ([2], {**AGENT, "run_id": "r1", "last": 1}),
                ([1], {**AGENT, "run_id": "r1", "limit": 1}),
                ([2, 3], {"namespace": "ns", "run_id": "r1", "start": {"commit_ts": 2}}),
            ):
                pages = await node.call("state", "Replay", **fields)
                assert seen(pages) == expected, fields
            pages = await node.call("state", "Replay", namespace="ns", prefix="y/")
            assert [operation.key for operation in pages[0].events[0].operations] == ["y/1"]

    run(scenario)


@pytest.mark.parametrize(
    "fields",
    [
        {"run_id": "r"},
        {"namespace": "ns", "run_id": "r", "caused_by": 1},
        {"namespace": "ns", "run_id": "r", "follow": True},
        {"caused_by": 1, "follow": True},
        {"prefix": "\n"},
        {"namespace": "ns", "start": {"label": "x"}},
        {"namespace": "ns", "start": {}},
    ],
)
def test_filters_that_make_no_sense_are_refused(tmp_path, fields):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            refused = await node.refused("state", "Replay", **fields)
            assert refused.code is grpc.StatusCode.INVALID_ARGUMENT

    run(scenario)


def test_a_follower_of_a_prefix_gets_what_is_committed_under_it(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            follow = node.stream("state", "Replay", namespace="ns", prefix="x/", follow=True)
            await follow.read()
            await with_runs(node)
            got = []
            while len(got) < 4:
                got += [event.commit_ts for event in (await follow.read()).events]
            assert got == [1, 2, 3, 4]
            follow.cancel()

    run(scenario)


def test_a_proof_lets_a_reader_recompute_the_chain_and_costs_others_nothing(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await filled(node)
            pages = await node.call("state", "Replay", with_proof=True)
            previous = bytes(32)
            events = [event for page in pages for event in page.events]
            for event in events:
                assert event.previous_hash == previous
                previous = hashlib.sha256(previous + event.body).digest()
                assert event.hash == previous
            pages = await node.call("state", "Replay", **AGENT)
            assert not any(event.body for page in pages for event in page.events)

    run(scenario)


def test_proofs_alone_tell_all_events_and_nothing_of_them(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await filled(node)
            await node.commit(label("a", "then", 2))
            whole = await node.call("state", "Replay", with_proof=True)
            bare = await node.call("state", "Replay", proof_only=True)
            links = [link for page in bare for link in page.events]
            assert [
                (one.commit_ts, one.hash, one.previous_hash, one.body)
                for page in whole
                for one in page.events
            ] == [(one.commit_ts, one.hash, one.previous_hash, one.body) for one in links]
            assert not any(one.txn_id or one.operations or one.committed_at_us for one in links)
            bounds = {"start": {"commit_ts": 2}, "end": {"commit_ts": 3}}
            pages = await node.call("state", "Replay", proof_only=True, **bounds)
            assert [link for page in pages for link in page.events] == links[1:3]
            first = await node.call("state", "Replay", proof_only=True, limit=1)
            assert [link for page in first for link in page.events] == links[:1]
            for narrowed in (AGENT, {"prefix": "a"}, {"caused_by": 1}, {"last": 1}):
                refused = await node.refused("state", "Replay", proof_only=True, **narrowed)
                assert refused.reason == "REASON_INVALID_ARGUMENT"
            refused = await node.refused("state", "Replay", proof_only=True, follow=True)
            assert "leave out" in refused.text

    run(scenario)


def test_a_range_may_be_bounded_by_labels(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await filled(node)
            await node.commit(label("a", "from", 2), label("a", "to", 3))
            bounds = {"start": {"label": "from"}, "end": {"label": "to"}}
            assert seen(await node.call("state", "Replay", **AGENT, **bounds)) == [3]
            refused = await node.refused("state", "Replay", **AGENT, start={"label": "nowhere"})
            assert refused.reason == "REASON_LABEL_NOT_FOUND"

    run(scenario)


def test_events_full_of_metadata_come_in_messages_that_fit(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            for _ in range(400):
                await node.commit(("a", "k", "1"), metadata={"reason": "r" * 16_000})
            pages = await node.call("state", "Replay", **AGENT)
            assert seen(pages) == list(range(1, 401))
            assert max(page.ByteSize() for page in pages) < 300_000

    run(scenario)


def test_a_wide_search_tells_how_far_it_is_and_lets_others_through(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_WINDOW_COMMITS", 4)
    monkeypatch.setattr(replay, "_MARK_INTERVAL_S", 0.0)

    async def scenario():
        async with serving(tmp_path) as node:
            for _ in range(10):
                await node.commit(("b", "k", "1"))
            await node.commit(("a", "k", "1"))
            pages = await node.call("state", "Replay", **AGENT, prefix="k")
            assert [page.served_at for page in pages] == [4, 8, 11]
            assert seen(pages) == [11]

    run(scenario)


def test_an_agents_events_share_a_message_however_far_apart_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_WINDOW_COMMITS", 4)

    async def scenario():
        async with serving(tmp_path) as node:
            for agent_id in "abbbbbbabbbbbba":
                await node.commit((agent_id, "k", "1"))
            pages = await node.call("state", "Replay", **AGENT)
            assert seen(pages) == [1, 8, 15]
            assert len(pages) == 1

    run(scenario)


def test_a_search_for_the_last_events_says_that_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_COUNT_ROWS_AT_ONCE", 1)
    monkeypatch.setattr(replay.chunks, "QUIET_S", 0.0)

    async def scenario():
        async with serving(tmp_path) as node:
            for number in range(5):
                await node.commit(("a", "k", str(number)))
            pages = await node.call("state", "Replay", **AGENT, last=3, start={"commit_ts": 2})
            assert [page.served_at for page in pages] == [1, 1, 5]
            assert seen(pages) == [3, 4, 5]

    run(scenario)


def test_a_slow_reader_is_waited_for_with_nothing_held(tmp_path, monkeypatch):
    held = set()
    make, close = StateStore.view, StateView.close

    def made(store):
        view = make(store)
        held.add(id(view))
        return view

    def closed(view):
        held.discard(id(view))
        close(view)

    monkeypatch.setattr(StateStore, "view", made)
    monkeypatch.setattr(StateView, "close", closed)

    async def scenario():
        async with serving(tmp_path) as node:
            follow = node.stream("state", "Replay", **AGENT, follow=True)
            await follow.read()
            # Much more than gRPC takes on for a reader that reads nothing.
            for _ in range(300):
                await node.commit(("a", "k", b"x" * 100_000))
            assert not held
            for _ in range(100):
                await node.commit(("b", "k", "1"))
            assert not held
            got = []
            while len(got) < 300:
                got += [event.commit_ts for event in (await follow.read()).events]
            assert got == list(range(1, 301))
            follow.cancel()

    run(scenario)
