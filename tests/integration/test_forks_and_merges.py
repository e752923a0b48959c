"""Forks go their own way and come together again, told alike by both clients on real nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from statehouse import (
    ABSENT,
    AgentExistsError,
    AgentNotFoundError,
    MergeConflictError,
    Statehouse,
    UnrelatedAgentsError,
)
from tests.helpers.agents import held, put
from tests.helpers.on_a_loop import OnALoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_cluster import LocalCluster


@pytest.fixture(params=[Statehouse, OnALoop], ids=["threads", "asyncio"])
def client(request: pytest.FixtureRequest, cluster: LocalCluster) -> Iterator[Statehouse]:
    with request.param(cluster.endpoints) as made:
        yield made


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
