"""Owns what a committed log entry does to the state: rows out of submissions, alike on every node.

One `Engine` serves one apply of one or more groups; each sees what those before it did. It is
pure: it reads through a `View`, keeps what it changes aside, and hands it out as `Effects`. It
never raises for what a submission says: that becomes a `Refused`, the same on every node. It
raises InvariantViolation when the store contradicts itself, and CodecError for rows or groups it
cannot read; both mean that the node must stop. It must not know how rows are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core import codec, marks
from statehouse.core.codec import (
    CodecError,
    Group,
    Head,
    encode_record_header,
)
from statehouse.core.digest import event_hash, fingerprint, value_digest
from statehouse.core.errors import Reason
from statehouse.core.invariants import InvariantViolation
from statehouse.core.keys import (
    Table,
    agent_key,
    names,
    namespace_key,
    record_key,
    run_key,
    terminated,
    u64,
)
from statehouse.core.lineage import Agents
from statehouse.core.marking import causes_refusal, marks_refusal
from statehouse.core.model import Committed, EventBody, EventOperationRow, Kind, Refused
from statehouse.core.preconditions import conflict_of
from statehouse.core.sessions import Sessions
from statehouse.core.validation import shape_fault
from statehouse.core.view import Effects

if TYPE_CHECKING:
    from statehouse.core.codec import Latest, Receipt
    from statehouse.core.model import Answer, Conflict, Submission, Transaction
    from statehouse.core.view import Delete, Put, View

# Members of an enum cost a lookup each; these are asked for with every operation.
_RECORDS, _LATEST, _EVENTS = Table.RECORDS, Table.LATEST, Table.EVENTS
_AGENT_EVENTS = Table.AGENT_EVENTS


class Engine:
    """The state after the groups applied so far, as changes to a view."""

    def __init__(self, view: View) -> None:
        head = view.head()
        self._view = view
        self._sessions = Sessions(view)
        self._commit_ts = head.commit_ts
        self._committed_at_us = head.committed_at_us
        self._chain_hash = head.chain_hash
        self._headers: list[bytes] = []
        """What each kind's records begin with in the group that is being applied."""
        self._latest: dict[bytes, Latest | None] = {}
        self._agent_keys: dict[tuple[str, str], bytes] = {}
        self._namespaces: set[bytes] = set()
        self._puts: list[Put] = []
        self._events: list[bytes] = []
        """The rows of the events made so far, in commit order."""
        self._agents = Agents(view, self._puts)

    def apply(self, group: Group, index: int) -> list[Answer]:
        """Applies the group at a log index above all applied before; one answer a submission."""
        # The leader's clock may have stepped back; time in the history never does.
        time_us = max(group.committed_at_us, self._committed_at_us)
        before = self._commit_ts
        self._sessions.expire(time_us, before)
        self._headers = [encode_record_header(kind, time_us) for kind in Kind]
        answers = [self._submit(encoded, time_us, index) for encoded in group.submissions]
        if self._commit_ts > before:
            self._committed_at_us = time_us
            self._puts.append((Table.TIMES, u64(time_us), u64(self._commit_ts)))
        self._sessions.end_group(index, time_us, self._commit_ts)
        return answers

    def effects(self) -> Effects:
        """All changes so far; the engine is used up."""
        puts = self._puts
        deletes: list[Delete] = []
        before = self._view.head().commit_ts
        for key, latest in self._latest.items():
            if latest is not None and latest[1] > before:
                puts.append((_LATEST, key, codec.encode_latest(*latest)))
        self._sessions.add_rows(puts, deletes)
        head = Head(
            commit_ts=self._commit_ts,
            committed_at_us=self._committed_at_us,
            chain_hash=self._chain_hash,
            sessions_floor=self._sessions.floor,
            receipts_from=self._sessions.receipts_from,
        )
        return Effects(puts, deletes, head)

    # -- One submission

    def _submit(self, encoded: bytes, time_us: int, index: int) -> Answer:
        try:
            submission = codec.decode_submission(encoded)
            transaction = codec.decode_transaction(submission.transaction)
        except CodecError as error:
            return _invalid(str(error))
        marked = marks.among(transaction)
        fault = shape_fault(submission, transaction, marked=marked)
        if fault is not None:
            return _invalid(fault)
        earlier = self._sessions.earlier(submission, transaction)
        if isinstance(earlier, Refused):
            return earlier
        if earlier is not None:
            return self._told_again(earlier, submission, transaction)
        answer = self._decide(transaction, time_us, marked=marked)
        self._sessions.decided(submission, transaction, answer, index)
        return answer

    def _told_again(
        self, receipt: Receipt, submission: Submission, transaction: Transaction
    ) -> Answer:
        """The first answer to an op id that is decided, if it was for the same transaction."""
        if not isinstance(receipt, int):
            first, refused = receipt
            same = fingerprint(submission.transaction) == first
            return refused if same else _reused(transaction.sequence)
        event = codec.decode_event(self._event_row(receipt))
        if not _is_of(event, transaction):
            return _reused(transaction.sequence)
        versions = tuple([row.version for row in event.operations])
        return Committed(event.commit_ts, event.committed_at_us, versions)

    def _event_row(self, commit_ts: int) -> bytes:
        made = commit_ts - self._view.head().commit_ts - 1
        row = self._events[made] if made >= 0 else self._view.get(_EVENTS, u64(commit_ts))
        if row is None:
            raise InvariantViolation(f"there is a receipt for commit_ts {commit_ts}, but no event")
        return row

    def _decide(self, transaction: Transaction, time_us: int, *, marked: bool) -> Answer:
        if transaction.preconditions:
            conflicts = self._conflicts(transaction)
            if conflicts:
                return _conflict(conflicts)
        causes = transaction.metadata.caused_by
        refused = causes_refusal(causes, self._commit_ts) if causes else None
        if refused is None and marked:
            last, agents = self._commit_ts, self._agents
            refused = marks_refusal(transaction, last, agents, self._latest_of)
            if refused is None:
                self._begin_fork(transaction)
        return self._commit(transaction, time_us) if refused is None else refused

    def _conflicts(self, transaction: Transaction) -> tuple[Conflict, ...]:
        conflicts = []
        for asked in transaction.preconditions:
            agent = self._agent(asked.namespace, asked.agent_id)
            latest = self._latest_of(agent, agent + terminated(asked.key))
            conflict = conflict_of(asked, latest)
            if conflict is not None:
                conflicts.append(conflict)
        return tuple(conflicts)

    def _commit(self, transaction: Transaction, time_us: int) -> Committed:
        commit_ts = self._commit_ts + 1
        place = u64(commit_ts)
        puts = self._puts
        rows: list[EventOperationRow] = []
        versions: list[int] = []
        agents: set[bytes] = set()
        for operation in transaction.operations:
            namespace, agent_id, name = operation.namespace, operation.agent_id, operation.key
            kind, value = operation.kind, operation.value
            agent = self._agent(namespace, agent_id)
            key = agent + terminated(name)
            latest = self._latest_of(agent, key)
            if latest is None:
                version = 1
                self._first_write(namespace, agent, commit_ts)
            else:
                version = latest[0] + 1
            self._latest[key] = (version, commit_ts, kind, time_us)
            row = self._headers[kind] + value
            puts.append((_RECORDS, record_key(key, commit_ts, version), row))
            digest = value_digest(value)
            rows.append(EventOperationRow(namespace, agent_id, name, version, kind, digest))
            versions.append(version)
            if agent not in agents:
                agents.add(agent)
                puts.append((_AGENT_EVENTS, agent + place, b""))
        self._commit_ts = commit_ts
        if transaction.metadata.run_id or transaction.metadata.caused_by:
            self._index(transaction)
        self._record_event(transaction, rows, time_us, place)
        return Committed(commit_ts, time_us, tuple(versions))

    def _agent(self, namespace: str, agent_id: str) -> bytes:
        try:
            return self._agent_keys[namespace, agent_id]
        except KeyError:
            key = self._agent_keys[namespace, agent_id] = agent_key(namespace, agent_id)
            return key

    def _record_event(
        self, transaction: Transaction, rows: list[EventOperationRow], time_us: int, place: bytes
    ) -> None:
        body = codec.encode_event_body(
            EventBody(
                self._commit_ts,
                time_us,
                transaction.txn_id,
                transaction.client_id,
                transaction.sequence,
                transaction.metadata,
                transaction.preconditions,
                tuple(rows),
            )
        )
        self._chain_hash = event_hash(self._chain_hash, body)
        row = self._chain_hash + body
        self._events.append(row)
        self._puts.append((_EVENTS, place, row))

    def _first_write(self, namespace: str, agent: bytes, commit_ts: int) -> None:
        """Lists the agent and its namespace, if this first write of a key is theirs too."""
        if self._agents.facts(agent) is not None:
            return
        self._agents.add(agent, commit_ts)
        key = namespace_key(namespace)
        if key not in self._namespaces:
            self._namespaces.add(key)
            if self._view.get(Table.NAMESPACES, key) is None:
                self._puts.append((Table.NAMESPACES, key, u64(commit_ts)))

    def _begin_fork(self, transaction: Transaction) -> None:
        """Lists the agent that the transaction forks, if it forks one."""
        first = transaction.operations[0]
        if first.key == marks.FORK:
            fork = marks.mark_of(first.agent_id, first.key, first.kind, first.value)
            if isinstance(fork, marks.Fork):
                agent = self._agent(first.namespace, first.agent_id)
                commit_ts = self._commit_ts + 1
                self._agents.add_fork(
                    agent, first.agent_id, commit_ts, fork.parent_id, fork.commit_ts
                )

    def _index(self, transaction: Transaction) -> None:
        """Makes the event found by its run and by its causes."""
        commit_ts, metadata = u64(self._commit_ts), transaction.metadata
        if metadata.run_id:
            for namespace in {operation.namespace for operation in transaction.operations}:
                key = run_key(namespace, metadata.run_id) + commit_ts
                self._puts.append((Table.RUNS, key, b""))
        for cause in set(metadata.caused_by):
            self._puts.append((Table.CAUSES, u64(cause) + commit_ts, b""))

    def _latest_of(self, agent: bytes, key: bytes) -> Latest | None:
        """The last version of a key, which begins with its agent's; a fork inherits it."""
        # Most keys are new to an apply, and an exception for each would cost more than to ask.
        known = self._latest
        latest = known[key] if key in known else self._stored_latest(key)
        return latest if latest is not None else self._agents.inherited(agent, key)

    def _stored_latest(self, key: bytes) -> Latest | None:
        row = self._view.get(_LATEST, key)
        latest = None if row is None else codec.decode_latest(row)
        if latest is not None and not 1 <= latest[1] <= self._commit_ts:
            raise InvariantViolation(
                f"key {names(key)} was last written by commit_ts {latest[1]}, "
                f"but only {self._commit_ts} are committed"
            )
        self._latest[key] = latest
        return latest


def _invalid(what: str) -> Refused:
    return Refused(Reason.INVALID_ARGUMENT.value, what)


def _is_of(event: EventBody, transaction: Transaction) -> bool:
    """Whether the event is what this transaction made; their op ids are the same."""
    told = [
        (row.namespace, row.agent_id, row.key, row.kind, row.digest) for row in event.operations
    ]
    asked = [
        (one.namespace, one.agent_id, one.key, one.kind, value_digest(one.value))
        for one in transaction.operations
    ]
    return (
        told == asked
        and event.txn_id == transaction.txn_id
        and event.metadata == transaction.metadata
        and event.preconditions == transaction.preconditions
    )


def _reused(sequence: int) -> Refused:
    return Refused(
        Reason.OP_ID_REUSED.value,
        f"sequence {sequence} was used before, for another transaction; nothing was written: "
        "count sequences up, and give retries the same content",
    )


def _conflict(conflicts: tuple[Conflict, ...]) -> Refused:
    first = conflicts[0].precondition
    what = f"key {first.key!r} of agent {first.agent_id!r}"
    if marks.is_mark(first.agent_id, first.key):
        what = marks.shown(first.agent_id, first.key)
        if first.agent_id != marks.CURSORS:
            what += f" of agent {first.agent_id!r}"
    more = f" and {len(conflicts) - 1} more" if len(conflicts) > 1 else ""
    return Refused(
        Reason.CONFLICT.value,
        f"{what}{more} changed since it was read; nothing was written: read again and retry",
        conflicts,
    )
