from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from statehouse_proto.services import methods

from statehouse.core import limits
from tests.helpers.served_node import CLIENT, SERVICES, Refusal, end_of, operation, run, serving

KEY = {"namespace": "ns", "agent_id": "a", "key": "k"}
AGENT = {"namespace": "ns", "agent_id": "a"}
Code = grpc.StatusCode


def test_what_was_committed_is_read_with_its_version_and_time(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            answer = await node.commit(("a", "k", '{"x":1}'), ("a", "k", "[2]"), ("a", "j", b"\0"))
            assert (answer.commit_ts, list(answer.versions)) == (1, [1, 2, 1])
            got = await node.call("state", "Get", **KEY)
            record = got.record
            assert (record.value.json, record.version, record.exists) == (b"[2]", 2, True)
            assert record.committed_at_us == answer.committed_at_us > 0
            assert got.served_at == 1
            raw = await node.call("state", "Get", **{**KEY, "key": "j"})
            assert raw.record.value.raw == b"\0"

    run(scenario)


def test_a_key_never_written_and_a_tombstone_are_no_errors(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            await node.commit(("a", "k", None))
            gone = (await node.call("state", "Get", **KEY)).record
            assert (gone.exists, gone.version, gone.commit_ts) == (False, 2, 2)
            assert not gone.HasField("value")
            never = (await node.call("state", "Get", **{**KEY, "key": "x"})).record
            assert (never.exists, never.version, never.key) == (False, 0, "x")

    run(scenario)


def test_the_past_is_read_by_commit_ts_by_time_and_by_version(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            first = await node.commit(("a", "k", "1"))
            await asyncio.sleep(0.002)
            await node.commit(("a", "k", "2"))
            for fields in (
                {"at": {"commit_ts": 1}},
                {"at": {"time_us": first.committed_at_us}},
                {"version": 1},
            ):
                got = await node.call("state", "Get", **KEY, **fields)
                assert got.record.value.json == b"1"
            before = await node.call("state", "Get", **KEY, at={"commit_ts": 0})
            assert (before.record.version, before.served_at) == (0, 0)
            none = await node.call("state", "Get", **KEY, version=3)
            assert none.record.version == 0

    run(scenario)


def test_the_future_is_an_error(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            for at in ({"commit_ts": 2}, {"commit_ts": 2**64 - 1}, {"time_us": 10**16}):
                for name, fields in (("Get", KEY), ("Scan", AGENT), ("ListKeys", AGENT)):
                    refused = await node.refused("state", name, **fields, at=at)
                    assert (refused.code, refused.reason) == (
                        Code.OUT_OF_RANGE,
                        "REASON_FUTURE_POINT",
                    )

    run(scenario)


def test_many_keys_are_read_from_one_point_in_the_order_asked(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "x", "1"), ("a", "y", "2"))
            got = await node.call("state", "GetMany", **AGENT, keys=["y", "none", "x", "y"])
            assert [record.key for record in got.records] == ["y", "none", "x", "y"]
            assert [record.exists for record in got.records] == [True, False, True, True]
            empty = await node.call("state", "GetMany", **AGENT)
            assert (len(empty.records), empty.served_at) == (0, 1)

    run(scenario)


def test_reads_of_many_keys_are_bounded_in_number_and_bytes(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            keys = ["k"] * (limits.GET_MANY_KEYS_MAX + 1)
            refused = await node.refused("state", "GetMany", **AGENT, keys=keys)
            assert refused.details.limit.name == "get_many_keys_max"
            await node.commit(("a", "k", b"x" * limits.VALUE_BYTES_MAX))
            refused = await node.refused("state", "GetMany", **AGENT, keys=["k"] * 5)
            assert refused.details.limit.name == "message_bytes_max"
            assert refused.code is Code.INVALID_ARGUMENT

    run(scenario)


def test_lists_and_scans_are_in_bytewise_order_live_only_and_in_bounded_messages(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            names = [f"k{number:04}" for number in range(1200)]
            for start in range(0, len(names), 400):
                await node.commit(*[("a", name, "1") for name in names[start : start + 400]])
            await node.commit(("a", "k0000", None), ("a", "other", "2"), ("b", "k0001", "3"))
            pages = await node.call("state", "ListKeys", **AGENT, prefix="k")
            assert [key for page in pages for key in page.keys] == names[1:]
            assert len(pages) == 3
            assert {page.served_at for page in pages} == {4}
            pages = await node.call("state", "Scan", **AGENT)
            assert [record.key for page in pages for record in page.records] == [
                *names[1:],
                "other",
            ]
            pages = await node.call("state", "Scan", **AGENT, at={"commit_ts": 1})
            assert sum(len(page.records) for page in pages) == 400
            assert {page.served_at for page in pages} == {1}

    run(scenario)


def test_an_empty_answer_still_tells_what_point_it_speaks_for(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            for name, fields in (
                ("ListKeys", AGENT),
                ("Scan", AGENT),
                ("ListAgents", {"namespace": "ns"}),
                ("ListNamespaces", {}),
                ("Replay", {}),
            ):
                (page,) = await node.call("state", name, **fields)
                assert page.served_at == 0
            await node.commit(("a", "k", "1"))
            (page,) = await node.call("state", "Scan", **{**AGENT, "agent_id": "nobody"})
            assert page.served_at == 1

    run(scenario)


def test_agents_and_namespaces_are_listed(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("b", "k", "1"), ("a", "k", "1"))
            await node.call(
                "state",
                "Commit",
                op_id={"client_id": CLIENT, "sequence": 50},
                operations=[operation("c", "k", "1", namespace="other")],
            )
            (page,) = await node.call("state", "ListAgents", namespace="ns")
            assert [(agent.agent_id, agent.first_commit_ts) for agent in page.agents] == [
                ("a", 1),
                ("b", 1),
            ]
            (page,) = await node.call("state", "ListNamespaces")
            assert list(page.namespaces) == ["ns", "other"]

    run(scenario)


def test_a_repeated_op_id_gets_the_first_answer_and_other_content_is_refused(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            first = await node.commit(("a", "k", "1"), sequence=1)
            again = await node.commit(("a", "k", "1"), sequence=1)
            assert again == first
            with pytest.raises(Refusal) as refused:
                await node.commit(("a", "k", "2"), sequence=1)
            assert refused.value.reason == "REASON_OP_ID_REUSED"
            assert (await node.call("state", "Get", **KEY)).record.version == 1

    run(scenario)


def test_a_precondition_that_fails_names_the_key_and_what_was_found(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            wanted = [{**KEY, "version": 7}, {**KEY, "absent": True}, {**KEY, "unchanged_since": 1}]
            with pytest.raises(Refusal) as refused:
                await node.commit(("a", "k", "2"), preconditions=wanted)
            assert refused.value.code is Code.ABORTED
            conflicts = refused.value.details.conflicts
            assert [conflict.WhichOneof("expected") for conflict in conflicts] == [
                "version",
                "absent",
            ]
            assert (conflicts[0].version, conflicts[0].actual_version) == (7, 1)
            answer = await node.commit(("a", "k", "2"), preconditions=[{**KEY, "version": 1}])
            assert answer.commit_ts == 2

    run(scenario)


@pytest.mark.parametrize(
    "fields",
    [
        {"op_id": {"client_id": b"short", "sequence": 1}},
        {"op_id": {"client_id": CLIENT, "sequence": 0}},
        {"op_id": {"client_id": CLIENT, "sequence": 2**64 - 1}},
        {"op_id": {"client_id": CLIENT, "sequence": 2, "acknowledged_through": 9}},
        {},
        {"operations": [operation("", "k", "1")]},
        {"operations": [operation("a", "", "1")]},
        {"operations": [operation("a", "k", "1", namespace="")]},
        {"operations": [operation("a", "k\n", "1")]},
        {"operations": [operation("a", "k" * 1025, "1")]},
        {"operations": [operation("a", "k", "{nope")]},
        {"operations": [operation("a", "k", "NaN")]},
        {"operations": [operation("a", "k", "[" * 600 + "]" * 600)]},
        {"operations": [operation("a", "k", b"x" * (limits.VALUE_BYTES_MAX + 1))]},
        {"operations": [{"namespace": "n", "agent_id": "a", "key": "k", "value": {}}]},
        {"operations": [operation("a", "k", "1")] * 1025},
        {"preconditions": [KEY]},
        {"preconditions": [{**KEY, "absent": False}]},
        {"preconditions": [{**KEY, "version": 2**64 - 1}]},
        {"metadata": {"actor": "x" * 20000}},
        {"metadata": {"caused_by": [0]}},
        {"metadata": {"caused_by": range(1, 100)}},
        {"txn_id": "x" * 2000},
    ],
)
def test_a_commit_that_may_not_enter_the_log_is_refused_and_stores_nothing(tmp_path, fields):
    async def scenario():
        async with serving(tmp_path) as node:
            given = {"op_id": {"client_id": CLIENT, "sequence": 2}, **fields}
            if fields == {}:
                del given["op_id"]
            refused = await node.refused("state", "Commit", **given)
            assert refused.code is Code.INVALID_ARGUMENT
            assert refused.text
            (page,) = await node.call("state", "Replay")
            assert (len(page.events), page.served_at) == (0, 0)

    run(scenario)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Get", {}),
        ("Get", {**KEY, "key": ""}),
        ("Get", {**KEY, "consistency": 9}),
        ("Get", {**KEY, "version": 1, "at": {"commit_ts": 1}}),
        ("Get", {**KEY, "at": {"time_us": -1}}),
        ("GetMany", {**AGENT, "keys": [""]}),
        ("ListKeys", {"namespace": "ns"}),
        ("ListKeys", {**AGENT, "prefix": "x" * 1025}),
        ("Scan", {"agent_id": "a"}),
        ("ListAgents", {}),
        ("Replay", {"agent_id": "a"}),
        ("Replay", {"namespace": "\x01"}),
        ("Replay", {"follow": True, "limit": 1}),
        ("Replay", {"follow": True, "end": {"commit_ts": 1}}),
        ("Replay", {"last": 1, "limit": 1}),
        ("Replay", {"start": {"time_us": -5}}),
    ],
)
def test_a_read_that_makes_no_sense_is_refused_in_words(tmp_path, name, fields):
    async def scenario():
        async with serving(tmp_path) as node:
            refused = await node.refused("state", name, **fields)
            assert refused.code is Code.INVALID_ARGUMENT
            assert refused.reason in ("REASON_INVALID_ARGUMENT", "REASON_TOO_LARGE")

    run(scenario)


def test_garbage_is_an_invalid_argument_at_every_method_of_every_service(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            for service, full_name in SERVICES.items():
                for name in methods(full_name):
                    with pytest.raises(Refusal) as refused:
                        await node.send(service, name, b"\xff\xfe\xfd garbage")
                    assert refused.value.code is Code.INVALID_ARGUMENT, name

    run(scenario)


def test_a_message_above_the_limit_is_refused_by_code(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            with pytest.raises(Refusal) as refused:
                await node.send("state", "Commit", b"x" * (limits.MESSAGE_BYTES_MAX + 1))
            assert refused.value.code is Code.RESOURCE_EXHAUSTED

    run(scenario)


def test_a_node_that_does_not_lead_names_the_leader(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            node.consensus.follow(node.consensus.other)
            await asyncio.sleep(0)
            with pytest.raises(Refusal) as refused:
                await node.commit(("a", "k", "2"))
            assert refused.value.code is Code.FAILED_PRECONDITION
            assert refused.value.details.leader.address == "127.0.0.1:22"
            linear = await node.refused("state", "Get", **KEY)
            assert linear.reason == "REASON_NOT_LEADER"
            stale = await node.call("state", "Get", **KEY, consistency="CONSISTENCY_STALE")
            assert (stale.record.value.json, stale.served_at) == (b"1", 1)
            node.consensus.follow(None)
            with pytest.raises(Refusal) as refused:
                await node.commit(("a", "k", "2"))
            assert (refused.value.code, refused.value.reason) == (
                Code.UNAVAILABLE,
                "REASON_NO_LEADER",
            )

    run(scenario)


def test_a_lost_answer_is_an_unknown_outcome_and_the_same_op_id_tells(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            node.consensus.lose_answers = 1
            with pytest.raises(Refusal) as refused:
                await node.commit(("a", "k", "1"), sequence=1)
            assert (refused.value.code, refused.value.reason) == (
                Code.UNAVAILABLE,
                "REASON_OUTCOME_UNKNOWN",
            )
            assert (await node.commit(("a", "k", "1"), sequence=1)).commit_ts == 1

    run(scenario)


def test_writes_are_refused_on_a_full_disk_while_reads_go_on(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            node.disk.room = False
            with pytest.raises(Refusal) as refused:
                await node.commit(("a", "k", "2"))
            assert (refused.value.code, refused.value.reason) == (
                Code.RESOURCE_EXHAUSTED,
                "REASON_STORAGE_FULL",
            )
            assert (await node.call("state", "Get", **KEY)).record.version == 1
            node.disk.room = True
            await node.commit(("a", "k", "2"))

    run(scenario)


def test_a_full_queue_refuses_and_empties_even_when_callers_gave_up(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "QUEUE_TRANSACTIONS_MAX", 2)

    async def scenario():
        async with serving(tmp_path) as node:
            node.consensus.hold = True
            waiting = [asyncio.create_task(node.commit(("a", "k", "1"))) for _ in range(2)]
            while len(node.consensus.held) < 2:
                await asyncio.sleep(0.001)
            with pytest.raises(Refusal) as refused:
                await node.commit(("a", "k", "2"))
            assert (refused.value.code, refused.value.reason) == (
                Code.RESOURCE_EXHAUSTED,
                "REASON_OVERLOADED",
            )
            waiting[0].cancel()
            await asyncio.wait(waiting[:1])
            node.consensus.let_go()
            assert (await waiting[1]).commit_ts in (1, 2)
            assert (await node.commit(("a", "k", "3"))).commit_ts == 3

    run(scenario)


def test_a_deadline_without_an_answer_is_the_callers_and_the_node_goes_on(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            node.consensus.hold = True
            with pytest.raises(Refusal) as refused:
                await node.call(
                    "state",
                    "Commit",
                    timeout=0.2,
                    op_id={"client_id": CLIENT, "sequence": 1},
                    operations=[operation("a", "k", "1")],
                )
            assert refused.value.code in (Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE)
            node.consensus.let_go()
            assert (await node.commit(("a", "k", "1"), sequence=1)).commit_ts == 1

    run(scenario)


def test_a_fault_is_internal_and_tells_nothing_of_the_inside(tmp_path, caplog):
    async def scenario():
        async with serving(tmp_path) as node:

            def broken():
                raise LookupError("secret inside")

            node.node.leads()
            node.node._told = broken
            refused = await node.refused("state", "Get", **KEY)
            assert (refused.code, refused.reason) == (Code.INTERNAL, "REASON_INTERNAL")
            assert "secret" not in refused.text
            assert "fault_id=" in refused.text

    run(scenario)


def test_a_draining_node_refuses_what_is_new_and_ends_what_follows(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            follow = node.stream("state", "Replay", follow=True)
            await follow.read()
            await node.node.drain()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await end_of(follow)
            assert ended.value.code() is Code.UNAVAILABLE
            with pytest.raises(Refusal) as refused:
                await node.commit(("a", "k", "1"))
            assert refused.value.reason == "REASON_SHUTTING_DOWN"

    run(scenario)


def test_concurrent_reads_share_barriers_and_none_goes_without(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            await asyncio.gather(*[node.call("state", "Get", **KEY) for _ in range(50)])
            assert 1 <= node.consensus.barriers <= 50
            before = node.consensus.barriers
            await node.call("state", "Get", **KEY)
            assert node.consensus.barriers == before + 1
            await node.call("state", "Get", **KEY, consistency="CONSISTENCY_STALE")
            assert node.consensus.barriers == before + 1

    run(scenario)


def test_json_is_stored_byte_for_byte(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            text = '{ "b" : 9007199254740993, "a":[1.0,1e3,"\\u00e9é"] ,"b":2}'
            await node.commit(("a", "k", text))
            got = await node.call("state", "Get", **KEY)
            assert got.record.value.json == text.encode()
            assert json.loads(got.record.value.json)["a"][0] == 1.0

    run(scenario)
