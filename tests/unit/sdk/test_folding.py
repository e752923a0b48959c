"""Folding: events leave the state that they tell of, and its hash tells two states apart."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from statehouse_sdk import (
    LabelMark,
    Operation,
    ReplayEvent,
    Snapshot,
    StateResult,
    replay_state,
    state_hash,
)


def event(commit_ts, *operations):
    return ReplayEvent(f"t{commit_ts}", commit_ts, list(operations), agent_id="a")


EVENTS = [
    event(3, Operation("b", 1, 1), Operation("a", {"x": [1.0, None]}, 1)),
    event(5, Operation("b", 2, 2), Operation("b", 3, 3), Operation("gone", b"\x00", 1)),
    event(6, Operation("", None, 1, mark=LabelMark("then", 5))),
    event(8, Operation("gone", None, 2, deleted=True), Operation("ü", b"\xff", 1)),
]


def test_events_leave_the_state_they_tell_of():
    state = replay_state(EVENTS)
    assert {key: (one.value, one.version, one.commit_ts) for key, one in state.records.items()} == {
        "a": ({"x": [1.0, None]}, 1, 3),
        "b": (3, 3, 5),
        "ü": (b"\xff", 1, 8),
    }
    assert list(state.records) == ["a", "b", "ü"]
    assert (state.namespace, state.agent_id, state.commit_ts) == ("default", "a", 8)


def test_no_events_leave_nothing():
    assert replay_state([]).records == {}
    assert len(state_hash(replay_state([]))) == 32


def test_the_hash_covers_what_a_state_is_and_not_when_it_came_about():
    state = replay_state(EVENTS)
    later = {key: replace(one, commit_ts=99, served_at=99) for key, one in state.records.items()}
    turned = dict(reversed(later.items()))
    assert state_hash(Snapshot("other", "b", 99, turned)) == state_hash(state)


def one_key(value, version=1, key="k"):
    return Snapshot("n", "a", 1, {key: StateResult(value, version, 1, True, key)})


def test_the_hash_is_that_of_these_bytes_for_good():
    parts = [b"k", b"json", '{"a":"ü"}'.encode(), b"12"]
    written = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert state_hash(one_key({"a": "ü"}, version=12)) == sha256(written).digest()


@pytest.mark.parametrize(
    "other",
    [
        one_key("1"),
        one_key(1.0),
        one_key(True),
        one_key(b"1"),
        one_key(1, version=2),
        one_key(1, key="l"),
        Snapshot("n", "a", 1, {}),
    ],
)
def test_any_other_state_has_another_hash(other):
    assert state_hash(other) != state_hash(one_key(1))


def test_keys_and_values_do_not_run_together():
    ab = Snapshot("n", "a", 1, {key: StateResult("", 1, 1, True, key) for key in ("a", "b")})
    assert state_hash(ab) != state_hash(one_key("", key="ab"))


def test_what_json_can_hold_and_utf8_cannot_has_a_hash_too():
    assert state_hash(one_key("\ud800"))
