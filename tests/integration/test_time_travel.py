"""Time travel on real nodes, told alike by both clients: past, reasons, forks, and what comes."""

from __future__ import annotations

import itertools
import random
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from statehouse import (
    ABSENT,
    AgentExistsError,
    AgentNotFoundError,
    BeforeBeginningError,
    ConflictError,
    CursorMovedError,
    FuturePointError,
    Head,
    HistoryRewrittenError,
    InvalidRequestError,
    LabelMark,
    LabelNotFoundError,
    MergeConflictError,
    NotFoundError,
    Progress,
    Statehouse,
    UnrelatedAgentsError,
    check_events,
    replay_state,
    state_hash,
)
from tests.helpers.on_a_loop import OnALoop
from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_cluster import LocalCluster
    from tests.conftest import StartCluster

CLIENTS = pytest.mark.parametrize("connect", [Statehouse, OnALoop], ids=["threads", "asyncio"])


@pytest.fixture(params=[Statehouse, OnALoop], ids=["threads", "asyncio"])
def client(request: pytest.FixtureRequest, cluster: LocalCluster) -> Iterator[Statehouse]:
    with request.param(cluster.endpoints) as made:
        yield made


def put(client: Statehouse, agent_id: str, key: str, value: object, **metadata: object) -> int:
    with client.begin_transaction(**metadata) as tx:
        tx.write(agent_id, key, value)
    assert tx.commit_ts is not None
    return tx.commit_ts


def remove(client: Statehouse, agent_id: str, key: str) -> int:
    with client.begin_transaction() as tx:
        tx.delete(agent_id, key)
    assert tx.commit_ts is not None
    return tx.commit_ts


def held(client: Statehouse, agent_id: str, **options: object) -> dict[str, object]:
    snapshot = client.snapshot(agent_id, **options)
    return {key: record.value for key, record in snapshot.records.items()}


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


class TestForksAndMerges:
    @pytest.fixture
    def forked(self, client, agent_id):
        """A parent and a fork of it, both with keys of their own since."""
        with client.begin_transaction() as tx:
            for key in ("same", "ours", "theirs", "both", "gone"):
                tx.write(agent_id, key, ["base"])
        fork = f"{agent_id}-fork"
        point = client.fork(agent_id, fork, actor="x", reason="what if")
        assert (point.parent_id, point.commit_ts) == (agent_id, tx.commit_ts)
        with client.begin_transaction() as tx:
            tx.write(agent_id, "ours", ["ours"])
            tx.write(agent_id, "both", ["base", "ours"])
        with client.begin_transaction() as tx:
            tx.write(fork, "theirs", ["theirs"])
            tx.write(fork, "both", ["base", "theirs"])
            tx.write(fork, "new", {"a": 1})
            tx.delete(fork, "gone")
        return fork

    def test_a_fork_goes_its_own_way_and_its_parent_never_notices(self, client, agent_id, forked):
        assert held(client, agent_id)["both"] == ["base", "ours"]
        assert held(client, forked)["ours"] == ["base"]
        assert [one.version for one in client.history(forked, "both")] == [1, 2]
        assert [one.agent_id for one in client.history(forked, "both")] == [agent_id, forked]
        assert client.lineage(forked).ancestry[0].parent_id == agent_id
        assert [one.agent_id for one in client.lineage(agent_id).forks] == [forked]
        assert {one.key for one in client.diff(agent_id, other=forked).keys} == {
            "ours",
            "theirs",
            "both",
            "new",
            "gone",
        }

    def test_a_conflict_stops_a_merge_and_nothing_is_written(self, client, agent_id, forked):
        before = held(client, agent_id)
        with pytest.raises(MergeConflictError) as raised:
            client.merge(forked, agent_id)
        (conflict,) = raised.value.conflicts
        assert (conflict.key, conflict.base, conflict.source, conflict.target) == (
            "both",
            ["base"],
            ["base", "theirs"],
            ["base", "ours"],
        )
        assert held(client, agent_id) == before
        dry = client.merge(forked, agent_id, dry_run=True)
        assert (dry.conflicts, dry.commit_ts) == (raised.value.conflicts, None)
        assert held(client, agent_id) == before

    @pytest.mark.parametrize(
        ("options", "both"),
        [
            ({"choose": "source"}, ["base", "theirs"]),
            ({"choose": {"": "error", "bo": "target"}}, ["base", "ours"]),
            ({"choose": {"both": "union"}}, ["base", "ours", "theirs"]),
            ({"resolve": lambda key, base, ours, theirs: [key]}, ["both"]),
            ({"resolve": lambda *_: ABSENT}, None),
        ],
    )
    def test_a_choice_decides_it(self, client, agent_id, forked, options, both):
        told = client.merge(forked, agent_id, actor="merger", **options)
        expected = {
            "same": ["base"],
            "ours": ["ours"],
            "theirs": ["theirs"],
            "new": {"a": 1},
            "both": both,
        }
        assert held(client, agent_id) == {
            key: value for key, value in expected.items() if value is not None
        }
        (event,) = client.replay(agent_id, told.commit_ts, told.commit_ts)
        assert event.metadata.actor == "merger"
        assert event.metadata.extra["merge.source"] == forked

    def test_a_second_merge_brings_only_what_came_since(self, client, agent_id, forked):
        first = client.merge(forked, agent_id, choose="target")
        again = client.merge(forked, agent_id)
        assert (again.written, again.commit_ts) == ((), None)
        assert (again.base_agent_id, again.base_ts) == (forked, first.source_ts)
        put(client, forked, "both", ["later"])
        put(client, agent_id, "same", ["mine"])
        with pytest.raises(MergeConflictError):
            client.merge(forked, agent_id)
        put(client, forked, "theirs", ["later"])
        client.merge(forked, agent_id, choose="source")
        assert held(client, agent_id)["both"] == ["later"]
        assert held(client, agent_id)["same"] == ["mine"]

    def test_a_merge_the_other_way_follows_from_there(self, client, agent_id, forked):
        client.merge(forked, agent_id, choose="source")
        put(client, agent_id, "ours", ["newer"])
        back = client.merge(agent_id, forked)
        assert {one.key for one in back.written} == {"ours"}
        assert held(client, forked) == held(client, agent_id)
        assert not client.diff(agent_id, other=forked)

    def test_siblings_meet_where_they_parted(self, client, agent_id, forked):
        sibling = f"{agent_id}-sibling"
        parting = client.lineage(forked).ancestry[0].commit_ts
        client.fork(agent_id, sibling, parting)
        put(client, sibling, "sibling", 1)
        told = client.merge(sibling, forked)
        assert (told.base_agent_id, told.base_ts) == (agent_id, parting)
        assert held(client, forked)["sibling"] == 1
        assert held(client, forked)["ours"] == ["base"]

    def test_a_writer_meanwhile_makes_it_begin_anew(self, client, agent_id, forked):
        asked: list[object] = []

        def resolve(key, base, ours, theirs):
            if not asked:
                with Statehouse(client._config.endpoints) as other:
                    put(other, agent_id, "both", ["moved"])
            asked.append(ours)
            return [*ours, "merged"]

        client.merge(forked, agent_id, resolve=resolve)
        assert asked == [["base", "ours"], ["moved"]]
        assert held(client, agent_id)["both"] == ["moved", "merged"]

    def test_what_cannot_be_is_refused(self, client, agent_id, forked):
        with pytest.raises(AgentExistsError):
            client.fork(agent_id, forked)
        with pytest.raises(AgentNotFoundError):
            client.fork(f"{agent_id}-nobody", f"{agent_id}-new")
        put(client, f"{agent_id}-stranger", "k", 1)
        with pytest.raises(UnrelatedAgentsError):
            client.merge(f"{agent_id}-stranger", agent_id)
        assert client.merge(agent_id, agent_id).commit_ts is None


class TestWatch:
    def test_it_tells_what_comes_and_how_far_it_is(self, client, agent_id):
        first = put(client, agent_id, "a/1", 1)
        watching = client.watch(agent_id, prefix="a/", after=first - 1, progress=True)
        assert next(watching).commit_ts == first
        assert isinstance(next(watching), Progress)
        put(client, agent_id, "b", 2)
        second = put(client, agent_id, "a/2", 2)
        seen = next(item for item in watching if not isinstance(item, Progress))
        assert (seen.commit_ts, [one.key for one in seen.operations]) == (second, ["a/2"])
        watching.close()

    def test_from_now_begins_with_the_first_question(self, client, agent_id):
        put(client, agent_id, "k", 1)
        watching = client.watch(agent_id, progress=True)
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.append(next_event(watching)))
        thread.start()
        numbers = itertools.count(2)

        def told() -> bool:
            put(client, agent_id, "k", next(numbers))
            return bool(seen)

        eventually(told, what="an event that was committed after the watch began")
        thread.join(30)
        assert seen[0].operations[0].value >= 2
        watching.close()

    def test_the_future_is_refused(self, client, agent_id):
        with pytest.raises(FuturePointError):
            next(client.watch(agent_id, after=10**12))


def next_event(items):
    return next(item for item in items if not isinstance(item, Progress))


class TestSubscriptions:
    def test_it_goes_on_behind_what_was_acknowledged(self, client, agent_id):
        points = [put(client, agent_id, "k", number) for number in range(4)]
        with client.subscribe(agent_id, agent_id, start=0) as subscription:
            for event in itertools.islice(subscription, 2):
                subscription.ack(event)
            assert subscription.position == points[1]
        with client.subscribe(agent_id, agent_id) as subscription:
            seen = [event.commit_ts for event in itertools.islice(subscription, 2)]
        assert seen == points[2:]
        (cursor,) = [one for one in client.cursors() if one.name == agent_id]
        assert (cursor.position, cursor.agent_id) == (points[1], agent_id)
        client.delete_cursor(agent_id)
        with pytest.raises(NotFoundError):
            client.delete_cursor(agent_id)

    def test_of_two_readers_the_slower_one_notices(self, client, agent_id):
        points = [put(client, agent_id, "k", number) for number in range(3)]
        one = client.subscribe(agent_id, agent_id, start=0)
        other = client.subscribe(agent_id, agent_id)
        one.ack(points[0])
        with pytest.raises(CursorMovedError):
            other.ack(points[1])
        assert issubclass(CursorMovedError, ConflictError)
        one.ack(points[2])

    def test_effects_happen_exactly_once_with_their_acknowledgement(self, client, agent_id):
        for number in range(5):
            put(client, agent_id, "k", number)
        counter = f"{agent_id}-counter"

        def count(subscription, limit):
            for event in itertools.islice(subscription, limit):
                with client.begin_transaction() as tx:
                    tx.write(counter, "n", (tx.get(counter, "n").value or 0) + 1)
                    tx.acknowledge(subscription, event)

        first = client.subscribe(agent_id, agent_id, start=0)
        count(first, 3)
        second = client.subscribe(agent_id, agent_id)
        count(second, 1)
        with pytest.raises(CursorMovedError):
            count(first, 1)
        count(second, 2 - 1)
        assert client.get_state(counter, "n").value == 5

    def test_an_acknowledgement_wakes_no_watcher_of_the_namespace(self, client, agent_id):
        inside = f"ns-{agent_id}"
        with client.begin_transaction(namespace=inside) as tx:
            tx.write("a", "k", 1)
        subscription = client.subscribe("all", namespace=inside, start=0)
        event = next(iter(subscription))
        subscription.ack(event)
        assert [one.commit_ts for one in client.replay(namespace=inside)] == [event.commit_ts]


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


@CLIENTS
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_watch_and_a_subscription_outlive_leaders_without_gap_or_repeat(
    fresh_cluster: StartCluster, connect
) -> None:
    cluster = fresh_cluster(nodes=3)
    committed: list[int] = []
    watched: list[int] = []
    subscribed: list[int] = []
    done = threading.Event()
    failures: list[BaseException] = []

    def run(work) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def watch() -> None:
        for event in client.watch("a", after=0):
            watched.append(event.commit_ts)
            if event.operations[0].value == "end":
                return

    def subscribe() -> None:
        # Each round is a reader that is restarted: what it acknowledged is behind it.
        while not (subscribed and done.is_set() and subscribed[-1] == committed[-1]):
            subscription = client.subscribe("reader", "a", start=0)
            for event in itertools.islice(subscription, 20):
                with client.begin_transaction() as tx:
                    tx.write("effects", str(event.commit_ts), 1, if_absent=True)
                    tx.acknowledge(subscription, event)
                subscribed.append(event.commit_ts)
                if event.operations[0].value == "end":
                    return

    def write() -> None:
        for value in (*range(400), "end"):
            committed.append(put(client, "a", "k", value))  # noqa: PERF401 - others look meanwhile
        done.set()

    with connect(cluster.endpoints, timeout=60) as client:
        threads = [run(watch), run(subscribe), run(write)]
        kills = 0
        while not done.wait(1.5) and kills < 8 and not failures:
            leader = eventually(cluster.leader, what="a leader")
            cluster.kill(leader)
            cluster.spawn(leader)
            kills += 1
        for thread in threads:
            thread.join(120)
        assert not failures, failures
        assert not any(thread.is_alive() for thread in threads)
        print(f"{kills} leaders killed, {len(committed)} commits")
        assert kills >= 2
        assert watched == committed
        assert subscribed == committed
        assert len(client.list_keys("effects")) == len(committed)
