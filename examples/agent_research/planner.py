"""Owns the decisions: given a question and what was done so far, what to do next.

To plug in a real language model, write a function that takes the prompt and returns the model's
text, and run `agent.py --model my_module:my_function`; `ModelPlanner` does the rest. The built-in
`RulePlanner` needs no model: it counts things in a repository. A planner keeps nothing in memory
between two calls: all it knows is in the steps, so it goes on after a crash as if nothing happened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

NOTE = "note"
FINAL = "final"
# So many folders get a step of their own; the rest share one.
FOLDERS_APART_MAX = 20
SUFFIXES = {
    "python": ".py",
    "markdown": ".md",
    "documentation": ".md",
    "proto": ".proto",
    "shell": ".sh",
    "toml": ".toml",
    "json": ".json",
}


@dataclass(frozen=True, slots=True)
class Action:
    """What to do next: a tool with its arguments; or `note` or `final`, each with a text."""

    tool: str
    arguments: dict[str, Any]
    why: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Step:
    """A decided action, and its result once it is done."""

    action: Action
    result: dict[str, Any] | None


class PlanError(Exception):
    """The planner gave no usable action."""


class Planner(Protocol):
    """Decides; `steps` are all done."""

    def outline(self, question: str) -> list[str]:
        """The plan in words, for people who read the history."""
        ...

    def next_action(self, question: str, steps: Sequence[Step]) -> Action: ...


class Model(Protocol):
    """A language model: a prompt in, its text out."""

    def __call__(self, prompt: str) -> str: ...


class ModelPlanner:
    """Lets a language model decide; it must answer with one JSON object an action."""

    def __init__(self, model: Model, tools: Sequence[str]) -> None:
        self._model = model
        self._tools = tools

    def outline(self, question: str) -> list[str]:
        text = self._model(f"In at most six short lines, how would you find out: {question}")
        return text.splitlines()

    def next_action(self, question: str, steps: Sequence[Step]) -> Action:
        reply = self._model(self._prompt(question, steps))
        try:
            fields = json.loads(reply[reply.index("{") : reply.rindex("}") + 1])
            return Action(str(fields["tool"]), dict(fields["arguments"]), str(fields.get("why")))
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"the model answered no action ({error}): {reply[:200]!r}") from None

    def _prompt(self, question: str, steps: Sequence[Step]) -> str:
        done = "\n".join(
            json.dumps({"action": step.action.to_dict(), "result": step.result}) for step in steps
        )
        return (
            f"Question: {question}\nTools: {', '.join([*self._tools, NOTE, FINAL])}\n"
            f"Done so far, one step a line:\n{done or '(nothing)'}\n"
            'Answer with one JSON object only: {"tool": ..., "arguments": {...}, "why": ...}; '
            'note and final take {"text": ...}. Use final when the question is answered.'
        )


@dataclass(frozen=True, slots=True)
class Subject:
    """What a question asks to count: `what` is "lines", "words", or a quoted text."""

    suffix: str
    what: str

    @classmethod
    def of(cls, question: str) -> Subject:
        words = question.lower()
        suffix = next((s for word, s in SUFFIXES.items() if word in words), "")
        quoted = re.search(r"[\"']([^\"']+)[\"']", question)
        if quoted:
            return cls(suffix, quoted[1])
        return cls(suffix, "words" if "word" in words else "lines")

    @property
    def files(self) -> str:
        return f"{self.suffix} files" if self.suffix else "files"

    @property
    def counted(self) -> str:
        return self.what if self.what in ("lines", "words") else f"occurrences of {self.what!r}"


Script = Generator[Action, dict[str, Any], None]


class RulePlanner:
    """Answers "how many lines, words or occurrences of 'text' are in the ... files" by counting.

    The plan is a generator that asks for one action after the other. To know the next action it is
    run again from its start over the recorded results, which leads to the same place every time.
    """

    def outline(self, question: str) -> list[str]:
        subject = Subject.of(question)
        return [
            f"list the {subject.files} by folder",
            f"count the {subject.counted} in each folder",
            "add them up, and take the average",
            "note which folder has the most",
            "write a report, and answer",
        ]

    def next_action(self, question: str, steps: Sequence[Step]) -> Action:
        script = _count_everything(question, Subject.of(question))
        action = next(script)
        for step in steps:
            try:
                action = script.send(step.result or {})
            except StopIteration:
                raise PlanError("the question was answered already") from None
        return action


def _count_everything(question: str, subject: Subject) -> Script:
    listed = yield Action("list_files", {"suffix": subject.suffix}, "to see what there is")
    if not listed.get("files"):
        yield _final(f"There are no {subject.files} to look at.")
        return
    counts: dict[str, int] = {}
    for group in _groups(list(listed["folders"])):
        arguments = {"folders": group, "suffix": subject.suffix, "what": subject.what}
        result = yield Action("count", arguments, f"to count in {' and '.join(group)}")
        counts[" and ".join(group)] = result.get("count", 0)
    total = yield Action("calculate", {"expression": " + ".join(map(str, counts.values()))}, "sum")
    expression = f"{total.get('value', 0)} / {listed['files']}"
    average = yield Action("calculate", {"expression": expression}, "average per file")
    most = max(counts, key=lambda folder: counts[folder])
    yield Action(NOTE, {"text": f"{most} has the most: {counts[most]}"}, "worth remembering")
    answer = (
        f"{total.get('value')} {subject.counted} in {listed['files']} {subject.files}, "
        f"{average.get('value', 0):.1f} a file; the most are in {most} ({counts[most]})."
    )
    rows = "\n".join(f"| {folder} | {count} |" for folder, count in counts.items())
    report = f"# {question}\n\n{answer}\n\n| folder | {subject.counted} |\n|---|---|\n{rows}\n"
    yield Action(
        "write_report", {"name": "report.md", "text": report}, "so that others can read it"
    )
    yield _final(answer)


def _final(text: str) -> Action:
    return Action(FINAL, {"text": text}, "the question is answered")


def _groups(folders: list[str]) -> list[list[str]]:
    apart, rest = folders[:FOLDERS_APART_MAX], folders[FOLDERS_APART_MAX:]
    return [[folder] for folder in apart] + ([rest] if rest else [])
