"""Whether a node may go on, judged from what the other members tell of their records."""

from __future__ import annotations

from itertools import product

import pytest

from statehouse.comparing import Told, Verdict, fault_of, judge

OWN, OTHER = b"\x01" * 32, b"\x02" * 32


def agrees(name="n2", commit_ts=10):
    return Told(name, f"{name}:1", commit_ts, OWN, OWN)


def differs(name="n3", commit_ts=10):
    return Told(name, f"{name}:1", commit_ts, OTHER, OWN)


@pytest.mark.parametrize(
    ("voters", "told", "verdict"),
    [
        (1, [], Verdict.SOUND),
        (3, [], Verdict.SOUND),
        (3, [agrees()], Verdict.SOUND),
        (3, [agrees(), agrees("n3")], Verdict.SOUND),
        # One of the three is wrong: it alone has no majority.
        (3, [agrees(), differs()], Verdict.CONFIRMED),
        (3, [differs("n2"), differs()], Verdict.WRONG),
        # The third is silent and could confirm either.
        (3, [differs()], Verdict.DOUBTFUL),
        # Of two, nobody knows which is right: neither may go on.
        (2, [differs()], Verdict.WRONG),
        (5, [agrees(), agrees("n3"), differs("n4"), differs("n5")], Verdict.CONFIRMED),
        (5, [agrees(), differs("n3"), differs("n4"), differs("n5")], Verdict.WRONG),
        (5, [agrees(), differs("n3"), differs("n4")], Verdict.DOUBTFUL),
        (4, [agrees(), differs("n3"), differs("n4")], Verdict.WRONG),
        (4, [agrees(), agrees("n3"), differs("n4")], Verdict.CONFIRMED),
    ],
)
def test_a_node_goes_on_only_with_a_majority_when_somebody_differs(voters, told, verdict):
    assert judge(voters, told) is verdict


def test_who_lags_behind_the_difference_confirms_nothing():
    assert judge(3, [agrees(commit_ts=9), differs(commit_ts=10)]) is Verdict.DOUBTFUL
    assert judge(3, [agrees(commit_ts=10), differs(commit_ts=10)]) is Verdict.CONFIRMED
    # It agrees as far as the one, but the other was found further on.
    told = [agrees(commit_ts=20), differs("n3", 10), differs("n4", 30), agrees("n5", 20)]
    assert judge(5, told) is Verdict.DOUBTFUL


def test_of_a_sound_majority_none_ever_stops_and_who_is_wrong_always_does():
    """Every way to be silent or lag: right ones are 3 of 5, so they never come to WRONG."""
    for ones in product(("silent", "lags", "told"), repeat=4):
        right = [
            differs(f"n{number}")
            if number > 3
            else agrees(f"n{number}", 10 if one == "told" else 5)
            for number, one in enumerate(ones, 2)
            if one != "silent" and (number <= 3 or one == "told")
        ]
        assert judge(5, right) is not Verdict.WRONG
    everybody = [differs(f"n{number}") for number in range(2, 5)] + [agrees("n5")]
    assert judge(5, everybody) is Verdict.WRONG


def test_the_fault_names_the_place_both_hashes_who_differs_and_what_to_do():
    text = str(fault_of("n1", 3, [differs("n3", 12), differs("n2", 10)]))
    assert "commit_ts 10" in text
    assert OWN.hex() in text
    assert OTHER.hex() in text
    assert "n2 at n2:1, n3 at n3:1 differ," in text
    assert "no majority of the 3 members confirms n1" in text
    assert "remove n1 from the cluster and add a node with a new name" in text
