"""Labels, forks and cursors as clients set and see them: as marks, never by what records them."""

from __future__ import annotations

import grpc
import pytest

from tests.helpers.served_node import Refusal, cursor, fork, label, operation, run, serving

KEY = {"namespace": "ns", "agent_id": "a", "key": "k"}
Code = grpc.StatusCode


async def refusal(node, *operations, **fields):
    with pytest.raises(Refusal) as refused:
        await node.commit(*operations, **fields)
    return refused.value


def marks(pages):
    return [
        (operation.agent_id, operation.key, operation.version, operation.mark)
        for page in pages
        for event in page.events
        for operation in event.operations
        if operation.HasField("mark")
    ]


def test_marks_come_back_in_events_as_marks_without_a_key(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            answer = await node.commit(label("a", "before", 1), label("a", "other", 1))
            assert list(answer.versions) == [1, 1]
            await node.commit(label("a", "before", 0))
            await node.commit(fork("b", "a", 1))
            await node.commit(cursor("mine", 2, agent_id="a", prefix="k"))
            await node.commit(cursor("mine", deleted=True))
            told = marks(await node.call("state", "Replay"))
            assert [(agent, key, version) for agent, key, version, _ in told] == [
                ("a", "", 1),
                ("a", "", 1),
                ("a", "", 2),
                ("b", "", 1),
                ("", "", 1),
                ("", "", 2),
            ]
            first, _, gone, forked, at, ended = [mark for *_, mark in told]
            assert (first.label.name, first.label.commit_ts) == ("before", 1)
            assert (gone.label.name, gone.label.commit_ts) == ("before", 0)
            assert (forked.fork.parent_id, forked.fork.commit_ts) == ("a", 1)
            assert (at.cursor.through, at.cursor.agent_id, at.cursor.prefix) == (2, "a", "k")
            assert ended.cursor.deleted
            assert ended.cursor.name == "mine"

    run(scenario)


def test_marks_are_no_keys_of_an_agent_and_cursors_no_agent(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            await node.commit(cursor("mine", 1), label("a", "x", 1))
            (page,) = await node.call("state", "ListKeys", namespace="ns", agent_id="a")
            assert list(page.keys) == ["k"]
            (page,) = await node.call("state", "ListAgents", namespace="ns")
            assert [agent.agent_id for agent in page.agents] == ["a"]

    run(scenario)


def test_the_version_a_mark_must_have_is_checked_and_a_conflict_speaks_in_words(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            await node.commit(cursor("mine", 1, if_version=0))
            refused = await refusal(node, cursor("mine", 1, if_version=0))
            assert refused.code is Code.ABORTED
            (conflict,) = refused.details.conflicts
            assert (conflict.agent_id, conflict.key) == ("", "cursor mine")
            assert (conflict.version, conflict.actual_version) == (0, 1)
            assert "\0" not in refused.text
            assert "\\x00" not in refused.text
            wanted = {"if_version": 7, "if_version_given": True}
            refused = await refusal(node, label("a", "x", 1, **wanted))
            (conflict,) = refused.details.conflicts
            assert (conflict.agent_id, conflict.key) == ("a", "label x")
            await node.commit(cursor("mine", 2, if_version=1))

    run(scenario)


@pytest.mark.parametrize(
    ("told", "reason", "code"),
    [
        (label("a", "x", 9), "REASON_FUTURE_POINT", Code.OUT_OF_RANGE),
        (label("a", "x", 0), "REASON_LABEL_NOT_FOUND", Code.NOT_FOUND),
        (cursor("mine", 9), "REASON_FUTURE_POINT", Code.OUT_OF_RANGE),
        (fork("b", "a", 9), "REASON_FUTURE_POINT", Code.OUT_OF_RANGE),
        (fork("a", "a", 1), "REASON_AGENT_EXISTS", Code.ALREADY_EXISTS),
        (fork("b", "nobody", 1), "REASON_AGENT_NOT_FOUND", Code.NOT_FOUND),
        (fork("b", "late", 1), "REASON_AGENT_NOT_FOUND", Code.NOT_FOUND),
    ],
)
def test_a_mark_that_cannot_be_set_is_refused_for_a_stated_reason(tmp_path, told, reason, code):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            await node.commit(("late", "k", "1"))
            refused = await refusal(node, told, sequence=9)
            assert (refused.reason, refused.code) == (reason, code)
            again = await refusal(node, told, sequence=9)
            assert again.details == refused.details
            assert len((await node.call("state", "Replay"))[0].events) == 2

    run(scenario)


def changed(told, **fields):
    return {**told, **fields}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (changed(label("a", "x", 1), key="k"), "leave it empty"),
        (changed(label("a", "x", 1), value={"json": b"1"}), "a value and a mark"),
        (changed(label("a", "x", 1), mark={}), "neither label, fork nor cursor"),
        (changed(label("a", "x", 1), namespace=""), "namespace is empty"),
        (label("", "x", 1), "agent_id is empty"),
        (label("a", "", 1), "label.name is empty"),
        (label("a", "x\0y", 1), "control character"),
        (label("a", "x" * 1025, 1), "name_bytes_max"),
        (label("a\0", "x", 1), "control character"),
        (label("a", "x", 2**64 - 1), "18446744073709551615"),
        (label("a", "x", 1, if_version=3), "if_version_given"),
        (fork("b", "", 1), "parent_id is empty"),
        (fork("b", "\0cursors", 1), "parent"),
        (fork("", "a", 1), "agent_id is empty"),
        (cursor("", 1), "cursor.name is empty"),
        (cursor("\x01", 1), "control character"),
        (cursor("mine", 1, agent_id="\n"), "control character"),
        (changed(cursor("mine", 1), agent_id="a"), "belongs to its namespace"),
    ],
)
def test_a_mark_that_makes_no_sense_is_refused_in_words(tmp_path, told, words):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            refused = await refusal(node, told)
            assert refused.code in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE)
            assert words in refused.text
            assert len((await node.call("state", "Replay"))[0].events) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("agent_id", "key"),
    [("a", "\0label\0x"), ("b", "\0fork"), ("\0cursors", "mine"), ("a", "\0anything")],
)
def test_what_records_a_mark_cannot_be_named_by_clients(tmp_path, agent_id, key):
    async def scenario():
        async with serving(tmp_path) as node:
            named = {"namespace": "ns", "agent_id": agent_id, "key": key}
            refused = await refusal(node, operation(agent_id, key, "1"))
            assert refused.reason == "REASON_INVALID_ARGUMENT"
            wanted = {**named, "version": 0}
            for beside in (("a", "k", "1"), cursor("mine", 0), label("a", "x", 1)):
                refused = await refusal(node, beside, preconditions=[wanted])
                assert refused.reason == "REASON_INVALID_ARGUMENT"
            refused = await node.refused("state", "Get", **named)
            assert refused.reason == "REASON_INVALID_ARGUMENT"

    run(scenario)


def test_a_fork_is_the_only_operation_of_its_transaction(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            refused = await refusal(node, fork("b", "a", 1), ("b", "k", "2"))
            assert refused.reason == "REASON_INVALID_ARGUMENT"
            await node.commit(fork("b", "a", 1))
            got = await node.call("state", "Get", **{**KEY, "agent_id": "b"})
            assert (got.record.value.json, got.record.version) == (b"1", 1)

    run(scenario)
