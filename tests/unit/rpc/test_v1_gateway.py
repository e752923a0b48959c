from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf import struct_pb2

from statehouse.core import limits
from statehouse.rpc import leader_route
from statehouse.rpc.v1_values import NESTING_MAX
from tests.helpers.served_node import Refusal, fork, label, run, serving

Code = grpc.StatusCode
KEY = {"namespace": "ns", "agent_id": "a", "key": "k"}
AGENT = {"namespace": "ns", "agent_id": "a"}


async def begun(node, **fields):
    return (await node.call("v1", "BeginTransaction", **fields)).txn_id


async def write(node, txn_id, key, value, **names):
    names = {"namespace": "ns", "agent_id": "a", **names}
    return await node.call("v1", "Write", txn_id=txn_id, key=key, value=value, **names)


async def committed(node, **values):
    txn_id = await begun(node)
    for key, value in values.items():
        await write(node, txn_id, key, value)
    return (await node.call("v1", "Commit", txn_id=txn_id)).commit_ts


def test_a_transaction_is_invisible_until_it_commits_and_then_whole(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            txn_id = await begun(node)
            await write(node, txn_id, "k", {"n": 1, "deep": [{"x": [None, True]}]})
            await write(node, txn_id, "j", {})
            await node.call("v1", "Delete", txn_id=txn_id, namespace="ns", agent_id="a", key="z")
            assert not (await node.call("v1", "GetState", **KEY)).exists
            commit_ts = (await node.call("v1", "Commit", txn_id=txn_id)).commit_ts
            assert commit_ts == 1
            got = await node.call("v1", "GetState", **KEY)
            assert (got.version, got.commit_ts, got.exists) == (1, 1, True)
            assert got.value["deep"][0]["x"][1] is True
            keys = await node.call("v1", "ListKeys", **AGENT)
            assert list(keys.keys) == ["j", "k"]
            gone = await node.call("v1", "GetState", **{**KEY, "key": "z"})
            assert (gone.exists, gone.version, gone.commit_ts) == (False, 1, 1)
            assert not gone.HasField("value")

    run(scenario)


def test_whole_numbers_are_integers_to_the_native_protocol(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await committed(node, k={"n": 3, "half": 0.5})
            got = await node.call("state", "Get", **KEY)
            assert got.record.value.json == b'{"half":0.5,"n":3}'

    run(scenario)


def test_versions_are_read_back_and_unknown_ones_are_no_errors(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await committed(node, k={"n": 1})
            await committed(node, k={"n": 2})
            for version, number in ((1, 1), (2, 2)):
                got = await node.call("v1", "GetStateAtVersion", **KEY, version=version)
                assert got.value["n"] == number
            for version in (0, 3, 2**64 - 1):
                got = await node.call("v1", "GetStateAtVersion", **KEY, version=version)
                assert (got.exists, got.version, got.commit_ts) == (False, 0, 0)

    run(scenario)


def test_scans_and_replays_tell_only_what_is_asked(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            txn_id = await begun(node)
            await write(node, txn_id, "p/1", {"n": 1})
            await write(node, txn_id, "p/2", {"n": 2}, agent_id="b")
            await node.call("v1", "Delete", txn_id=txn_id, namespace="ns", agent_id="a", key="p/0")
            await node.call("v1", "Commit", txn_id=txn_id)
            await committed(node, q={"n": 3})
            scan = await node.call("v1", "ScanPrefix", **AGENT, prefix="p/")
            assert [(entry.key, entry.value["n"]) for entry in scan.entries] == [("p/1", 1)]
            events = await node.call("v1", "Replay", **AGENT)
            assert [event.commit_ts for event in events] == [1, 2]
            assert events[0].txn_id == txn_id
            assert [(o.key, o.HasField("value"), o.version) for o in events[0].operations] == [
                ("p/1", True, 1),
                ("p/0", False, 1),
            ]
            for bounds, wanted in (
                ({"start_ts": 2}, [2]),
                ({"end_ts": 1}, [1]),
                ({"start_ts": 0, "end_ts": 10**12}, [1, 2]),
                ({"start_ts": 7}, []),
                ({"end_ts": 0}, []),
            ):
                events = await node.call("v1", "Replay", **AGENT, **bounds)
                assert [event.commit_ts for event in events] == wanted
            assert await node.call("v1", "Replay", namespace="ns", agent_id="nobody") == []

    run(scenario)


def test_v1_is_told_of_no_marks_but_reads_a_fork_as_any_agent(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "{}"))
            await node.commit(("a", "j", "{}"), label("a", "x", 1))
            await node.commit(label("a", "y", 1))
            await node.commit(fork("b", "a", 2))
            for agent_id in ("a", "b"):
                events = await node.call("v1", "Replay", namespace="ns", agent_id=agent_id)
                told = [(event.commit_ts, [o.key for o in event.operations]) for event in events]
                assert told == [(1, ["k"]), (2, ["j"])]
            assert (await node.call("v1", "GetState", **{**KEY, "agent_id": "b"})).exists

    run(scenario)


def test_an_empty_namespace_is_the_default_one(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            txn_id = await begun(node)
            await write(node, txn_id, "k", {"n": 1}, namespace="")
            await node.call("v1", "Commit", txn_id=txn_id)
            got = await node.call("v1", "GetState", namespace="default", agent_id="a", key="k")
            assert got.exists
            assert (await node.call("v1", "GetState", agent_id="a", key="k")).exists

    run(scenario)


def test_an_empty_transaction_commits(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            assert await committed(node) == 1
            assert await committed(node, k={}) == 2

    run(scenario)


def test_a_second_commit_gets_the_first_answer_and_a_write_after_it_is_refused(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            txn_id = await begun(node)
            await write(node, txn_id, "k", {"n": 1})
            for _ in range(2):
                assert (await node.call("v1", "Commit", txn_id=txn_id)).commit_ts == 1
            with pytest.raises(Refusal) as refused:
                await write(node, txn_id, "k", {"n": 2})
            assert refused.value.code is Code.FAILED_PRECONDITION
            assert refused.value.text.startswith("Write failed: Transaction not found")
            await node.call("v1", "Abort", txn_id=txn_id)
            assert (await node.call("v1", "GetState", **KEY)).version == 1

    run(scenario)


def test_unknown_aborted_and_expired_transactions_are_told_apart(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            refused = await node.refused("v1", "Commit", txn_id="nobody")
            assert (refused.code, "not found" in refused.text) == (Code.NOT_FOUND, True)
            aborted = await begun(node)
            for _ in range(2):
                await node.call("v1", "Abort", txn_id=aborted)
            refused = await node.refused("v1", "Commit", txn_id=aborted)
            assert refused.code is Code.NOT_FOUND
            expired = await begun(node, timeout_ms=0)
            refused = await node.refused("v1", "Commit", txn_id=expired)
            assert (refused.code, "expired" in refused.text) == (Code.DEADLINE_EXCEEDED, True)

    run(scenario)


def test_concurrent_commits_of_one_transaction_make_one(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            txn_id = await begun(node)
            await write(node, txn_id, "k", {"n": 1})
            answers = await asyncio.gather(
                *[node.call("v1", "Commit", txn_id=txn_id) for _ in range(8)]
            )
            assert {answer.commit_ts for answer in answers} == {1}
            assert (await node.call("v1", "GetState", **KEY)).version == 1

    run(scenario)


def test_a_lost_answer_is_asked_for_again_and_nothing_is_doubled(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            node.consensus.lose_answers = 3
            assert await committed(node, k={"n": 1}) == 1
            assert await committed(node, k={"n": 2}) == 2
            assert (await node.call("v1", "GetState", **KEY)).version == 2

    run(scenario)


def test_when_patience_ends_the_outcome_is_unknown_and_committing_again_tells(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(leader_route, "_PATIENCE_S", 0.05)

    async def scenario():
        async with serving(tmp_path) as node:
            txn_id = await begun(node)
            await write(node, txn_id, "k", {"n": 1})
            node.consensus.lose_answers = 10**6
            refused = await node.refused("v1", "Commit", txn_id=txn_id)
            assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "REASON_OUTCOME_UNKNOWN")
            refused = await node.refused("v1", "Abort", txn_id=txn_id)
            assert refused.reason == "REASON_TRANSACTION_FINISHED"
            node.consensus.lose_answers = 0
            assert (await node.call("v1", "Commit", txn_id=txn_id)).commit_ts == 1
            assert (await node.call("v1", "GetState", **KEY)).version == 1

    run(scenario)


def test_a_commit_waits_for_a_leader_to_come_back(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            txn_id = await begun(node)
            await write(node, txn_id, "k", {"n": 1})
            node.consensus.follow(None)
            commit = asyncio.create_task(node.call("v1", "Commit", txn_id=txn_id))
            read = asyncio.create_task(node.call("v1", "ListKeys", **AGENT))
            await asyncio.sleep(0.1)
            assert not commit.done()
            node.consensus.lead()
            assert (await commit).commit_ts == 1
            await read

    run(scenario)


def test_without_a_leader_the_refusal_is_definite_and_the_transaction_stays_open(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(leader_route, "_PATIENCE_S", 0.05)

    async def scenario():
        async with serving(tmp_path) as node:
            txn_id = await begun(node)
            await write(node, txn_id, "k", {"n": 1})
            node.consensus.follow(None)
            for name, fields in (
                ("Commit", {"txn_id": txn_id}),
                ("GetState", KEY),
                ("ListKeys", AGENT),
                ("ScanPrefix", AGENT),
                ("Replay", AGENT),
            ):
                refused = await node.refused("v1", name, **fields)
                assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "REASON_NO_LEADER")
            node.consensus.lead()
            assert (await node.call("v1", "Commit", txn_id=txn_id)).commit_ts == 1

    run(scenario)


def test_an_identity_the_cluster_let_go_is_replaced(tmp_path, monkeypatch):
    async def scenario():
        async with serving(tmp_path) as node:
            assert await committed(node, k={"n": 1}) == 1
            # An hour later, as the store tells time: the session and its receipts are gone.
            store = node.consensus.machine._machine
            real, hour = store._now_us, limits.RECEIPT_WINDOW_US
            store._now_us = lambda: real() + hour + 10**6
            for _ in range(3):
                await node.commit(("b", "x", "1"))
            assert await committed(node, k={"n": 2}) == 5
            assert (await node.call("v1", "GetState", **KEY)).version == 2

    run(scenario)


@pytest.mark.parametrize(
    "value", ['"text"', "[1]", "null", "7", b"raw", '{"n":9007199254740993}', "deep"]
)
def test_a_value_that_v1_cannot_carry_is_an_error_that_names_the_key(tmp_path, value):
    if value == "deep":
        value = '{"a":' * (NESTING_MAX + 1) + "1" + "}" * (NESTING_MAX + 1)

    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", value))
            for name, fields in (("GetState", KEY), ("ScanPrefix", AGENT), ("Replay", AGENT)):
                refused = await node.refused("v1", name, **fields)
                assert refused.code is Code.INVALID_ARGUMENT
                assert '"k"' in refused.text
                assert "statehouse.v2" in refused.text
            assert list((await node.call("v1", "ListKeys", **AGENT)).keys) == ["k"]

    run(scenario)


def test_what_exceeds_one_message_is_refused_with_the_limit(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            text = '{"s":"' + "x" * 900_000 + '"}'
            for number in range(5):
                await node.commit(("a", f"k{number}", text))
            refused = await node.refused("v1", "ScanPrefix", **AGENT)
            assert refused.details.limit.name == "message_bytes_max"
            one = await node.call("v1", "ScanPrefix", **AGENT, prefix="k1")
            assert len(one.entries) == 1

    run(scenario)


def struct_of_number(number):
    made = struct_pb2.Struct()
    made.fields["x"].number_value = number
    return made


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", {}),
        ("k\n", {}),
        ("k" * 1025, {}),
        ("k", {"s": "x" * limits.VALUE_BYTES_MAX}),
        ("k", struct_of_number(float("nan"))),
        ("k", struct_of_number(float("inf"))),
    ],
)
def test_a_write_that_cannot_be_stored_is_refused_at_once_and_the_rest_stays(tmp_path, key, value):
    async def scenario():
        async with serving(tmp_path) as node:
            txn_id = await begun(node)
            await write(node, txn_id, "good", {"n": 1})
            with pytest.raises(Refusal) as refused:
                await write(node, txn_id, key, value)
            assert refused.value.code is Code.INVALID_ARGUMENT
            assert (await node.call("v1", "Commit", txn_id=txn_id)).commit_ts == 1
            assert list((await node.call("v1", "ListKeys", **AGENT)).keys) == ["good"]

    run(scenario)


def sized(payload):
    length, head = len(payload), b""
    while length > 127:
        head, length = head + bytes([length & 127 | 128]), length >> 7
    return head + bytes([length]) + payload


def struct_bytes(levels):
    """A Struct of one field "a" that holds such a Struct, and so on: protobuf's own refuses it."""
    if levels == 0:
        return b""
    value = b"\x2a" + sized(struct_bytes(levels - 1))
    return b"\x0a" + sized(b"\x0a\x01a\x12" + sized(value))


def test_a_struct_nested_too_deep_to_parse_is_garbage_not_a_crash(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            with pytest.raises(Refusal) as refused:
                await node.send("v1", "Write", b"\x2a" + sized(struct_bytes(200)))
            assert refused.value.code is Code.INVALID_ARGUMENT

    run(scenario)


def test_health_and_version_are_told(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            assert (await node.call("v1", "Health")).status == "ok"
            told = await node.call("v1", "Version")
            assert (told.version, told.git_sha) == ("1.2.3", "abc")
            node.consensus.follow(None)
            refused = await node.refused("v1", "Health")
            assert refused.code is Code.UNAVAILABLE

    run(scenario)


async def taken(node, txn_id):
    try:
        await write(node, txn_id, "k", {"x": "y" * 50})
    except Refusal as refused:
        if refused.code is not Code.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


def test_the_sweep_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("statehouse.rpc.server.SWEEP_INTERVAL_S", 0.01)
    monkeypatch.setattr(limits, "STAGED_BYTES_MAX", 200)

    async def scenario():
        async with serving(tmp_path) as node:
            left = await begun(node, timeout_ms=1000)
            await write(node, left, "k", {"x": "y" * 50})
            fits = await begun(node)
            async with asyncio.timeout(10):
                while not await taken(node, fits):
                    await asyncio.sleep(0.01)

    run(scenario)
