"""Owns when a mark may be set: what is asked of it besides its form, when it is decided.

Points lie in the past, a fork begins a new agent from one that existed, and what is deleted was
there. Each refusal says what is possible, and is the same on every node: it rests on nothing but
the commits before this one. It must not know how a mark is recorded (marks.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core import limits, marks
from statehouse.core.errors import Reason
from statehouse.core.keys import agent_key, terminated
from statehouse.core.marks import Cursor, Fork, Label
from statehouse.core.model import Kind, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse.core.codec import Latest
    from statehouse.core.lineage import Agents
    from statehouse.core.model import Operation, Transaction

    LatestOf = Callable[[bytes, bytes], Latest | None]
    """Of a key, told after its agent's: the last version."""


def causes_refusal(causes: tuple[int, ...], last: int) -> Refused | None:
    """What speaks against the causes named; last: the commit_ts before the transaction's own."""
    latest = max(causes)
    if latest <= last:
        return None
    return _future(f"metadata.caused_by names commit_ts {latest}", last)


def marks_refusal(
    transaction: Transaction, last: int, agents: Agents, latest_of: LatestOf
) -> Refused | None:
    """What speaks against the marks of a transaction; None: nothing."""
    there: dict[tuple[str, str, str], bool] = {}
    for operation in transaction.operations:
        if not marks.is_mark(operation.agent_id, operation.key):
            continue
        name = (operation.namespace, operation.agent_id, operation.key)
        mark = marks.mark_of(*name[1:], operation.kind, operation.value)
        refused = None
        if isinstance(mark, Fork):
            refused = _fork_refusal(operation, mark, last, agents)
        elif isinstance(mark, Cursor):
            if mark.through > last:
                refused = _future(f"cursor {mark.name!r} is set to commit_ts {mark.through}", last)
        elif mark.commit_ts > last:
            what = f"label {mark.name!r} of agent {operation.agent_id!r} names commit_ts"
            refused = _future(f"{what} {mark.commit_ts}", last)
        elif mark.commit_ts == 0 and not there.get(name, _is_there(operation, latest_of)):
            refused = _no_label(operation, mark)
        if refused is not None:
            return refused
        there[name] = operation.kind != Kind.TOMBSTONE
    return None


def _fork_refusal(operation: Operation, fork: Fork, last: int, agents: Agents) -> Refused | None:
    namespace, agent_id = operation.namespace, operation.agent_id
    if agents.facts(agent_key(namespace, agent_id)) is not None:
        return Refused(
            Reason.AGENT_EXISTS.value,
            f"agent {agent_id!r} of namespace {namespace!r} was written to before, so it cannot "
            f"begin as a fork of {fork.parent_id!r}; give the fork a name that was never used",
        )
    if fork.commit_ts > last:
        what = f"the fork {agent_id!r} of agent {fork.parent_id!r} begins at commit_ts"
        return _future(f"{what} {fork.commit_ts}", last)
    parent = agent_key(namespace, fork.parent_id)
    ancestry = agents.ancestry(parent)
    # A fork begins where an ancestor was written to already, so all began with the first of them.
    first = agents.facts(ancestry[-1][0] if ancestry else parent)
    if first is None:
        return _no_agent(namespace, fork, "was never written to; check its name and namespace")
    if first.first_commit_ts > fork.commit_ts:
        return _no_agent(
            namespace, fork, f"begins at commit_ts {first.first_commit_ts}; fork it there or later"
        )
    if len(ancestry) >= limits.FORK_DEPTH_MAX:
        return Refused(
            Reason.TOO_LARGE.value,
            f"agent {fork.parent_id!r} is a fork of forks, {len(ancestry)} deep, and "
            f"fork_depth_max = {limits.FORK_DEPTH_MAX}; fork one of its ancestors, or copy it",
        )
    return None


def _is_there(operation: Operation, latest_of: LatestOf) -> bool:
    agent = agent_key(operation.namespace, operation.agent_id)
    latest = latest_of(agent, agent + terminated(operation.key))
    return latest is not None and latest[2] != Kind.TOMBSTONE


def _future(what: str, last: int) -> Refused:
    return Refused(
        Reason.FUTURE_POINT.value,
        f"{what}, but the last one committed before it is {last}; name that or an earlier one",
    )


def _no_label(operation: Operation, label: Label) -> Refused:
    return Refused(
        Reason.LABEL_NOT_FOUND.value,
        f"agent {operation.agent_id!r} of namespace {operation.namespace!r} has no label "
        f"{label.name!r} to delete; list its labels",
    )


def _no_agent(namespace: str, fork: Fork, what: str) -> Refused:
    return Refused(
        Reason.AGENT_NOT_FOUND.value,
        f"agent {fork.parent_id!r} of namespace {namespace!r} cannot be forked at commit_ts "
        f"{fork.commit_ts}: it {what}",
    )
