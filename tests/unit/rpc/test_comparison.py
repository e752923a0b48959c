"""The rounds of a node that asks the others for their record: whom, where they are compared."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from statehouse_proto.v2 import cluster_pb2, history_pb2

from statehouse.comparing import DOUBTS_MAX
from statehouse.core.errors import Failure, Reason
from statehouse.lifecycle import Phase
from statehouse.rpc.comparison import Comparison


def chain(commit_ts, branch=b"good"):
    return (branch + commit_ts.to_bytes(4, "big")).ljust(32, b"\0")


def member(number, *, voter=True, address=None):
    address = f"n{number}:1" if address is None else address
    return SimpleNamespace(name=f"n{number}", client_address=address, voter=voter)


class SomeView:
    def __init__(self, commit_ts):
        self.commit_ts = commit_ts
        self.closed = False

    def chain_hash_at(self, commit_ts):
        assert commit_ts <= self.commit_ts
        return chain(commit_ts)

    def close(self):
        self.closed = True


class SomeNode:
    """Node n1 at commit_ts 10, with the others as told."""

    def __init__(self, *members, phase=Phase.SERVING):
        self.members = (member(1), *members)
        self.phase = phase
        self.views = []
        self.faults = []

    def status(self):
        return SimpleNamespace(
            name="n1", cluster_id="c", phase=self.phase, members=self.members, commit_ts=10
        )

    async def view(self, *, stale):
        assert stale
        self.views.append(SomeView(10))
        return self.views[-1]

    def give_up(self, error):
        self.faults.append(str(error))


class SomeChannels:
    """Other nodes by address: how far each is, and on which branch; what is not here is silent."""

    def __init__(self, **nodes):
        self.nodes = nodes
        self.asked = []

    async def unary(self, address, method, request, *, timeout_s):
        name = address.partition(":")[0]
        self.asked.append((name, method.name))
        if name not in self.nodes:
            raise Failure(Reason.OUTCOME_UNKNOWN, "no answer")
        commit_ts, branch = self.nodes[name]
        if method.name == "Status":
            return cluster_pb2.StatusResponse(
                name=name,
                cluster_id="another" if branch == b"else" else "c",
                commit_ts=commit_ts,
                chain_head=chain(commit_ts, branch),
            )
        assert request.consistency
        at = request.at.commit_ts
        return history_pb2.ResolveResponse(commit_ts=at, chain_hash=chain(at, branch))


def after(node, channels, rounds=1):
    async def compare():
        comparison = Comparison(node, channels, 10)
        return [await comparison.round() for _ in range(rounds)]

    settled = asyncio.run(compare())
    assert all(view.closed for view in node.views)
    return settled


GOOD, BAD, ELSE = b"good", b"bad", b"else"


def test_nodes_are_compared_as_far_as_both_have_come():
    node = SomeNode(member(2), member(3))
    channels = SomeChannels(n2=(7, GOOD), n3=(15, GOOD))
    assert after(node, channels) == [True]
    assert sorted(channels.asked) == [("n2", "Status"), ("n3", "Resolve"), ("n3", "Status")]
    assert not node.faults


@pytest.mark.parametrize("ahead", [5, 10, 15])
def test_a_node_that_the_others_contradict_stops_and_says_where(ahead):
    node = SomeNode(member(2), member(3))
    after(node, SomeChannels(n2=(ahead, BAD), n3=(ahead, BAD)))
    (fault,) = node.faults
    assert f"commit_ts {min(ahead, 10)}" in fault


def test_a_node_that_a_majority_confirms_goes_on_and_says_who_differs_once(caplog):
    caplog.set_level("WARNING", "statehouse")
    node = SomeNode(member(2), member(3))
    assert after(node, SomeChannels(n2=(10, GOOD), n3=(12, BAD)), rounds=5) == [True] * 5
    assert not node.faults
    assert [record.getMessage() for record in caplog.records] == ["A member has another record"]


def test_a_doubt_that_stays_counts_as_a_no():
    node = SomeNode(member(2), member(3))
    channels = SomeChannels(n3=(10, BAD))
    assert after(node, channels, rounds=DOUBTS_MAX - 1) == [False] * (DOUBTS_MAX - 1)
    assert not node.faults
    after(node, channels, rounds=DOUBTS_MAX)
    assert len(node.faults) == 1


def test_a_doubt_that_is_settled_is_forgotten():
    node, channels = SomeNode(member(2), member(3)), SomeChannels(n3=(10, BAD))
    comparison = Comparison(node, channels, 10)

    async def rounds():
        for _ in range(DOUBTS_MAX):
            for _ in range(DOUBTS_MAX - 1):
                assert not await comparison.round()
            channels.nodes["n2"] = (10, GOOD)
            assert await comparison.round()
            del channels.nodes["n2"]

    asyncio.run(rounds())
    assert not node.faults


def test_who_is_silent_no_voter_or_of_another_cluster_says_nothing():
    silent = SomeNode(member(2), member(3))
    assert after(silent, SomeChannels()) == [False]
    joining = SomeNode(member(2), member(3), member(4, voter=False))
    assert after(joining, SomeChannels(n2=(10, GOOD), n3=(10, GOOD), n4=(10, BAD))) == [True]
    moved = SomeNode(member(2), member(3, address=""), member(4, address="n2:1"))
    assert after(moved, SomeChannels(n2=(10, ELSE), n3=(10, BAD))) == [False]
    for node in (silent, joining, moved):
        assert not node.faults


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.SERVING])
def test_a_node_that_does_not_serve_compares_nothing(phase):
    channels = SomeChannels(n2=(10, BAD), n3=(10, BAD))
    assert after(SomeNode(member(2), member(3), phase=phase), channels) == [False]
    assert not channels.asked


def test_a_node_alone_asks_nobody():
    channels = SomeChannels()
    assert after(SomeNode(), channels) == [True]
    assert not channels.asked
