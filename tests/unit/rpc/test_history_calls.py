from __future__ import annotations

import asyncio

import grpc
import pytest
from statehouse_proto.services import HISTORY_SERVICE, methods

from statehouse.core import limits
from statehouse.rpc import chunks
from tests.helpers.served_node import cursor, fork, label, run, serving

KEY = {"namespace": "ns", "agent_id": "a", "key": "k"}
AGENT = {"namespace": "ns", "agent_id": "a"}
Code = grpc.StatusCode

CALLS = {
    "Resolve": {},
    "Versions": KEY,
    "Blame": AGENT,
    "Explain": KEY,
    "Diff": AGENT,
    "ListLabels": AGENT,
    "Lineage": AGENT,
    "GetCursor": {"namespace": "ns", "name": "mine"},
    "ListCursors": {"namespace": "ns"},
    "Verify": {},
}
"""A call of every method that makes sense on any history."""


async def ask(node, name, /, **fields):
    """The response of a unary call, the only message of a streamed one."""
    answer = await node.call("history", name, **fields)
    if isinstance(answer, list):
        (answer,) = answer
    return answer


def places(versions):
    return [(told.record.version, told.record.commit_ts) for told in versions]


def test_every_method_answers_about_nothing_and_tells_what_it_speaks_for(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            assert set(CALLS) == set(methods(HISTORY_SERVICE))
            for name, fields in CALLS.items():
                answer = await ask(node, name, **fields)
                assert name == "Verify" or answer.served_at == 0

    run(scenario)


def test_a_point_is_resolved_to_its_commit_and_its_place_in_the_chain(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            first = await node.commit(("a", "k", "1"))
            await asyncio.sleep(0.002)
            second = await node.commit(label("a", "x", 1))
            (page,) = await node.call("state", "Replay")
            hashes = [event.hash for event in page.events]
            now = await ask(node, "Resolve")
            assert (now.commit_ts, now.chain_hash, now.served_at) == (2, hashes[1], 2)
            assert now.committed_at_us == second.committed_at_us
            for at in (
                {"commit_ts": 1},
                {"time_us": first.committed_at_us},
                {"label": "x"},
            ):
                then = await ask(node, "Resolve", **AGENT, at=at)
                assert (then.commit_ts, then.chain_hash) == (1, hashes[0])
                assert then.committed_at_us == first.committed_at_us
                assert then.served_at == 2
            beginning = await ask(node, "Resolve", at={"commit_ts": 0})
            assert (beginning.commit_ts, beginning.chain_hash) == (0, bytes(32))
            assert beginning.committed_at_us == 0

    run(scenario)


def test_the_versions_of_a_key_come_with_who_made_them_and_why(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"), metadata={"actor": "me"}, txn_id="first")
            await node.commit(("a", "other", "1"))
            await node.commit(("a", "k", None))
            await node.commit(("a", "k", b"raw"), metadata={"run_id": "r"})
            told = (await ask(node, "Versions", **KEY)).versions
            assert places(told) == [(1, 1), (2, 3), (3, 4)]
            assert [version.record.exists for version in told] == [True, False, True]
            assert (told[0].txn_id, told[0].metadata.actor) == ("first", "me")
            assert (told[2].record.value.raw, told[2].metadata.run_id) == (b"raw", "r")
            assert {version.agent_id for version in told} == {"a"}
            for expected, fields in (
                ([3, 2, 1], {"newest_first": True}),
                ([3], {"newest_first": True, "limit": 1}),
                ([1, 2], {"limit": 2}),
                ([2], {"start": {"commit_ts": 2}, "end": {"commit_ts": 3}}),
                ([2, 3], {"start": {"commit_ts": 2}, "end": {"commit_ts": 99}}),
                ([], {"start": {"commit_ts": 99}}),
            ):
                told = (await ask(node, "Versions", **KEY, **fields)).versions
                assert [version.record.version for version in told] == expected

    run(scenario)


def test_long_histories_come_in_bounded_messages(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks.limits, "CHUNK_ROWS_MAX", 16)

    async def scenario():
        async with serving(tmp_path) as node:
            for number in range(50):
                await node.commit(("a", "k", str(number)), ("a", f"k{number:02}", "1"))
                await node.commit(label("a", f"l{number:02}", 1), cursor(f"c{number:02}", 1))
            for name, fields, field in (
                ("Versions", KEY, "versions"),
                ("Blame", {**AGENT, "prefix": "k"}, "keys"),
                ("Diff", {**AGENT, "a": {"commit_ts": 0}}, "keys"),
                ("ListLabels", AGENT, "labels"),
                ("ListCursors", {"namespace": "ns"}, "cursors"),
            ):
                pages = await node.call("history", name, **fields)
                rows = [len(getattr(page, field)) for page in pages]
                assert sum(rows) >= 50, name
                assert max(rows) == 16, name
                assert {page.served_at for page in pages} == {100}, name

    run(scenario)


def test_blame_names_the_commit_of_each_key_and_of_each_field(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", '{"x": 1, "y": 1}'), metadata={"actor": "one"})
            await node.commit(("a", "k", '{"x": 1, "y": 2}'), metadata={"actor": "two"})
            await node.commit(("a", "j", "[1]"))
            await node.commit(("a", "gone", "1"))
            await node.commit(("a", "gone", None))
            told = (await ask(node, "Blame", **AGENT, fields=True)).keys
            assert [(key.last.record.key, key.last.record.commit_ts) for key in told] == [
                ("j", 3),
                ("k", 2),
            ]
            assert not told[0].fields
            assert [
                (field.field, field.commit_ts, field.metadata.actor) for field in told[1].fields
            ] == [("x", 1, "one"), ("y", 2, "two")]
            plain = (await ask(node, "Blame", **AGENT, prefix="k")).keys
            assert [(key.last.record.key, len(key.fields)) for key in plain] == [("k", 0)]
            then = await ask(node, "Blame", **AGENT, at={"commit_ts": 1})
            assert [key.last.record.version for key in then.keys] == [1]
            assert then.served_at == 1

    run(scenario)


async def reasoned(node):
    """Commits 1 to 4; 3 read what 1 made and was caused by 2, 4 read what 3 made."""
    await node.commit(("a", "source", '"fact"'), ("a", "beside", "0"))
    await node.commit(("b", "request", '"do it"'))
    await node.commit(
        ("a", "plan", "1"),
        preconditions=[
            {**AGENT, "key": "source", "version": 1},
            {**AGENT, "key": "nothing", "version": 0},
        ],
        metadata={"caused_by": [2], "reason": "because"},
    )
    await node.commit(
        ("a", "k", "1"),
        ("a", "unasked", "2"),
        preconditions=[{**AGENT, "key": "plan", "version": 1}],
    )


def test_an_explanation_leads_from_a_value_back_to_its_roots(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await reasoned(node)
            answer = await ask(node, "Explain", **KEY)
            assert not answer.truncated
            told = [(commit.event.commit_ts, commit.distance) for commit in answer.commits]
            assert told == [(4, 0), (3, 1), (2, 2), (1, 2)]
            reads = [
                (read.agent_id, read.key, read.version, read.commit_ts)
                for read in answer.commits[1].reads
            ]
            assert reads == [("a", "source", 1, 1), ("a", "nothing", 0, 0)]
            assert answer.commits[1].event.metadata.reason == "because"
            values = {
                operation.key: operation.value.json
                for operation in answer.commits[0].event.operations
            }
            assert values == {"k": b"1", "unasked": b""}

    run(scenario)


def test_an_explanation_tells_when_there_is_more_than_the_limit_allows(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await reasoned(node)
            for limit, expected, truncated in ((1, [4], True), (3, [4, 3, 2], True), (4, 4, False)):
                pages = await node.call("history", "Explain", **KEY, limit=limit)
                told = [commit.event.commit_ts for page in pages for commit in page.commits]
                assert told == ([4, 3, 2, 1] if expected == 4 else expected)
                assert pages[-1].truncated is truncated
            never = await ask(node, "Explain", **{**KEY, "key": "never"})
            assert not never.commits
            refused = await node.refused(
                "history", "Explain", **KEY, limit=limits.EXPLAIN_COMMITS_MAX + 1
            )
            assert refused.details.limit.name == "explain_commits_max"

    run(scenario)


def test_an_explanation_passes_through_marks(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "source", "1"))
            await node.commit(label("a", "x", 1), cursor("mine", 1))
            await node.commit(("a", "k", "1"), metadata={"caused_by": [2]})
            answer = await ask(node, "Explain", **KEY)
            marks = [operation.mark for operation in answer.commits[1].event.operations]
            assert (marks[0].label.name, marks[0].label.commit_ts) == ("x", 1)
            assert (marks[1].cursor.name, marks[1].cursor.through) == ("mine", 1)

    run(scenario)


def test_a_diff_tells_what_was_added_removed_and_changed(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "same", "1"), ("a", "gone", "1"), ("a", "new", "1"))
            await node.commit(("a", "gone", None), ("a", "new", "2"), ("a", "added", b"x"))
            await node.commit(("b", "same", "1"), ("b", "new", "9"))
            told = await ask(node, "Diff", **AGENT, a={"commit_ts": 1})
            assert (told.a, told.b, told.served_at) == (1, 3, 3)
            assert [(key.key, key.a.exists, key.b.exists) for key in told.keys] == [
                ("added", False, True),
                ("gone", True, False),
                ("new", True, True),
            ]
            assert (told.keys[2].a.value.json, told.keys[2].b.value.json) == (b"1", b"2")
            assert (told.keys[2].a.version, told.keys[2].b.commit_ts) == (1, 2)
            others = await ask(node, "Diff", **AGENT, other_agent_id="b", prefix="n")
            assert [(key.key, key.b.value.json) for key in others.keys] == [("new", b"9")]
            none = await ask(node, "Diff", **AGENT, a={"commit_ts": 2}, b={"commit_ts": 2})
            assert not none.keys

    run(scenario)


def test_points_of_a_diff_are_labels_of_the_agent_on_their_own_side(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            await node.commit(("b", "k", "2"))
            await node.commit(label("a", "mine", 1), label("b", "theirs", 2))
            told = await ask(
                node,
                "Diff",
                **AGENT,
                a={"label": "mine"},
                other_agent_id="b",
                b={"label": "theirs"},
            )
            assert (told.a, told.b) == (1, 2)
            refused = await node.refused("history", "Diff", **AGENT, b={"label": "theirs"})
            assert refused.reason == "REASON_LABEL_NOT_FOUND"

    run(scenario)


def test_labels_are_listed_with_the_commit_that_set_them(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            set_at = await node.commit(label("a", "z", 1), label("a", "b", 1), label("b", "x", 1))
            await node.commit(label("a", "z", 2))
            await node.commit(label("a", "gone", 1))
            await node.commit(label("a", "gone", 0))
            told = (await ask(node, "ListLabels", **AGENT)).labels
            assert [(row.name, row.commit_ts, row.version, row.set_at) for row in told] == [
                ("b", 1, 1, 2),
                ("z", 2, 2, 3),
            ]
            assert told[0].set_at_us == set_at.committed_at_us

    run(scenario)


def test_every_read_takes_a_label_for_a_point(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            await node.commit(("a", "k", "2"))
            await node.commit(label("a", "then", 1))
            at = {"label": "then"}
            got = await node.call("state", "Get", **KEY, at=at)
            assert (got.record.value.json, got.served_at) == (b"1", 1)
            many = await node.call("state", "GetMany", **AGENT, keys=["k"], at=at)
            assert (many.records[0].version, many.served_at) == (1, 1)
            for service, name in (("state", "Scan"), ("state", "ListKeys"), ("history", "Blame")):
                (page,) = await node.call(service, name, **AGENT, at=at)
                assert page.served_at == 1
            refused = await node.refused("state", "Get", **KEY, at={"label": "never"})
            assert (refused.code, refused.reason) == (Code.NOT_FOUND, "REASON_LABEL_NOT_FOUND")
            assert "'then'" in refused.text

    run(scenario)


def test_a_fork_tells_where_it_comes_from_and_the_parent_which_forks_it_has(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            await node.commit(fork("b", "a", 1))
            await node.commit(fork("c", "b", 2))
            await node.commit(("b", "k", "2"))
            lineage = await ask(node, "Lineage", namespace="ns", agent_id="c")
            assert [
                (point.agent_id, point.parent_id, point.commit_ts, point.forked_at)
                for point in lineage.ancestry
            ] == [("c", "b", 2, 3), ("b", "a", 1, 2)]
            parent = await ask(node, "Lineage", **AGENT)
            assert not parent.ancestry
            assert [point.agent_id for point in parent.forks] == ["b"]
            versions = (await ask(node, "Versions", **{**KEY, "agent_id": "b"})).versions
            assert [(told.agent_id, told.record.version) for told in versions] == [
                ("a", 1),
                ("b", 2),
            ]
            diff = await ask(node, "Diff", **AGENT, other_agent_id="b")
            assert [key.key for key in diff.keys] == ["k"]

    run(scenario)


def test_a_cursor_tells_how_far_it_is_whether_it_exists_and_its_version(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            named = {"namespace": "ns", "name": "mine"}
            await node.commit(("a", "k", "1"))
            never = (await ask(node, "GetCursor", **named)).cursor
            assert (never.name, never.exists, never.version) == ("mine", False, 0)
            await node.commit(cursor("mine", 1, agent_id="a", prefix="k"), cursor("other"))
            there = (await ask(node, "GetCursor", **named)).cursor
            assert (there.through, there.agent_id, there.prefix) == (1, "a", "k")
            assert (there.set_at, there.version, there.exists) == (2, 1, True)
            await node.commit(cursor("mine", deleted=True))
            gone = await ask(node, "GetCursor", **named)
            assert (gone.cursor.exists, gone.cursor.version, gone.cursor.set_at) == (False, 2, 0)
            assert gone.served_at == 3
            listed = await ask(node, "ListCursors", namespace="ns")
            assert [(told.name, told.exists) for told in listed.cursors] == [("other", True)]

    run(scenario)


def test_an_acknowledged_cursor_does_not_wake_the_followers_of_its_namespace(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            follow = node.stream("state", "Replay", namespace="ns", follow=True)
            await follow.read()
            await node.commit(cursor("mine", 0))
            await node.commit(("a", "k", "1"))
            events = []
            while not events:
                events = (await follow.read()).events
            assert [event.commit_ts for event in events] == [2]
            follow.cancel()

    run(scenario)


def test_the_record_is_verified_whole_in_part_or_for_an_agent(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            for _ in range(5):
                await node.commit(("a", "k", "1"))
                await node.commit(("b", "k", "2"))
            (page,) = await node.call("state", "Replay", last=1)
            for fields, events in (({}, 10), ({"after": 4}, 6), (AGENT, 5)):
                told = (await node.call("history", "Verify", **fields))[-1]
                assert (told.events, told.finished, told.bad_commit_ts) == (events, True, 0)
            whole = (await node.call("history", "Verify"))[-1]
            assert (whole.through, whole.chain_hash) == (10, page.events[0].hash)

    run(scenario)


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("Resolve", {"at": {"commit_ts": 9}}, "FUTURE_POINT"),
        ("Resolve", {"at": {"time_us": 1}}, "BEFORE_BEGINNING"),
        ("Resolve", {"at": {}}, "INVALID_ARGUMENT"),
        ("Resolve", {"at": {"label": "x"}}, "INVALID_ARGUMENT"),
        ("Resolve", {**AGENT, "at": {"label": "x"}}, "LABEL_NOT_FOUND"),
        ("Resolve", {"namespace": "\n"}, "INVALID_ARGUMENT"),
        ("Resolve", {"agent_id": "a"}, "INVALID_ARGUMENT"),
        ("Resolve", {"consistency": 9}, "INVALID_ARGUMENT"),
        ("Versions", AGENT, "INVALID_ARGUMENT"),
        ("Versions", {**KEY, "key": "\0label\0x"}, "INVALID_ARGUMENT"),
        ("Versions", {**KEY, "start": {"time_us": -1}}, "INVALID_ARGUMENT"),
        ("Blame", {"namespace": "ns"}, "INVALID_ARGUMENT"),
        ("Blame", {**AGENT, "at": {"commit_ts": 9}}, "FUTURE_POINT"),
        ("Explain", {**KEY, "version": 1, "at": {"commit_ts": 1}}, "INVALID_ARGUMENT"),
        ("Explain", {**KEY, "at": {"time_us": 1}}, "BEFORE_BEGINNING"),
        ("Explain", AGENT, "INVALID_ARGUMENT"),
        ("Diff", {}, "INVALID_ARGUMENT"),
        ("Diff", {**AGENT, "other_agent_id": "\0cursors"}, "INVALID_ARGUMENT"),
        ("Diff", {**AGENT, "a": {"commit_ts": 9}}, "FUTURE_POINT"),
        ("Diff", {**AGENT, "b": {"time_us": 10**17}}, "FUTURE_POINT"),
        ("ListLabels", {"namespace": "ns"}, "INVALID_ARGUMENT"),
        ("Lineage", {"agent_id": "a"}, "INVALID_ARGUMENT"),
        ("GetCursor", {"namespace": "ns"}, "INVALID_ARGUMENT"),
        ("GetCursor", {"namespace": "ns", "name": "x" * 1025}, "TOO_LARGE"),
        ("ListCursors", {}, "INVALID_ARGUMENT"),
        ("Verify", {"namespace": "ns"}, "INVALID_ARGUMENT"),
        ("Verify", {"agent_id": "a"}, "INVALID_ARGUMENT"),
        ("Verify", {**AGENT, "after": 1}, "INVALID_ARGUMENT"),
        ("Verify", {"after": 9}, "FUTURE_POINT"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_in_words(tmp_path, name, fields, reason):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            refused = await node.refused("history", name, **fields)
            assert refused.reason == f"REASON_{reason}"
            assert refused.text

    run(scenario)


def test_a_follower_sends_its_callers_to_the_leader_unless_its_own_state_will_do(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            await node.commit(("a", "k", "1"))
            node.consensus.follow(node.consensus.other)
            for name, fields in CALLS.items():
                if name == "Verify":
                    told = await node.call("history", name)
                    assert told[-1].events == 1
                    continue
                refused = await node.refused("history", name, **fields)
                assert refused.reason == "REASON_NOT_LEADER", name
                assert refused.details.leader.address == "127.0.0.1:22"
                stale = await ask(node, name, **fields, consistency="CONSISTENCY_STALE")
                assert stale.served_at == 1, name

    run(scenario)


def test_a_row_that_fits_no_message_is_refused_by_its_limit(tmp_path):
    async def scenario():
        async with serving(tmp_path) as node:
            fields = ",".join(f'"{number}":1' for number in range(500))
            metadata = {"reason": "x" * 10_000}
            await node.commit(("a", "k", "{" + fields + "}"), metadata=metadata)
            refused = await node.refused("history", "Blame", **AGENT, fields=True)
            assert refused.details.limit.name == "message_bytes_max"
            assert refused.code is Code.INVALID_ARGUMENT
            assert len((await ask(node, "Blame", **AGENT)).keys) == 1

    run(scenario)
