"""replay --step and --verify, and the narrower replays."""

from __future__ import annotations

import json

import pytest
from fake_client import FakeClient
from statehouse_sdk.models import Snapshot


@pytest.fixture
def written(ctl):
    ctl("put", "a", "goal", '{"find": "water", "way": [1, 2]}', "--reason", "it is dry")
    ctl("put", "other", "k", "1")
    ctl("put", "a", "goal", '{"find": "shade", "way": [1, 2, 3]}')
    ctl("put", "a", "note", '"hot"')
    ctl("delete", "a", "note")


def _walk(ctl, *commands, options=()):
    ended = ctl("replay", "a", "--step", *options, stdin="\n".join(commands) + "\n")
    assert ended.code == 0, ended.err
    return ended


@pytest.mark.usefixtures("written")
def test_each_step_shows_what_changed_and_who_and_when(ctl):
    shown = _walk(ctl, "n", "n", "n", "q").out.splitlines()
    assert shown == [
        "commit_ts 1  2031-05-01 12:00:00Z",
        '  actor: "statehousectl"',
        '  reason: "it is dry"',
        '  + goal v1  {"find":"water","way":[1,2]}',
        "commit_ts 3  2031-05-01 12:02:00Z",
        '  actor: "statehousectl"',
        '  ~ goal v2  {"find":"shade","way":[1,2,3]}',
        '      ~ find: "water" -> "shade"',
        "      + way[2]: 3",
        "commit_ts 4  2031-05-01 12:03:00Z",
        '  actor: "statehousectl"',
        '  + note v1  "hot"',
        "commit_ts 5  2031-05-01 12:04:00Z",
        '  actor: "statehousectl"',
        "  - note v2",
    ]


def _steps(ended):
    lines = [line.split() for line in ended.out.splitlines()]
    return [int(words[1]) for words in lines if words[0] == "commit_ts"]


@pytest.mark.usefixtures("written")
def test_it_goes_forward_and_back_and_to_a_point(ctl):
    ended = _walk(ctl, "", "n", "p", "g 4", "g 2", "g 2031-05-01T12:04:00Z")
    assert _steps(ended) == [1, 3, 4, 3, 4, 3, 5]
    assert ended.err == ""


@pytest.mark.usefixtures("written")
def test_it_stays_where_it_is_at_either_end_and_for_what_it_does_not_know(ctl):
    ended = _walk(ctl, "p", "g 5", "n", "g 99", "g nowhere", "g", "fly", "p")
    assert _steps(ended) == [1, 5, 4]
    notes = ended.err.splitlines()
    assert notes[:2] == ["this is the first event", "this is the last event"]
    told = zip(("from 99", "nowhere", "empty", "'fly'"), notes[2:], strict=True)
    assert all(word in note for word, note in told), notes


@pytest.mark.usefixtures("written")
def test_it_tells_what_it_understands(ctl):
    shown = _walk(ctl, "h").err.splitlines()
    assert [line[0] for line in shown] == ["n", "g", "s", "q"]


@pytest.mark.usefixtures("written")
def test_the_state_is_that_of_the_step(ctl):
    shown = _walk(ctl, "s", "g 4", "s", "s goal", "s draft").out.splitlines()
    assert shown.count("state at commit_ts 1: 1 keys") == 1
    after = shown[shown.index("state at commit_ts 4: 2 keys") + 1 :]
    assert after[:2] == ['  goal v2  {"find":"shade","way":[1,2,3]}', '  note v1  "hot"']
    assert after[2:4] == ["goal v2", "{"]


@pytest.mark.usefixtures("written")
def test_a_walk_can_be_bounded_and_can_follow_a_run(ctl, fake):
    assert _steps(_walk(ctl, "n", "n", options=("--start-ts", "2", "--until", "3"))) == [3]
    with FakeClient(fake, "", "default") as client:
        tx = client.begin_transaction(run_id="r-1")
        tx.write("a", "goal", 1)
        tx.commit()
    assert _steps(_walk(ctl, "n", options=("--run", "r-1"))) == [6]
    assert len(ctl("replay", "a", "--run", "r-1").out.splitlines()) == 1


@pytest.mark.usefixtures("written")
def test_steps_can_be_read_by_programs(ctl):
    ended = _walk(ctl, "n", "s", "s goal", "h", options=("--json",))
    event, after, state, key = (json.loads(line) for line in ended.out.splitlines())
    assert (event["commit_ts"], after["commit_ts"]) == (1, 3)
    assert list(state["records"]) == ["goal"]
    assert key["version"] == 2


def test_there_is_nothing_to_step_through(ctl):
    assert _walk(ctl, "n").out == "Agent 'a' has no events there.\n"


@pytest.mark.usefixtures("written")
def test_a_replay_gives_the_state_that_the_cluster_has(ctl):
    ended = ctl("replay", "a", "--verify")
    assert (ended.code, ended.out.split(": ")[1].split(",")[0]) == (0, "1 keys")
    told = json.loads(ctl("replay", "a", "--verify", "--until", "4", "-o", "json").out)
    assert (told["ok"], told["commit_ts"], told["keys"]) == (True, 4, 2)
    assert told["replayed_hash"] == told["state_hash"]


@pytest.mark.usefixtures("written")
def test_a_replay_that_gives_another_state_is_exit_code_one(ctl, monkeypatch):
    def forged(client, agent_id, at=None):
        return Snapshot(client.namespace, agent_id, 5, {})

    monkeypatch.setattr(FakeClient, "snapshot", forged)
    ended = ctl("replay", "a", "--verify")
    assert (ended.code, ended.out) == (1, "")
    assert "statehousectl verify" in ended.err
    assert json.loads(ctl("replay", "a", "--verify", "-o", "json").out)["ok"] is False
