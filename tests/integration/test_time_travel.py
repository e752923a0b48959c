"""Time travel on real nodes, told alike by both clients: the past, its reasons, and its proof."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from statehouse import (
    BeforeBeginningError,
    FuturePointError,
    Head,
    HistoryRewrittenError,
    InvalidRequestError,
    LabelMark,
    LabelNotFoundError,
    Statehouse,
    check_events,
    replay_state,
    state_hash,
)
from tests.helpers.agents import held, put, remove
from tests.helpers.on_a_loop import OnALoop
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_cluster import LocalCluster


@pytest.fixture(params=[Statehouse, OnALoop], ids=["threads", "asyncio"])
def client(request: pytest.FixtureRequest, cluster: LocalCluster) -> Iterator[Statehouse]:
    with request.param(cluster.endpoints) as made:
        yield made


class TestAsOf:
    def test_every_read_is_of_that_point(self, client, agent_id):
        put(client, agent_id, "a/1", 1)
        point = put(client, agent_id, "a/2", 2)
        put(client, agent_id, "a/1", 9)
        remove(client, agent_id, "a/2")
        put(client, agent_id, "b", 3)
        then = client.as_of(point)
        assert then.commit_ts == point
        assert then.get_state(agent_id, "a/1").value == 1
        assert [one.exists for one in then.get_many(agent_id, ["a/2", "b"]).values()] == [
            True,
            False,
        ]
        assert then.list_keys(agent_id) == ["a/1", "a/2"]
        assert [one.value for one in then.scan_prefix(agent_id, "a/")] == [1, 2]
        assert list(then.snapshot(agent_id).records) == ["a/1", "a/2"]
        assert [one.version for one in then.history(agent_id, "a/1")] == [1]
        assert [one.key for one in then.blame(agent_id)] == ["a/1", "a/2"]
        assert then.explain(agent_id, "a/1").root.operations[0].value == 1
        assert [one.key for one in then.diff(agent_id).keys] == ["a/1", "a/2", "b"]
        assert [event.commit_ts for event in then.replay(agent_id)][-1] == point
        assert client.as_of(then.committed_at).commit_ts == point

    def test_a_label_names_a_point_everywhere(self, client, agent_id):
        point = put(client, agent_id, "k", 1)
        put(client, agent_id, "k", 2)
        assert client.label(agent_id, "then", point, actor="x", reason="why") == point
        assert client.get_state(agent_id, "k", at="then").value == 1
        assert client.read_state_at(agent_id, "k", "then").value == 1
        assert client.get_many(agent_id, ["k"], at="then")["k"].value == 1
        assert client.list_keys(agent_id, at="then") == ["k"]
        assert client.scan_prefix(agent_id, "", at="then")[0].value == 1
        assert client.as_of("then", agent_id).commit_ts == point
        assert [event.commit_ts for event in client.replay(agent_id, end_ts="then")] == [point]
        assert [one.version for one in client.history(agent_id, "k", start_ts="then")] == [1, 2]
        assert client.diff(agent_id, "then").changed[0].after.value == 2

    def test_labels_are_moved_listed_deleted_and_audited(self, client, agent_id):
        first = put(client, agent_id, "k", 1)
        client.label(agent_id, "b", first)
        client.label(agent_id, "a")
        client.label(agent_id, "b")
        labels = client.labels(agent_id)
        assert [(label.name, label.version) for label in labels] == [("a", 1), ("b", 2)]
        assert labels[1].commit_ts > first
        client.delete_label(agent_id, "b")
        assert [label.name for label in client.labels(agent_id)] == ["a"]
        with pytest.raises(LabelNotFoundError, match="b"):
            client.delete_label(agent_id, "b")
        marks = [
            operation.mark
            for event in client.replay(agent_id)
            for operation in event.operations
            if operation.mark
        ]
        assert [(mark.name, bool(mark.commit_ts)) for mark in marks] == [
            ("b", True),
            ("a", True),
            ("b", True),
            ("b", False),
        ]
        assert all(isinstance(mark, LabelMark) for mark in marks)
        assert client.list_keys(agent_id) == ["k"]

    def test_a_transaction_can_set_a_label(self, client, agent_id):
        point = put(client, agent_id, "k", 1)
        with client.begin_transaction() as tx:
            tx.write(agent_id, "k", 2)
            tx.label(agent_id, "before", point)
        assert client.get_state(agent_id, "k", at="before").value == 1

    def test_points_that_are_none_say_what_is_possible(self, client, agent_id):
        put(client, agent_id, "k", 1)
        wrong = {
            FuturePointError: 10**12,
            BeforeBeginningError: datetime(2020, 1, 1, tzinfo=UTC),
            LabelNotFoundError: "no-such-label",
            InvalidRequestError: datetime(2020, 1, 1),
        }
        for kind, at in wrong.items():
            for ask in (
                lambda at=at: client.get_state(agent_id, "k", at=at),
                lambda at=at: client.as_of(at, agent_id),
                lambda at=at: client.blame(agent_id, at),
                lambda at=at: client.explain(agent_id, "k", at),
                lambda at=at: client.diff(agent_id, at),
                lambda at=at: client.label(agent_id, "x", at),
                lambda at=at: client.fork(agent_id, f"{agent_id}-fork", at),
            ):
                with pytest.raises(kind):
                    ask()
        with pytest.raises(FuturePointError):
            client.as_of(datetime.now(UTC) + timedelta(days=1))
        assert held(client, agent_id, at=0) == {}


class TestTheHistoryOfAKey:
    def test_all_versions_with_their_commits(self, client, agent_id):
        put(client, agent_id, "k", {"a": 1}, actor="x", reason="first")
        remove(client, agent_id, "k")
        put(client, agent_id, "k", b"\x00", run_id="r")
        told = list(client.history(agent_id, "k"))
        assert [(one.version, one.exists, one.value) for one in told] == [
            (1, True, {"a": 1}),
            (2, False, None),
            (3, True, b"\x00"),
        ]
        assert (told[0].metadata.actor, told[2].metadata.run_id) == ("x", "r")
        assert {(one.agent_id, one.key) for one in told} == {(agent_id, "k")}
        newest = client.history(agent_id, "k", newest_first=True, limit=2)
        assert [one.version for one in newest] == [3, 2]
        bounded = client.history(
            agent_id, "k", start_ts=told[1].commit_ts, end_ts=told[1].committed_at
        )
        assert [one.version for one in bounded] == [2]
        assert list(client.history(agent_id, "never")) == []

    def test_versions_made_while_it_is_read_are_left_out(self, client, agent_id):
        with client.begin_transaction() as tx:
            for number in range(1000):
                tx.write(agent_id, "k", number)
        reading = client.history(agent_id, "k")
        told = [next(reading)]
        put(client, agent_id, "k", "late")
        told += reading
        assert [one.value for one in told] == list(range(1000))

    def test_blame_tells_who_set_each_field(self, client, agent_id):
        first = put(client, agent_id, "k", {"a": 1, "b": [1]}, actor="x")
        second = put(client, agent_id, "k", {"a": 2, "b": [1], "c": None}, actor="y")
        put(client, agent_id, "gone", 1)
        remove(client, agent_id, "gone")
        (blamed,) = client.blame(agent_id)
        fields = {name: field.commit_ts for name, field in blamed.fields.items()}
        assert fields == {"a": second, "b": first, "c": second}
        assert (blamed.last.metadata.actor, blamed.fields["b"].metadata.actor) == ("y", "x")
        assert client.blame(agent_id, fields=False)[0].fields == {}
        assert client.blame(agent_id, first)[0].last.commit_ts == first


class TestWhy:
    def test_reads_and_causes_lead_back_to_the_roots(self, client, agent_id):
        asked = put(client, agent_id, "question", "where", actor="human")
        fact = put(client, agent_id, "fact", {"water": "south"}, tool_call_id="t")
        with client.begin_transaction(actor="planner", caused_by=asked) as tx:
            where = tx.get(agent_id, "fact").value["water"]
            tx.get(agent_id, "veto")
            tx.write(agent_id, "plan", where)
            tx.write(agent_id, "secret", "not asked about")
        why = client.explain(agent_id, "plan")
        assert why.root.commit_ts == tx.commit_ts
        assert {one.key: one.value for one in why.root.operations} == {
            "plan": "south",
            "secret": None,
        }
        assert [one.commit_ts for one in why.causes_of(why.root)] == [asked]
        reads = [(read.key, read.version, made) for read, made in why.reads_of(why.root)]
        assert reads == [("fact", 1, why.commits[fact]), ("veto", 0, None)]
        assert set(why.commits) == {tx.commit_ts, asked, fact}
        assert not why.truncated
        tree = "\n".join(why.tree())
        assert "planner" in tree
        assert "(not there)" in tree

    def test_a_limit_leaves_out_what_is_furthest(self, client, agent_id):
        cause: tuple[int, ...] = ()
        for number in range(5):
            cause = (put(client, agent_id, "k", number, caused_by=cause),)
        why = client.explain(agent_id, "k", limit=2)
        assert (len(why.commits), why.truncated) == (2, True)
        assert client.explain(agent_id, "k", version=1).root.operations[0].value == 0
        assert client.explain(agent_id, "never").root is None

    def test_runs_and_causes_are_found(self, client, agent_id):
        first = put(client, agent_id, "k", 1, run_id=f"run-{agent_id}")
        second = put(client, agent_id, "other", 2, run_id=f"run-{agent_id}", caused_by=first)
        put(client, agent_id, "k", 3)
        by_run = client.replay(agent_id, run_id=f"run-{agent_id}")
        assert [event.commit_ts for event in by_run] == [first, second]
        assert [event.commit_ts for event in client.replay(caused_by=first)] == [second]
        prefixed = client.replay(agent_id, prefix="oth")
        assert [event.commit_ts for event in prefixed] == [second]


class TestDiff:
    def test_between_points_and_between_agents(self, client, agent_id):
        put(client, agent_id, "kept", 1)
        put(client, agent_id, "plan", {"steps": [{"name": "a"}]})
        a = put(client, agent_id, "old", b"\x00")
        remove(client, agent_id, "old")
        put(client, agent_id, "plan", {"steps": [{"name": "b"}, {"name": "c"}]})
        b = put(client, agent_id, "new", None)
        diff = client.diff(agent_id, a, b)
        assert (diff.a, diff.b) == (a, b)
        assert [one.key for one in diff.added] == ["new"]
        assert [one.key for one in diff.removed] == ["old"]
        (changed,) = diff.changed
        assert [(one.path, one.kind) for one in changed.fields] == [
            ("steps[0].name", "changed"),
            ("steps[1]", "added"),
        ]
        assert not client.diff(agent_id, b)
        assert [one.key for one in client.diff(agent_id, a, b, prefix="n").keys] == ["new"]
        other = f"{agent_id}-other"
        put(client, other, "kept", 1)
        between = client.diff(agent_id, other=other)
        assert {one.key: one.kind for one in between.keys} == {"plan": "removed", "new": "removed"}


class TestWhetherItIsSo:
    def test_every_node_verifies_its_record(self, client, cluster, agent_id):
        point = put(client, agent_id, "k", 1)
        for node in cluster.nodes:
            address = node.client_address
            eventually(lambda at=address: client.head(address=at).commit_ts >= point)
            *_, last = client.verify(address=address)
            assert (last.ok, last.finished, last.address) == (True, True, address)
            assert last.through >= point
        *_, last = client.verify(agent_id)
        assert (last.events, last.ok) == (1, True)

    def test_a_kept_head_is_shown_to_be_extended(self, client, agent_id):
        old = client.head()
        points = [put(client, agent_id, "k", number) for number in range(30)]
        with client.begin_transaction() as tx:
            pass
        client.label(agent_id, "then", tx.commit_ts)
        new = client.prove_extension(old)
        assert new.commit_ts > points[-1]
        assert client.prove_extension(Head(0, bytes(32))).commit_ts >= new.commit_ts
        with pytest.raises(HistoryRewrittenError) as raised:
            client.prove_extension(Head(old.commit_ts, b"\x01" * 32))
        assert raised.value.commit_ts == old.commit_ts + 1

    def test_proofs_hold_for_an_agent_and_for_a_fork(self, client, agent_id):
        put(client, agent_id, "k", {"a": "ü"}, actor="x", extra={"b": "1", "a": "2"})
        client.label(agent_id, "then")
        put(client, agent_id, "raw", b"\x00\xff", caused_by=client.head().commit_ts)
        remove(client, agent_id, "raw")
        fork = f"{agent_id}-fork"
        client.fork(agent_id, fork)
        put(client, fork, "k", 2)
        for agent in (agent_id, fork):
            events = list(client.replay(agent, with_proof=True))
            checked = check_events(events)
            assert checked.ok, checked
            assert checked.events == len(events)

    def test_a_replay_folds_into_the_state(self, client, agent_id):
        draw = random.Random(5)
        for number in range(40):
            with client.begin_transaction() as tx:
                for key in draw.sample("abcdef", 2):
                    if draw.random() < 0.3:
                        tx.delete(agent_id, key)
                    else:
                        tx.write(agent_id, key, draw.choice([number, [number], b"\x00", None]))
            if number == 20:
                client.fork(agent_id, f"{agent_id}-fork")
        put(client, f"{agent_id}-fork", "z", 1)
        for agent in (agent_id, f"{agent_id}-fork"):
            folded = replay_state(client.replay(agent))
            assert state_hash(folded) == state_hash(client.snapshot(agent))
            assert folded.records == {
                key: record_as_of(record, folded.records[key])
                for key, record in client.snapshot(agent).records.items()
            }


def record_as_of(record, folded):
    """The record with the served_at of another."""
    from dataclasses import replace

    return replace(record, served_at=folded.served_at)
