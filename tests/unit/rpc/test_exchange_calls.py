"""One stream, many calls: each answered by itself, proposed and proven together, and bounded."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager

import grpc
import pytest
from statehouse_proto.v2 import common_pb2 as common

from statehouse.core import limits
from statehouse.rpc import exchange as exchange_module
from statehouse.rpc.exchange import Exchange
from tests.helpers.served_node import CLIENT, SERVICES, methods, operation, run, serving

EXCHANGE = methods(SERVICES["state"])["Exchange"]
KEY = {"namespace": "ns", "agent_id": "a", "key": "k"}


def get(call_id, **fields):
    return {"id": call_id, "get": {**KEY, **fields}}


def commit(call_id, text="1", sequence=None, key="k", **fields):
    """A commit under the op id of the same number."""
    op_id = {"client_id": CLIENT, "sequence": sequence or call_id}
    return {
        "id": call_id,
        "commit": {"op_id": op_id, "operations": [operation("a", key, text)], **fields},
    }


class Stream:
    """One exchange with a node."""

    def __init__(self, node):
        self.call = node.channel.stream_stream(EXCHANGE.path)()

    async def send(self, *calls):
        await self.call.write(EXCHANGE.request(calls=calls).SerializeToString())

    async def replies(self, count):
        """So many replies, by their id."""
        found = {}
        while len(found) < count:
            message = await self.call.read()
            assert message is not grpc.aio.EOF, f"the stream ended after {found}"
            found |= {reply.id: reply for reply in EXCHANGE.response.FromString(message).replies}
        assert len(found) == count
        return found

    async def ask(self, *calls):
        await self.send(*calls)
        return await self.replies(len(calls))

    async def end(self):
        """The code and details of the end, after whatever is still told."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await self.call.read() is not grpc.aio.EOF:
                pass
        code = await self.call.code()
        trailing = dict(await self.call.trailing_metadata() or ())
        told = trailing.get("statehouse-error-bin")
        return code, told and common.ErrorDetails.FromString(told)


@asynccontextmanager
async def exchanging(directory):
    """A node that leads, and a stream to it."""
    async with serving(directory) as node:
        yield node, Stream(node)


def reason(reply):
    return common.Reason.Name(reply.error.reason)


def test_commits_and_reads_of_one_message_are_answered_each_under_its_id(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (_, stream):
            told = await stream.ask(commit(1, "1", key="k"), commit(2, "2", key="j"))
            assert {told[1].commit.commit_ts, told[2].commit.commit_ts} == {1, 2}
            told = await stream.ask(
                get(7),
                get(8, key="j"),
                get(9, version=1),
                get(10, consistency="CONSISTENCY_STALE"),
                {"id": 11, "get_many": {"namespace": "ns", "agent_id": "a", "keys": ["j", "k"]}},
            )
            assert [told[n].get.record.value.json for n in (7, 8, 9, 10)] == [
                b"1",
                b"2",
                b"1",
                b"1",
            ]
            assert [record.value.json for record in told[11].get_many.records] == [b"2", b"1"]
            assert {told[7].get.served_at, told[11].get_many.served_at} == {2}

    run(scenario)


def test_the_reads_of_a_message_share_a_barrier_and_its_commits_one_waking(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            groups = []
            really = node.consensus.propose_all
            node.consensus.propose_all = lambda told: (groups.append(len(told)), really(told))
            await stream.ask(*[commit(n) for n in range(1, 21)])
            assert groups == [20]
            before = node.consensus.barriers
            await stream.ask(*[get(n) for n in range(1, 21)])
            assert node.consensus.barriers == before + 1
            await stream.ask(get(1, consistency="CONSISTENCY_STALE"))
            assert node.consensus.barriers == before + 1

    run(scenario)


def test_a_call_that_fails_fails_alone(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (_, stream):
            told = await stream.ask(
                commit(1),
                commit(2, preconditions=[{**KEY, "version": 9}]),
                commit(3, text='"' + "x" * limits.VALUE_BYTES_MAX + '"'),
                commit(4, key=""),
                get(5, version=1, at={"commit_ts": 1}),
                get(6, at={"commit_ts": 99}),
                get(7, consistency=7),
                {"id": 8},
                {"id": 9, "get_many": {"namespace": "ns", "agent_id": "a", "keys": ["k"] * 1025}},
                commit(10, key="j"),
                get(11),
            )
            assert told[1].commit.commit_ts == 1
            assert told[10].commit.commit_ts == 2
            assert told[11].HasField("get")
            found = {n: reason(told[n]).removeprefix("REASON_") for n in range(2, 10)}
            assert found == {
                2: "CONFLICT",
                3: "TOO_LARGE",
                4: "INVALID_ARGUMENT",
                5: "INVALID_ARGUMENT",
                6: "FUTURE_POINT",
                7: "INVALID_ARGUMENT",
                8: "INVALID_ARGUMENT",
                9: "TOO_LARGE",
            }
            assert told[2].error.conflicts[0].actual_version == 1
            assert told[3].error.limit.name == "value_bytes_max"
            assert told[2].code == grpc.StatusCode.ABORTED.value[0]

    run(scenario)


def test_a_repeated_op_id_gets_the_first_answer(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            node.consensus.lose_answers = 1
            told = await stream.ask(commit(1, sequence=5))
            assert reason(told[1]) == "REASON_OUTCOME_UNKNOWN"
            told = await stream.ask(commit(2, sequence=5), commit(3, "2", sequence=5))
            assert told[2].commit.commit_ts == 1
            assert reason(told[3]) == "REASON_OP_ID_REUSED"

    run(scenario)


def test_a_node_that_does_not_lead_tells_each_call_who_does(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            await stream.ask(commit(1))
            node.consensus.follow(node.consensus.other)
            told = await stream.ask(commit(2), get(3), get(4, consistency="CONSISTENCY_STALE"))
            for number in (2, 3):
                assert reason(told[number]) == "REASON_NOT_LEADER"
                assert told[number].error.leader.address == "127.0.0.1:22"
            assert told[4].get.record.version == 1

    run(scenario)


def test_a_fault_is_internal_and_tells_nothing_of_the_inside(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (node, stream):

            async def broken(**_):
                raise LookupError("secret inside")

            node.node.view = broken
            told = await stream.ask(get(1))
            assert reason(told[1]) == "REASON_INTERNAL"
            assert "secret" not in told[1].error.message

    run(scenario)


def test_a_full_queue_refuses_only_what_it_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "QUEUE_TRANSACTIONS_MAX", 2)

    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            node.consensus.hold = True
            await stream.send(*[commit(n) for n in range(1, 5)])
            told = await stream.replies(2)
            assert {reason(reply) for reply in told.values()} == {"REASON_OVERLOADED"}
            assert set(told) == {3, 4}
            node.consensus.let_go()
            assert set(await stream.replies(2)) == {1, 2}

    run(scenario)


def test_beyond_the_calls_under_way_a_stream_is_not_read_on(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "EXCHANGE_CALLS_MAX", 4)

    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            node.consensus.hold = True
            for number in range(1, 8):
                await stream.send(commit(number))
            while len(node.consensus.held) < 4:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            assert node.consensus.proposed == 4
            node.consensus.let_go()
            assert set(await stream.replies(7)) == set(range(1, 8))

    run(scenario)


def test_a_message_of_too_many_calls_ends_the_stream_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "EXCHANGE_CALLS_MAX", 4)

    async def scenario():
        async with exchanging(tmp_path) as (_, stream):
            await stream.send(*[get(n) for n in range(1, 6)])
            code, details = await stream.end()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert (details.limit.name, details.limit.actual) == ("exchange_calls_max", 5)

    run(scenario)


def test_garbage_ends_the_stream_after_what_came_before_is_answered(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            node.consensus.hold = True
            await stream.send(commit(1))
            await stream.call.write(b"\xff\xff\xff")
            while not node.consensus.held:
                await asyncio.sleep(0.001)
            node.consensus.let_go()
            assert (await stream.replies(1))[1].commit.commit_ts == 1
            code, details = await stream.end()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "Exchange" in details.message

    run(scenario)


def test_a_client_that_has_no_more_calls_still_gets_its_answers(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            node.consensus.hold = True
            await stream.send(commit(1))
            await stream.call.done_writing()
            while not node.consensus.held:
                await asyncio.sleep(0.001)
            node.consensus.let_go()
            assert (await stream.replies(1))[1].commit.commit_ts == 1
            assert await stream.end() == (grpc.StatusCode.OK, None)

    run(scenario)


def test_a_stopping_node_answers_what_it_took_and_ends_the_streams(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            idle = Stream(node)
            await idle.ask(get(1))
            node.consensus.hold = True
            await stream.send(commit(1))
            while not node.consensus.held:
                await asyncio.sleep(0.001)
            stopping = asyncio.create_task(node.server.stop(20))
            assert await idle.end() == (grpc.StatusCode.OK, None)
            node.consensus.let_go()
            assert (await stream.replies(1))[1].commit.commit_ts == 1
            assert await stream.end() == (grpc.StatusCode.OK, None)
            await asyncio.wait_for(stopping, 10)

    run(scenario)


def test_a_draining_node_refuses_new_calls_of_a_stream(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            await stream.ask(commit(1))
            await node.node.drain()
            told = await stream.ask(commit(2), get(3))
            assert {reason(reply) for reply in told.values()} == {"REASON_SHUTTING_DOWN"}

    run(scenario)


def test_a_client_that_leaves_takes_nothing_of_the_node_with_it(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            node.consensus.hold = True
            await stream.send(commit(1), get(2))
            while len(node.consensus.held) < 2:
                await asyncio.sleep(0.001)
            stream.call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stream.call.wait_for_connection()
            node.consensus.let_go()
            other = Stream(node)
            told = await other.ask(commit(1), commit(2, key="j"))
            assert (told[1].commit.commit_ts, told[2].commit.commit_ts) == (1, 2)

    run(scenario)


def test_replies_larger_than_one_message_come_in_several(tmp_path):
    async def scenario():
        async with exchanging(tmp_path) as (_, stream):
            text = '"' + "x" * 1_000_000 + '"'
            for number in (1, 2, 3):
                await stream.ask(commit(number, text, key=f"k{number}"))
            asked = {"namespace": "ns", "agent_id": "a", "keys": ["k1", "k2", "k3"]}
            told = await stream.ask(*[{"id": n, "get_many": asked} for n in range(1, 6)])
            for reply in told.values():
                assert [len(record.value.json) for record in reply.get_many.records] == [
                    len(text)
                ] * 3

    run(scenario)


def test_answers_to_commits_come_in_several_messages_when_they_tell_many_versions(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(exchange_module, "_VERSIONS_MAX", 4)

    async def scenario():
        async with exchanging(tmp_path) as (node, stream):
            node.consensus.hold = True
            keys = [operation("a", key, "1") for key in "xyz"]
            calls = [commit(n) for n in range(1, 8)]
            for call in calls:
                call["commit"]["operations"] = keys
            await stream.send(*calls, get(8))
            while len(node.consensus.held) < 8:
                await asyncio.sleep(0)
            node.consensus.let_go()
            told = await stream.replies(8)
            assert [told[n].commit.versions for n in range(1, 8)] == [[n] * 3 for n in range(1, 8)]

    run(scenario)


def test_a_client_that_takes_its_replies_slowly_gets_them_all(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange_module, "_WRITE_TIME_S_MAX", 1.0)

    class Slow:
        """A context that takes no message at once; all of them take longer than one may."""

        written = 0

        async def write(self, _):
            await asyncio.sleep(0.3)
            self.written += 1

    async def one_at_a_time(context):
        for number in range(1, 6):
            yield EXCHANGE.request(calls=[get(number)]).SerializeToString()
            while context.written < number:
                await asyncio.sleep(0.01)

    async def scenario():
        async with serving(tmp_path) as node:
            context = Slow()
            await Exchange(node.node, lambda: 0)._serve(one_at_a_time(context), context)
            assert context.written == 5

    run(scenario)


def test_a_client_that_takes_no_replies_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange_module, "_WRITE_TIME_S_MAX", 0.1)

    class Deaf:
        """A context whose writes never end."""

        refused = None

        async def write(self, _):
            await asyncio.sleep(60)

        async def abort(self, code, text, trailing):
            self.refused = code
            raise grpc.aio.AbortError

    async def one_message():
        yield EXCHANGE.request(calls=[get(1)]).SerializeToString()
        await asyncio.sleep(60)

    async def scenario():
        async with serving(tmp_path) as node:
            context = Deaf()
            with pytest.raises(grpc.aio.AbortError):
                await Exchange(node.node, lambda: 0)._serve(one_message(), context)
            assert context.refused is grpc.StatusCode.DEADLINE_EXCEEDED

    run(scenario)
