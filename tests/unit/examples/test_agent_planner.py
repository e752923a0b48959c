"""The example agent's planners: decisions that depend on the recorded steps and on nothing else."""

from __future__ import annotations

import json

import pytest
from planner import FINAL, Action, ModelPlanner, PlanError, RulePlanner, Step

QUESTION = "How many lines of Python are there?"


def _played(question, results):
    """The actions of the built-in planner when each tool answers from `results`."""
    steps = []
    while True:
        # A new planner each time: it must not remember.
        action = RulePlanner().next_action(question, steps)
        steps.append(Step(action, results.get(action.tool, {})))
        if action.tool == FINAL:
            return [step.action for step in steps]


def test_the_rules_list_count_add_note_report_and_answer():
    results = {
        "list_files": {"folders": {"a": 2, "b": 1}, "files": 3},
        "count": {"count": 10},
        "calculate": {"value": 20},
    }
    actions = _played(QUESTION, results)
    assert [action.tool for action in actions] == [
        "list_files",
        "count",
        "count",
        "calculate",
        "calculate",
        "note",
        "write_report",
        "final",
    ]
    assert actions[3].arguments == {"expression": "10 + 10"}
    assert actions[-1].arguments["text"].startswith("20 lines in 3 .py files")


def test_the_same_steps_lead_to_the_same_action():
    steps = [Step(RulePlanner().next_action(QUESTION, []), {"folders": {"a": 1}, "files": 1})]
    assert RulePlanner().next_action(QUESTION, steps) == RulePlanner().next_action(QUESTION, steps)


def test_a_folder_without_such_files_is_answered_at_once():
    actions = _played(QUESTION, {"list_files": {"folders": {}, "files": 0}})
    assert [action.tool for action in actions] == ["list_files", "final"]


def test_many_folders_share_the_last_count():
    folders = {f"f{number:02}": 1 for number in range(30)}
    actions = _played(QUESTION, {"list_files": {"folders": folders, "files": 30}})
    counted = [
        f for action in actions if action.tool == "count" for f in action.arguments["folders"]
    ]
    assert counted == list(folders)


def test_quoted_text_and_words_are_recognized():
    listed = {"list_files": {"folders": {"a": 1}, "files": 1}}
    assert _played("How often is 'commit_ts' in markdown?", listed)[1].arguments == {
        "folders": ["a"],
        "suffix": ".md",
        "what": "commit_ts",
    }
    assert _played("How many words?", listed)[1].arguments["what"] == "words"


def test_a_model_decides_from_the_question_and_the_recorded_steps():
    prompts = []

    def model(prompt):
        prompts.append(prompt)
        return 'Sure: {"tool": "count", "arguments": {"what": "lines"}, "why": "to know"} Done.'

    planner = ModelPlanner(model, ["count"])
    step = Step(Action("list_files", {}, ""), {"files": 3})
    action = planner.next_action(QUESTION, [step])
    assert action == Action("count", {"what": "lines"}, "to know")
    assert QUESTION in prompts[0]
    assert json.dumps({"files": 3}) in prompts[0]


@pytest.mark.parametrize("reply", ["", "I do not know", "{}", '{"tool": "x"}', "{broken}"])
def test_a_model_that_gives_no_action_is_an_error(reply):
    with pytest.raises(PlanError, match="answered no action"):
        ModelPlanner(lambda _: reply, []).next_action(QUESTION, [])
