"""A leader is lost: how soon there is another one, when chance is kind and when it is not."""

from __future__ import annotations

from random import Random

import pytest
from statehouse_cluster.timing import Timing

from tests.simulation.stage import EngineStage

TIMING = Timing()
TICK_S = 0.01


@pytest.fixture
def stage():
    """Of A, B and C, C led; it is gone, and A and B notice it in the same moment."""
    stage = EngineStage("ABC")
    stage.campaign("C")
    stage.settle("ABC")
    assert stage.leads("C")
    stage.isolate("C")
    stage.wait(TIMING.election_max_s)
    for name in "AB":
        stage.nodes[name]._random = Random(name)
        stage.nodes[name]._SyncObj__raftElectionDeadline = stage.now
    yield stage
    stage.close()


def pass_time(stage):
    """Everything takes one tick to arrive, so what both do in one tick crosses on the way."""
    stage.wait(TICK_S)
    for name in "AB":
        stage._round(name)
    under_way = {pair: len(stage.queues[pair]) for pair in (("A", "B"), ("B", "A"))}
    for pair, count in under_way.items():
        stage.deliver(*pair, count)


def terms(stage):
    return {stage.nodes[name].term() for name in "AB"}


def leader_after_s(stage):
    began_s = stage.now
    while not (stage.leads("A") or stage.leads("B")):
        assert stage.now < began_s + 10 * TIMING.election_max_s
        pass_time(stage)
    return stage.now - began_s


def test_a_split_vote_does_not_cost_another_election_timeout(stage):
    lost_in = terms(stage)
    while terms(stage) == lost_in:
        pass_time(stage)
    assert not stage.leads("A")
    assert not stage.leads("B")
    assert leader_after_s(stage) < TIMING.election_min_s / 2


def test_a_candidate_waits_longer_each_time_and_never_longer_than_for_a_leader(stage):
    candidate = stage.nodes["A"]
    waits_s = []
    for _ in range(12):
        stage.campaign("A")
        waits_s.append(candidate._SyncObj__raftElectionDeadline - stage.now)
    assert waits_s[0] < waits_s[1] < waits_s[2]
    assert max(waits_s) <= TIMING.election_max_s
    assert waits_s[-1] >= TIMING.election_min_s


def test_a_leader_that_is_heard_ends_a_candidates_haste(stage):
    leader_after_s(stage)
    stage.settle("AB")
    follower = next(stage.nodes[name] for name in "AB" if not stage.leads(name))
    assert follower._SyncObj__generateRaftTimeout() >= TIMING.election_min_s
    assert follower._campaigns == 0
