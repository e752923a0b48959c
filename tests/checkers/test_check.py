from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from tests.checkers import linearizability, traffic
from tests.checkers.check import check_all, check_replicas
from tests.checkers.history import Commit, MalformedHistory


@pytest.fixture
def made():
    return traffic.make(random.Random(7), traffic.Traffic(operations=200))


def test_a_good_run_is_reported_with_its_figures(made):
    report = check_all(*made)
    assert report.ok
    assert report.operations == len(made.history)
    assert report.counts["events"] == len(made.events)
    committed = [one for one in made.history if isinstance(one, Commit) and one.outcome == "ok"]
    assert report.counts["commit ok"] == len(committed)
    assert str(report).startswith(f"ok: {report.operations} operations (")


def test_a_run_of_nothing_is_reported_as_nothing():
    assert check_all([], []).operations == 0


def test_both_checkers_have_their_say(made):
    history = list(made.history)
    place = next(place for place, one in enumerate(history) if type(one).__name__ == "Get")
    row = replace(history[place].rows[0], value="nowhere")
    history[place] = replace(
        history[place], rows=(row, *history[place].rows[1:]), stale=False, at=None
    )
    report = check_all(history, made.events)
    assert not report.ok
    rules = {violation.rule for violation in report.violations}
    assert {"reads_are_the_state", "linearizability"} <= rules
    assert "BAD: " in str(report)
    assert "nowhere" in str(report)


def test_what_could_not_be_decided_is_not_ok(made):
    report = check_all(*made, linearizability.Limits(situations_max=3))
    assert not report.ok
    assert report.violations == ()
    assert all(f"undecided: key '{key}'" in str(report) for key in report.undecided)


def test_a_wrong_recording_is_no_verdict(made):
    with pytest.raises(MalformedHistory):
        check_all([*made.history, *made.history], made.events)


def test_nodes_that_tell_different_pasts_are_told_apart(made):
    events = made.events
    assert check_replicas({"n1": events, "n2": events[:50]}) == []
    other = [*events[:40], replace(events[40], chain="other"), *events[41:]]
    found = check_replicas({"n1": events, "n2": other})
    assert [violation.rule for violation in found] == ["replicas_agree"]
