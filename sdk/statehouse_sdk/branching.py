"""Owns the merge of one agent into another: from lineages and differences to one transaction.

The base is the newest state both are known to share: where their lineages part, or what an earlier
merge of the two brought over. That is kept in a label of the target, "merged/<source>", set with
the merge itself, at the point of the source that was merged. Only keys that the source changed are
looked at, and each of them must be in the target, at the commit, as it was read.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import history, reads, requests, requests_history
from statehouse_sdk.absent import ABSENT
from statehouse_sdk.convert import MERGED
from statehouse_sdk.errors import (
    ConflictError,
    MergeConflict,
    MergeConflictError,
    TooLargeError,
    UnrelatedAgentsError,
)
from statehouse_sdk.limits import GET_MANY_KEYS_MAX, TRANSACTION_OPERATIONS_MAX
from statehouse_sdk.marking import committed
from statehouse_sdk.merge_models import Merge
from statehouse_sdk.merging import merge
from statehouse_sdk.models import LabelMark
from statehouse_sdk.plans import Pause
from statehouse_sdk.reruns import TRANSACT_ATTEMPTS, Reruns
from statehouse_sdk.transaction import Buffer

if TYPE_CHECKING:
    from statehouse_sdk.diffing import Diff
    from statehouse_sdk.history_models import Label, Lineage
    from statehouse_sdk.merging import Choices, Outcome
    from statehouse_sdk.plans import Plan
    from statehouse_sdk.session import Session


class Base(NamedTuple):
    """A state that two agents share."""

    agent_id: str
    commit_ts: int


class Merging(NamedTuple):
    """What a user asks to be merged, and how."""

    namespace: str
    source: str
    target: str
    choices: Choices
    metadata: bytes | None
    dry_run: bool


def merging(session: Session, asked: Merging) -> Plan[Merge]:
    """Merges; begins anew when the target was written to meanwhile."""
    reruns = Reruns(TRANSACT_ATTEMPTS, session.deadline_s())
    while True:
        try:
            return (yield from _merged_once(session, asked))
        except ConflictError:
            pause_s = reruns.pause_s(time.monotonic(), session.jitter())
            if pause_s is None:
                raise
        yield Pause(pause_s)


def _merged_once(session: Session, asked: Merging) -> Plan[Merge]:
    now = yield from history.now(session, asked.namespace)
    base = yield from _base(session, asked, now.commit_ts)
    theirs = yield from _changes(session, asked, base, asked.source, now.commit_ts)
    ours = yield from _changes(session, asked, base, asked.target, now.commit_ts)
    outcome = merge(sides_of(theirs, ours), asked.choices)
    if outcome.conflicts and not asked.dry_run:
        raise _undecided(asked, outcome.conflicts)
    commit_ts = None
    if theirs.keys and not asked.dry_run and asked.source != asked.target:
        tx = yield from _transaction(session, asked, base, now.commit_ts, theirs, outcome)
        commit_ts = yield from committed(session, tx, "the merge", "merge again: it will tell")
    return Merge(
        source=asked.source,
        target=asked.target,
        base_agent_id=base.agent_id,
        base_ts=base.commit_ts,
        source_ts=now.commit_ts,
        target_ts=now.commit_ts,
        written=outcome.written,
        conflicts=outcome.conflicts,
        commit_ts=commit_ts,
    )


# -- The base


def _base(session: Session, asked: Merging, through: int) -> Plan[Base]:
    lineages: list[Lineage] = []
    labels: list[list[Label]] = []
    for agent_id in (asked.source, asked.target):
        question = requests_history.lineage(asked.namespace, agent_id)
        lineages.append((yield from history.lineage(session, question)))
        labelled = requests_history.labels(asked.namespace, agent_id, stale=False)
        labels.append((yield from history.labels(session, labelled)))
    base = common_base(lineages[0], lineages[1], through)
    if base is None:
        raise UnrelatedAgentsError(
            f"agents {asked.source!r} and {asked.target!r} have no common ancestor: fork one from"
            " the other, then merge"
        )
    # An earlier merge of the source into the target, or the other way round, is nearer.
    for agent_id, its_labels in ((asked.source, labels[1]), (asked.target, labels[0])):
        for label in its_labels:
            is_later = label.commit_ts > base.commit_ts and label.set_at <= through
            if label.name == MERGED + agent_id and is_later:
                base = Base(agent_id, label.commit_ts)
    return base


def common_base(source: Lineage, target: Lineage, through: int) -> Base | None:
    """Where two lineages part: the first agent they share, as far as both had it."""
    levels = {
        agent_id: min(bound if bound is not None else through, through)
        for agent_id, bound in target.levels()
    }
    for agent_id, bound in source.levels():
        if agent_id in levels:
            here = through if bound is None else bound
            return Base(agent_id, min(here, levels[agent_id]))
    return None


# -- The changes of both sides


def _changes(session: Session, asked: Merging, base: Base, agent_id: str, at: int) -> Plan[Diff]:
    request = requests_history.diff(
        asked.namespace, base.agent_id, base.commit_ts, at, agent_id, "", stale=False
    )
    return history.diff(session, request)


def sides_of(theirs: Diff, ours: Diff) -> list[MergeConflict]:
    """Each key that the source changed, with its values in the base and on both sides."""
    in_target = {change.key: change for change in ours.keys}
    sides = []
    for change in theirs.keys:
        base = _value(change.before)
        own = in_target.get(change.key)
        target = base if own is None else _value(own.after)
        sides.append(MergeConflict(change.key, base, _value(change.after), target))
    return sides


def _value(result: Any) -> Any:
    return ABSENT if result is None else result.value


# -- The transaction


def _transaction(
    session: Session, asked: Merging, base: Base, at: int, theirs: Diff, outcome: Outcome
) -> Plan[Buffer]:
    # The label is an operation, too.
    if len(outcome.written) >= TRANSACTION_OPERATIONS_MAX:
        raise TooLargeError(
            f"the merge writes {len(outcome.written)} keys, and beside its label one transaction"
            f" holds {TRANSACTION_OPERATIONS_MAX - 1} (transaction_operations_max); bring the"
            " agents nearer in smaller steps",
            "transaction_operations_max",
            TRANSACTION_OPERATIONS_MAX,
            len(outcome.written) + 1,
        )
    tx = Buffer(asked.namespace, None, _metadata(asked, base, at))
    versions = yield from _versions(session, asked, [change.key for change in theirs.keys], at)
    for key, version in versions.items():
        tx.require(asked.target, key, version=version)
    for merged in outcome.written:
        if merged.value is ABSENT:
            tx.delete(asked.target, merged.key)
        else:
            tx.write(asked.target, merged.key, merged.value)
    tx._mark(asked.target, LabelMark(MERGED + asked.source, at))
    return tx


def _versions(session: Session, asked: Merging, keys: list[str], at: int) -> Plan[dict[str, int]]:
    """The versions that the keys have in the target, at the point that was compared."""
    versions: dict[str, int] = {}
    for start in range(0, len(keys), GET_MANY_KEYS_MAX):
        some = keys[start : start + GET_MANY_KEYS_MAX]
        request = requests.get_many(asked.namespace, asked.target, some, at, False)
        results = yield from reads.get_many(session, request)
        versions |= {result.key: result.version for result in results}
    return versions


def _metadata(asked: Merging, base: Base, at: int) -> bytes:
    metadata = state.Metadata.FromString(asked.metadata or b"")
    told = {
        "merge.source": asked.source,
        "merge.source_ts": str(at),
        "merge.base": base.agent_id,
        "merge.base_ts": str(base.commit_ts),
    }
    for name, text in told.items():
        metadata.extra[name] = text
    return metadata.SerializeToString()


def _undecided(asked: Merging, conflicts: tuple[MergeConflict, ...]) -> MergeConflictError:
    listed = "; ".join(str(conflict) for conflict in conflicts[:8])
    more = f"; and {len(conflicts) - 8} more" if len(conflicts) > 8 else ""
    return MergeConflictError(
        f"nothing was merged: {asked.source!r} and {asked.target!r} both changed {listed}{more};"
        " say with choose= or resolve= which counts",
        conflicts,
    )
