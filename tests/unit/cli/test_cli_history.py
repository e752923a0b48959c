"""How a state came to be: history, blame, explain, diff, labels."""

from __future__ import annotations

import json

import pytest
from statehouse_sdk.history_models import Read


@pytest.fixture
def written(ctl):
    ctl("put", "a", "goal", '{"find": "water", "where": "north"}', "--reason", "it is dry")
    ctl("put", "a", "goal", '{"find": "water", "where": "south"}')
    ctl("put", "a", "draft", "1")
    ctl("delete", "a", "draft")


def _lines(ended):
    assert ended.code == 0, ended.err
    return ended.out.splitlines()


@pytest.mark.usefixtures("written")
def test_history_is_one_line_a_version_with_when_who_and_why(ctl):
    assert _lines(ctl("history", "a", "goal")) == [
        "v=1  ts=1  2031-05-01 12:00:00Z  actor=statehousectl  (it is dry)  "
        '{"find":"water","where":"north"}',
        'v=2  ts=2  2031-05-01 12:01:00Z  actor=statehousectl  {"find":"water","where":"south"}',
    ]
    assert _lines(ctl("history", "a", "draft"))[-1].endswith("  deleted")


@pytest.mark.usefixtures("written")
def test_history_can_begin_at_the_end_and_be_cut(ctl):
    newest = _lines(ctl("history", "a", "goal", "--newest-first", "--limit", "1", "-o", "json"))
    assert [json.loads(line)["version"] for line in newest] == [2]


def test_a_key_that_never_was_has_no_history(ctl):
    ended = ctl("history", "a", "nothing")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "Key not found: agent 'a' never had 'nothing'\n"


@pytest.mark.usefixtures("written")
def test_blame_tells_who_set_each_key_and_field(ctl):
    shown = [line.split()[:3] for line in _lines(ctl("blame", "a"))]
    assert shown == [
        ["KEY", "VERSION", "COMMIT_TS"],
        ["goal", "2", "2"],
        [".find", "1", "1"],
        [".where", "2", "2"],
    ]
    assert len(_lines(ctl("blame", "a", "--no-fields"))) == 2
    told = json.loads(ctl("blame", "a", "--at", "1", "-o", "json").out)
    assert [(key["key"], key["last"]["version"]) for key in told] == [("goal", 1)]


def test_blame_of_nobody_is_a_sentence_for_people_and_an_empty_list_for_programs(ctl):
    assert ctl("blame", "a", "--prefix", "x").out == (
        "Agent 'a' has no keys beginning with 'x' there.\n"
    )
    assert json.loads(ctl("blame", "a", "-o", "json").out) == []


@pytest.mark.usefixtures("written")
def test_explain_leads_back_to_what_was_read(ctl, fake):
    ctl("put", "a", "step", '"go south"')
    fake.past.reads[5] = (Read("default", "a", "goal", 2, 2),)
    tree = "\n".join(_lines(ctl("explain", "a", "step")))
    assert "goal" in tree
    told = json.loads(ctl("explain", "a", "step", "-o", "json").out)
    assert [commit["commit_ts"] for commit in told["commits"]] == [5, 2]


@pytest.mark.usefixtures("written")
def test_explain_says_when_commits_were_left_out(ctl, fake):
    fake.past.reads[2] = (Read("default", "a", "goal", 1, 1),)
    cut = ctl("explain", "a", "goal", "--limit", "1")
    assert (cut.code, "further back" in cut.out) == (0, True)
    assert "further back" not in ctl("explain", "a", "goal", "--limit", "2").out


def test_explain_of_a_key_that_is_not_there_is_exit_code_one(ctl):
    ended = ctl("explain", "a", "nothing")
    assert (ended.code, ended.out) == (1, "")
    assert "Key not found" in ended.err


@pytest.mark.usefixtures("written")
def test_diff_marks_what_came_went_and_changed(ctl):
    shown = "\n".join(_lines(ctl("diff", "a", "1", "3")))
    assert "+ draft" in shown
    assert "~ goal" in shown
    assert "where" in shown
    assert "find" not in shown
    assert "- draft" in "\n".join(_lines(ctl("diff", "a", "3")))


@pytest.mark.usefixtures("written")
def test_diff_can_end_as_diff_does(ctl):
    assert ctl("diff", "a", "2", "--exit-code").code == 0
    assert ctl("diff", "a", "2", "--exit-code").err == "nothing differs\n"
    assert ctl("diff", "a", "1", "--exit-code").code == 1
    assert ctl("diff", "a", "1").code == 0
    beyond = ctl("diff", "a", "99", "--exit-code")
    assert (beyond.code, "99" in beyond.err) == (2, True)
    assert ctl("diff", "a", "99").code == 1


@pytest.mark.usefixtures("written")
def test_diff_compares_two_agents(ctl):
    ctl("put", "b", "goal", "1")
    told = json.loads(ctl("diff", "a", "--with", "b", "-o", "json").out)
    assert (told["agent_id"], told["other"]) == ("a", "b")
    assert [key["key"] for key in told["keys"]] == ["goal"]
    assert json.loads(ctl("diff", "a", "2", "--prefix", "z", "-o", "json").out)["keys"] == []


@pytest.mark.usefixtures("written")
def test_a_label_stands_for_its_point(ctl):
    assert ctl("label", "set", "a", "before", "--at", "1").out == "before is commit_ts 1\n"
    assert json.loads(ctl("get", "a", "goal", "--at", "before", "-o", "json").out)["version"] == 1
    assert "~ goal" in ctl("diff", "a", "before").out
    listed = _lines(ctl("label", "list", "a"))
    assert [line.split()[:2] for line in listed] == [["NAME", "COMMIT_TS"], ["before", "1"]]
    assert json.loads(ctl("label", "list", "a", "-o", "json").out)[0]["name"] == "before"
    assert ctl("label", "delete", "a", "before").out == "deleted label before\n"
    gone = ctl("get", "a", "goal", "--at", "before")
    assert (gone.code, gone.err) == (1, "Error: agent 'a' has no label 'before'\n")


def test_an_agent_without_labels_says_so(ctl):
    assert ctl("label", "list", "a").out == "Agent 'a' has no labels.\n"
    assert json.loads(ctl("label", "list", "a", "-o", "json").out) == []
