"""History: replay, tail, inspect."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def history(ctl):
    """Twelve commits of agent a: keys k00 to k11, the values their numbers."""
    for number in range(12):
        ctl("put", "a", f"k{number:02}", str(number))


def _lines(ended):
    assert ended.code == 0
    return ended.out.splitlines()


@pytest.mark.usefixtures("history")
def test_replay_is_one_readable_line_an_operation(ctl):
    lines = _lines(ctl("replay", "a"))
    assert len(lines) == 12
    assert lines[0].split() == ["12:00:00Z", "agent=a", "WRITE", "key=k00", "v=1", "0"]


@pytest.mark.usefixtures("history")
def test_replay_bounds_are_inclusive(ctl):
    lines = _lines(ctl("replay", "a", "--start-ts", "3", "--end-ts", "5"))
    assert [line.split()[3] for line in lines] == ["key=k02", "key=k03", "key=k04"]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_limit_bounds_what_is_shown(ctl, form):
    assert len(_lines(ctl("replay", "a", "--limit", "4", *form))) == 4
    assert len(_lines(ctl("replay", "a", "--limit", "0", *form))) == 12


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("form", [["--json"], ["-o", "json"]])
def test_replay_as_json_is_one_event_a_line(ctl, form):
    events = [json.loads(line) for line in _lines(ctl("replay", "a", *form))]
    assert [event["commit_ts"] for event in events] == list(range(1, 13))
    assert events[0]["operations"][0]["value"] == 0
    assert {"txn_id", "namespace", "agent_id"} <= events[0].keys()


@pytest.mark.usefixtures("history")
def test_verbose_replay_shows_payloads(ctl):
    shown = ctl("replay", "a", "--verbose", "--limit", "1").out
    assert "payload:" in shown
    assert "txn=" in shown


def test_an_empty_history_is_a_sentence_for_people_and_nothing_for_programs(ctl):
    assert ctl("replay", "nobody").out == "Agent 'nobody' has no events there.\n"
    for command in ("replay", "tail"):
        assert ctl(command, "nobody", "-o", "json").out == ""


@pytest.mark.usefixtures("history")
def test_tail_shows_the_last_operations(ctl):
    assert [line.split()[3] for line in _lines(ctl("tail", "a", "-n", "2"))] == [
        "key=k10",
        "key=k11",
    ]
    assert len(_lines(ctl("tail", "a"))) == 10
    assert _lines(ctl("tail", "a", "-n", "0")) == []
    assert len(_lines(ctl("tail", "a", "-n", "3", "-o", "json"))) == 3


@pytest.mark.usefixtures("history")
def test_inspect_counts_keys_and_events_and_shows_the_last_activity(ctl):
    shown = ctl("inspect", "a").out
    assert "Keys: 12\n" in shown
    assert "  ... and 2 more\n" in shown
    assert "Events: 12\n" in shown
    assert "key=k11" in shown.splitlines()[-1]
    assert "key=k05" not in shown


@pytest.mark.usefixtures("history")
def test_inspect_as_json_is_one_document(ctl):
    told = json.loads(ctl("inspect", "a", "-o", "json").out)
    assert (told["key_count"], told["event_count"], told["served_at"]) == (12, 12, 12)
    assert [event["commit_ts"] for event in told["recent"]] == [8, 9, 10, 11, 12]


def test_inspect_of_nobody_is_valid(ctl):
    assert "Events: 0" in ctl("inspect", "nobody").out
    assert json.loads(ctl("inspect", "nobody", "-o", "json").out)["key_count"] == 0
