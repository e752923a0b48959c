from __future__ import annotations

import pytest

from statehouse.lifecycle import TRANSITIONS, Event, Phase, can_answer, can_tell_status, following

TOLD = {
    Event.FORMS: Phase.FORMING,
    Event.JOINS: Phase.JOINING,
    Event.VOTES: Phase.SERVING,
    Event.REMOVED: Phase.REMOVED,
}


def test_every_phase_has_an_answer_to_every_event():
    assert set(TRANSITIONS) == set(Phase)
    for phase in Phase:
        assert set(TRANSITIONS[phase]) == set(Event)


@pytest.mark.parametrize("event", Event)
def test_a_failed_node_stays_failed(event):
    assert following(Phase.FAILED, event) is Phase.FAILED


@pytest.mark.parametrize("event", [event for event in Event if event is not Event.FAULT])
def test_a_draining_node_stays_draining(event):
    assert following(Phase.DRAINING, event) is Phase.DRAINING


@pytest.mark.parametrize("phase", Phase)
def test_a_fault_fails_a_node_in_any_phase(phase):
    assert following(phase, Event.FAULT) is Phase.FAILED


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.FAILED])
def test_a_node_in_any_phase_can_be_stopped(phase):
    assert following(phase, Event.STOP) is Phase.DRAINING


@pytest.mark.parametrize("event", list(TOLD))
def test_a_starting_node_goes_where_consensus_says(event):
    assert following(Phase.STARTING, event) is TOLD[event]


@pytest.mark.parametrize("event", [Event.FORMS, Event.JOINS])
def test_a_voter_never_goes_back_to_forming_or_joining(event):
    assert following(Phase.SERVING, event) is Phase.SERVING
    assert following(Phase.REMOVED, event) is Phase.REMOVED


def test_a_removal_that_did_not_survive_an_election_is_taken_back():
    assert following(Phase.SERVING, Event.REMOVED) is Phase.REMOVED
    assert following(Phase.REMOVED, Event.VOTES) is Phase.SERVING


@pytest.mark.parametrize("phase", Phase)
def test_only_a_serving_node_that_knows_a_leader_can_answer(phase):
    assert can_answer(phase, leader_known=True) is (phase is Phase.SERVING)
    assert not can_answer(phase, leader_known=False)


def test_status_is_told_while_forming_joining_and_after_removal():
    telling = {phase for phase in Phase if can_tell_status(phase)}
    assert telling == {Phase.FORMING, Phase.JOINING, Phase.SERVING, Phase.REMOVED}
