"""The adapter with one of its guards taken out, to prove that the simulation would miss it.

A mutant names a product function, a piece of its text, and what stands there instead. The function
is compiled anew with the change and put back afterwards; a piece that is not found exactly once is
an error, so that no mutant outlives the code it was made for.
"""

from __future__ import annotations

import inspect
import textwrap
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

from statehouse_cluster import guards
from statehouse_cluster.raft_adapter import Engine
from statehouse_cluster.raft_leadership import Leadership
from statehouse_cluster.raft_log import RaftLog
from statehouse_cluster.raft_replication import Replication
from statehouse_cluster.raft_state import RaftState
from statehouse_cluster.raft_transport import RaftTransport
from statehouse_cluster.reads import ReadIndex

from statehouse.core.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

Owner = type | ModuleType


@dataclass(frozen=True)
class Edit:
    """One function of the product, and what of it is replaced by what."""

    owner: Owner
    function: str
    old: str
    new: str

    def mutated(self) -> Any:
        original = inspect.getattr_static(self.owner, self.function)
        # An edit may follow another one of the same function.
        text = getattr(original, "mutated_text", None) or _text_of(original)
        if text.count(self.old) != 1:
            raise LookupError(f"{self.function} does not hold {self.old!r} exactly once")
        text = text.replace(self.old, self.new)
        # A nested definition lets the zero-argument super() find its class.
        nested = (
            f"def make(__class__):\n{textwrap.indent(text, '    ')}\n    return {self.function}"
        )
        names: dict[str, Any] = {}
        # The product's own text, changed in one place by a constant of this file.
        exec(f"from __future__ import annotations\n{nested}", original.__globals__, names)
        function = names["make"](self.owner)
        function.mutated_text = text
        return function


def _text_of(function: Any) -> str:
    return textwrap.dedent(inspect.getsource(function))


@dataclass(frozen=True)
class Mutant:
    """A guard taken out, by one or more edits."""

    name: str
    edits: tuple[Edit, ...]


def _one(name: str, owner: Owner, function: str, old: str, new: str) -> Mutant:
    return Mutant(name, (Edit(owner, function, old, new),))


_TICK = "_onTick"
_LAST_FLUSH = """self.log.flush()
    self._transport.release("""
_FIRST_FLUSH = """self.log.flush()
    super()._onTick("""

_ALL = (
    _one(
        "stale acknowledgements count",
        guards,
        "ack_counts",
        "return stamped_term == own_term and leads",
        "return leads",
    ),
    _one(
        "always truncate",
        guards,
        "place_append",
        "if index > log.last_index or log.term_at(index) != term:",
        "if True:",
    ),
    _one(
        "truncate on a heartbeat",
        Replication,
        "_place",
        "start = self.log.last_index",
        "start = placed.verified",
    ),
    _one(
        "acknowledge the own log end",
        Replication,
        "_place",
        "self._ack_override = placed.verified + 1",
        "self._ack_override = self.log.last_index + 1",
    ),
    _one(
        "commit not capped",
        guards,
        "cap_commit",
        "return min(leader_commit, last_verified)",
        "return leader_commit",
    ),
    _one(
        "votes counted twice",
        guards.VoteBox,
        "admit",
        "if voter in self._voters:",
        "if False:",
    ),
    _one(
        "no flush before an answer",
        RaftTransport,
        "send",
        'if message["type"] in _HELD:',
        "if False:",
    ),
    _one("no flush at the end of a round", Engine, _TICK, _LAST_FLUSH, "self._transport.release("),
    Mutant(
        "no flush before the leader counts itself",
        (
            Edit(Engine, _TICK, _FIRST_FLUSH, "super()._onTick("),
            Edit(Engine, _TICK, _LAST_FLUSH, "if not self.is_leader():\n        " + _LAST_FLUSH),
            Edit(Leadership, "_checkCommandsToApply", "self.log.flush()", "pass"),
            Edit(Engine, "_SyncObj__onBecomeLeader", "self.log.flush()", "pass"),
        ),
    ),
    _one(
        "vote not durable",
        RaftLog,
        "setCurrentTerm",
        "self.journal.set_term_and_vote(term, votedForNodeId)",
        "self.journal.set_term_and_vote(term, None)",
    ),
    _one(
        "reads without a round",
        ReadIndex,
        "served",
        "heard * 2 <= len(other_voters) + 1 or applied_index",
        "applied_index",
    ),
    _one(
        "reads without an echo",
        Replication,
        "_on_answer",
        'self._reads.echo(node.id, message["x_round"])',
        "self._reads.echo(node.id, self._reads.round)",
    ),
    _one(
        "reads before the no-op",
        Leadership,
        "_serve_reads",
        "if self.is_ready() and self._reads.start_round",
        "if self._reads.start_round",
    ),
    _one(
        "membership guard off",
        Leadership,
        "_change_is_free",
        "return self.is_ready() and not self.log.changes_above(self.applied_index())",
        "return True",
    ),
    _one(
        "configuration from what is applied only",
        RaftState,
        "_base_with_log",
        "return membership.fold(self._base, self.log.changes_above(applied))",
        "return self._base",
    ),
    Mutant(
        "old snapshot installed",
        (
            Edit(
                Replication,
                "install",
                "if position.index <= self.applied_index():",
                "if False:",
            ),
            Edit(
                Replication,
                "_on_snapshot_offer",
                "if position.index <= self.applied_index():",
                "if False:",
            ),
        ),
    ),
    _one(
        "a snapshot acknowledges the own log end",
        Replication,
        "_on_snapshot_offer",
        "self._ack_override = position.index + 1",
        "self._ack_override = self.log.last_index + 1",
    ),
)

_ALL += (
    _one(
        "receipts not asked for",
        Sessions,
        "earlier",
        "if sequence > session.highest:",
        "if True:",
    ),
)

MUTANTS = {mutant.name: mutant for mutant in _ALL}


@contextmanager
def mutation(name: str) -> Iterator[None]:
    """The product with one mutant in it, or as it is for an empty name."""
    with ExitStack() as stack:
        for edit in MUTANTS[name].edits if name else ():
            mutated = edit.mutated()
            stack.enter_context(mock.patch.object(edit.owner, edit.function, mutated))
            _patch_handlers(stack, edit, mutated)
        yield


def _patch_handlers(stack: ExitStack, edit: Edit, mutated: Any) -> None:
    """The table of message handlers holds functions, not names."""
    for kind, handler in Engine._HANDLERS.items():
        if handler.__name__ == edit.function:
            stack.enter_context(mock.patch.dict(Engine._HANDLERS, {kind: mutated}))
