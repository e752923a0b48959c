"""Owns what the agent remembers, all of it in Statehouse: questions, plans, steps, results.

    session/current               which session is the newest
    session/ID/question           what was asked, and of which folder
    session/ID/plan               the plan in words
    session/ID/step/0001          a decided action; its version 2 says that it is done
    tool/ID/0001                  what a tool answered
    note/ID/0002, final/ID        a note; the answer

Every step is two transactions, each with preconditions: decide (the step must not exist), then
finish (the step must be as it was decided). Whoever comes second, be it another process on the same
session or this one after a crash, gets a ConflictError, reads what is there and goes on from it; so
a step is never recorded twice. The SDK makes each commit exactly-once across lost replies.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner import FINAL, NOTE, Action, Step

if TYPE_CHECKING:
    from statehouse import Statehouse, Transaction

ACTOR = "agent_research"
CURRENT = "session/current"
DELETES_A_TRANSACTION_MAX = 500

Acknowledged = Callable[[str, int, dict[str, int]], None]
"""Is told of each commit: what it was, its commit_ts, and the version it made of each key."""


@dataclass(frozen=True, slots=True)
class Session:
    """One question as far as it has come; only the last step may be without result."""

    id: str
    question: str
    folder: str
    steps: list[Step]
    answer: str | None


class Memory:
    """One agent's memory."""

    def __init__(self, client: Statehouse, agent_id: str, acknowledged: Acknowledged) -> None:
        self._client = client
        self._agent_id = agent_id
        self._acknowledged = acknowledged

    def start(self, question: str, folder: str, outline: list[str]) -> Session:
        """Remembers a new question and makes it the current one."""
        session = Session(uuid.uuid4().hex[:8], question, folder, [], None)
        prefix = f"session/{session.id}"
        with self._transaction(session.id, "asked") as tx:
            tx.write(self._agent_id, CURRENT, {"id": session.id})
            asked = {"question": question, "folder": folder}
            tx.write(self._agent_id, f"{prefix}/question", asked, if_absent=True)
            tx.write(self._agent_id, f"{prefix}/plan", {"steps": outline}, if_absent=True)
        self._tell("asked", tx, [CURRENT, f"{prefix}/question", f"{prefix}/plan"])
        return session

    def current(self) -> Session | None:
        """The newest session as it is now, all from one commit_ts; None if nothing was asked."""
        known = self._client.snapshot(self._agent_id).records
        if CURRENT not in known:
            return None
        identifier: str = _field(known[CURRENT].value, "id")
        prefix = f"session/{identifier}"
        asked = known[f"{prefix}/question"].value
        steps: list[Step] = []
        for key, record in known.items():
            if key.startswith(f"{prefix}/step/"):
                action = Action(**_field(record.value, "action"))
                done: bool = _field(record.value, "done")
                place = _result_key(identifier, len(steps) + 1, action)
                steps.append(Step(action, _field(known[place].value, "result") if done else None))
        final = known.get(f"final/{identifier}")
        answer = _field(_field(final.value, "result"), "text") if final else None
        return Session(
            identifier,
            _field(asked, "question"),
            _field(asked, "folder"),
            steps,
            answer,
        )

    def decide(self, session: Session, number: int, action: Action) -> None:
        """Remembers what will be done as this step; ConflictError if that is decided already."""
        key = _step_key(session.id, number)
        with self._transaction(session.id, "decided", number) as tx:
            record = {"action": action.to_dict(), "done": False}
            tx.write(self._agent_id, key, record, if_absent=True)
        self._tell("decided", tx, [key])

    def finish(self, session: Session, number: int, step: Step) -> None:
        """Remembers the step's result; ConflictError if it has one already."""
        key = _step_key(session.id, number)
        place = _result_key(session.id, number, step.action)
        with self._transaction(session.id, "done", number) as tx:
            outcome = {"tool": step.action.tool, "result": step.result}
            tx.write(self._agent_id, place, outcome, if_absent=True)
            record = {"action": step.action.to_dict(), "done": True}
            tx.write(self._agent_id, key, record, if_version=1)
        self._tell("done", tx, [place, key])

    def reset(self) -> int:
        """Deletes all live keys of the agent; its history stays. Returns how many there were."""
        keys = self._client.list_keys(self._agent_id)
        for start in range(0, len(keys), DELETES_A_TRANSACTION_MAX):
            batch = keys[start : start + DELETES_A_TRANSACTION_MAX]
            with self._client.begin_transaction(actor=ACTOR, reason="reset") as tx:
                for key in batch:
                    tx.delete(self._agent_id, key)
            self._tell("reset", tx, batch)
        return len(keys)

    def _transaction(self, session_id: str, reason: str, number: int = 0) -> Transaction:
        call = f"{session_id}/{number:04}" if number else ""
        return self._client.begin_transaction(
            actor=ACTOR, reason=reason, run_id=session_id, tool_call_id=call
        )

    def _tell(self, what: str, tx: Transaction, keys: list[str]) -> None:
        self._acknowledged(what, tx.commit_ts or 0, dict(zip(keys, tx.versions, strict=True)))


def _step_key(session_id: str, number: int) -> str:
    return f"session/{session_id}/step/{number:04}"


def _result_key(session_id: str, number: int, action: Action) -> str:
    if action.tool == FINAL:
        return f"final/{session_id}"
    return f"{'note' if action.tool == NOTE else 'tool'}/{session_id}/{number:04}"


def _field(value: Any, name: str) -> Any:
    return value[name]
