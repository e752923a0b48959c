#!/usr/bin/env python3
"""A research agent that forgets nothing: asks a folder a question, step by step, all in Statehouse.

Each step is decided, done and remembered; kill the agent or a node at any moment, and `resume` goes
on at the very step. Without a command it reads commands: ask, resume, replay, reset, quit.
Environment: AGENT_ID (default "researcher"), STATEHOUSE_URL, STATEHOUSE_NAMESPACE.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from memory import Memory, Session
from planner import FINAL, NOTE, Action, ModelPlanner, PlanError, Planner, RulePlanner, Step
from tools import Toolbox

from statehouse import ConflictError, Statehouse, StatehouseError

STEPS_MAX = 100
QUESTION = "How many lines of Python are there, and which folder has the most?"


class Console:
    """Tells what happens: readable lines, or with `as_json` one JSON line a commit."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def acknowledged(self, what: str, commit_ts: int, versions: dict[str, int]) -> None:
        if self._as_json:
            told = {"what": what, "commit_ts": commit_ts, "versions": versions}
            print(json.dumps(told), flush=True)

    def say(self, text: str) -> None:
        if not self._as_json:
            print(text, flush=True)


class Agent:
    """Drives one question from state: everything it knows it reads from its memory."""

    def __init__(self, memory: Memory, options: argparse.Namespace, console: Console) -> None:
        self._memory = memory
        self._options = options
        self._console = console

    def ask(self, question: str) -> int:
        folder = str(Path(self._options.folder).resolve())
        planner = self._planner(Toolbox(Path(folder), self._options.reports))
        return self._work(self._memory.start(question, folder, planner.outline(question)))

    def resume(self) -> int:
        session = self._memory.current()
        if session is None:
            self._console.say("Nothing was asked yet.")
            return 1
        self._console.say(f"Session {session.id}, {len(session.steps)} steps: {session.question}")
        return self._work(session)

    def _work(self, session: Session) -> int:
        tools = Toolbox(Path(session.folder), self._options.reports)
        planner = self._planner(tools)
        while session.answer is None:
            if len(session.steps) >= STEPS_MAX:
                raise PlanError(f"no answer after {STEPS_MAX} steps: ask something smaller")
            self._pause()
            try:
                session = self._step(session, planner, tools)
            except ConflictError:
                # Another process did this step: what it remembered is where to go on.
                session = self._memory.current() or session
        self._console.say(f"\n{session.answer}")
        return 0

    def _step(self, session: Session, planner: Planner, tools: Toolbox) -> Session:
        steps = list(session.steps)
        if steps and steps[-1].result is None:
            action = steps.pop().action
        else:
            action = planner.next_action(session.question, steps)
            self._memory.decide(session, len(steps) + 1, action)
        number = len(steps) + 1
        self._console.say(f"{number:>3}  {action.tool}  {action.why}")
        done = Step(action, self._act(session, action, tools))
        self._memory.finish(session, number, done)
        answer = action.arguments["text"] if action.tool == FINAL else None
        return Session(session.id, session.question, session.folder, [*steps, done], answer)

    def _act(self, session: Session, action: Action, tools: Toolbox) -> dict[str, object]:
        if action.tool in (NOTE, FINAL):
            return {"text": str(action.arguments["text"])}
        arguments = dict(action.arguments)
        if action.tool == "write_report":
            # Named after the session: repeating the step writes the same file again.
            arguments["name"] = f"{session.id}-{arguments['name']}"
        return tools.run(action.tool, arguments)

    def _pause(self) -> None:
        # Whoever drives the agent decides when it goes on: a person, or a test that breaks things.
        if self._options.step_by_step and not sys.stdin.readline():
            raise KeyboardInterrupt

    def _planner(self, tools: Toolbox) -> Planner:
        if not self._options.model:
            return RulePlanner()
        module, _, function = self._options.model.partition(":")
        return ModelPlanner(getattr(importlib.import_module(module), function), tools.names)


def perform(client: Statehouse, options: argparse.Namespace, command: str, question: str) -> int:
    """One command, from the command line or from the prompt."""
    console = Console(as_json=options.json)
    memory = Memory(client, options.agent_id, console.acknowledged)
    agent = Agent(memory, options, console)
    match command:
        case "ask":
            return agent.ask(question or QUESTION)
        case "resume":
            return agent.resume()
        case "replay":
            for line in client.replay_pretty(options.agent_id, verbose=options.verbose):
                print(line)
        case "reset":
            console.say(f"Deleted {memory.reset()} keys; the history stays.")
        case _:
            print(f"{command!r} is no command: ask, resume, replay, reset, quit", file=sys.stderr)
            return 2
    return 0


def converse(client: Statehouse, options: argparse.Namespace) -> int:
    """Reads commands until quit or end of input."""
    current = Memory(client, options.agent_id, Console(as_json=False).acknowledged).current()
    if current is not None and current.answer is None:
        print(f"There is an unanswered question: {current.question}\nresume goes on with it.")
    while True:
        try:
            command, _, question = input("agent> ").strip().partition(" ")
        except EOFError:
            return 0
        if command in ("quit", "exit"):
            return 0
        if command:
            try:
                perform(client, options, command, question)
            except (StatehouseError, PlanError) as error:
                print(f"agent: {error}", file=sys.stderr)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", nargs="?", choices=["ask", "resume", "replay", "reset"])
    parser.add_argument("question", nargs="?", default="", help=f"default: {QUESTION}")
    parser.add_argument("--folder", default=".", help="the folder to look at")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="where reports go")
    parser.add_argument("--model", help="module:function, prompt to text; default: built-in rules")
    parser.add_argument("--step-by-step", action="store_true", help="wait for Enter before a step")
    parser.add_argument("--json", action="store_true", help="one JSON line for each commit")
    parser.add_argument("--verbose", action="store_true", help="replay with whole values")
    parser.add_argument("--agent-id", default=os.environ.get("AGENT_ID", "researcher"))
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    try:
        with Statehouse() as client:
            if options.command is None:
                return converse(client, options)
            return perform(client, options, options.command, options.question)
    except (StatehouseError, PlanError) as error:
        print(f"agent: {error}\n`resume` goes on from what is remembered.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads any more (`| head`); what is still buffered has no reader either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
