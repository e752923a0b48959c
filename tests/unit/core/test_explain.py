"""The way back from a commit: nearest first, each once, no more kept than is told."""

from __future__ import annotations

from random import Random

import pytest

from statehouse.core.explain import Chain


def walked(start, causes, limit=1000):
    chain = Chain(start, limit)
    found = []
    while (step := chain.next()) is not None:
        found.append(step)
        chain.led_by(causes.get(step[0], ()))
    return found


def test_a_commit_without_causes_is_alone():
    assert walked(7, {}) == [(7, 0)]


def test_the_nearest_come_first_and_the_latest_of_them():
    causes = {9: [3, 5], 5: [4, 1], 3: [2], 4: [2]}
    assert walked(9, causes) == [(9, 0), (5, 1), (3, 1), (4, 2), (2, 2), (1, 2)]


def test_each_commit_is_told_once_at_its_least_distance():
    causes = {9: [8, 1, 8], 8: [7, 1], 7: [1]}
    assert walked(9, causes) == [(9, 0), (8, 1), (1, 1), (7, 2)]


@pytest.mark.parametrize("limit", range(6))
def test_a_limit_cuts_the_end(limit):
    causes = {9: [3, 5], 5: [4, 1], 3: [2], 4: [2]}
    assert walked(9, causes, limit) == walked(9, causes)[:limit]


@pytest.mark.parametrize("seed", range(20))
def test_no_more_are_kept_than_may_be_told_and_none_is_missed(seed):
    random = Random(seed)
    causes = {
        commit_ts: random.sample(range(1, commit_ts), min(commit_ts - 1, random.randint(0, 40)))
        for commit_ts in range(1, 200)
    }
    everything = walked(199, causes)
    assert everything == sorted(everything, key=lambda step: (step[1], -step[0]))
    chain, found = Chain(199, 30), []
    while (step := chain.next()) is not None:
        found.append(step)
        for cause in causes[step[0]]:
            chain.led_by([cause])
            assert len(chain._beyond) <= 60
    assert found == everything[:30]
