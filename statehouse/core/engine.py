"""Owns what a committed log entry does to the state: rows out of submissions, alike on every node.

One `Engine` serves one apply of one or more groups; each sees what those before it did. It is
pure: it reads through a `View`, keeps what it changes aside, and hands it out as `Effects`. It
never raises for what a submission says: that becomes a `Refused`, the same on every node. It
raises InvariantViolation when the store contradicts itself, and CodecError for rows or groups it
cannot read; both mean that the node must stop. It must not know how rows are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core import codec
from statehouse.core.codec import (
    CodecError,
    EventBody,
    EventOperationRow,
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
    terminated,
    u64,
)
from statehouse.core.model import Committed, Refused
from statehouse.core.preconditions import conflict_of
from statehouse.core.sessions import Sessions
from statehouse.core.validation import shape_fault
from statehouse.core.view import Effects

if TYPE_CHECKING:
    from statehouse.core.codec import Latest
    from statehouse.core.model import Answer, Conflict, Transaction
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
        self._latest: dict[bytes, Latest | None] = {}
        self._agents: dict[tuple[str, str], bytes] = {}
        self._known: set[tuple[Table, bytes]] = set()
        self._puts: list[Put] = []

    def apply(self, group: Group, index: int) -> list[Answer]:
        """Applies the group at a log index above all applied before; one answer a submission."""
        # The leader's clock may have stepped back; time in the history never does.
        time_us = max(group.committed_at_us, self._committed_at_us)
        before = self._commit_ts
        self._sessions.expire(time_us, before)
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
        fault = shape_fault(submission, transaction)
        if fault is not None:
            return _invalid(fault)
        mark = fingerprint(submission.transaction)
        known = self._sessions.earlier_answer(submission, transaction, mark)
        if known is not None:
            return known
        answer = self._decide(transaction, time_us)
        self._sessions.decided(submission, transaction, mark, answer, index)
        return answer

    def _decide(self, transaction: Transaction, time_us: int) -> Answer:
        if transaction.preconditions:
            conflicts = self._conflicts(transaction)
            if conflicts:
                return _conflict(conflicts)
        return self._commit(transaction, time_us)

    def _conflicts(self, transaction: Transaction) -> tuple[Conflict, ...]:
        conflicts = []
        for asked in transaction.preconditions:
            agent = self._agent(asked.namespace, asked.agent_id)
            latest = self._latest_of(agent + terminated(asked.key))
            conflict = conflict_of(asked, latest)
            if conflict is not None:
                conflicts.append(conflict)
        return tuple(conflicts)

    def _commit(self, transaction: Transaction, time_us: int) -> Committed:
        commit_ts = self._commit_ts + 1
        puts = self._puts
        rows: list[EventOperationRow] = []
        agents: set[bytes] = set()
        for operation in transaction.operations:
            namespace, agent_id, name = operation.namespace, operation.agent_id, operation.key
            kind, value = operation.kind, operation.value
            agent = self._agent(namespace, agent_id)
            key = agent + terminated(name)
            latest = self._latest_of(key)
            if latest is None:
                version = 1
                self._first_write(namespace, agent, commit_ts)
            else:
                version = latest[0] + 1
            self._latest[key] = (version, commit_ts, kind, time_us)
            row = encode_record_header(kind, time_us) + value
            puts.append((_RECORDS, record_key(key, commit_ts, version), row))
            digest = value_digest(value)
            rows.append(EventOperationRow(namespace, agent_id, name, version, kind, digest))
            if agent not in agents:
                agents.add(agent)
                puts.append((_AGENT_EVENTS, agent + u64(commit_ts), b""))
        self._commit_ts = commit_ts
        self._record_event(transaction, rows, time_us)
        return Committed(commit_ts, time_us, tuple([row.version for row in rows]))

    def _agent(self, namespace: str, agent_id: str) -> bytes:
        try:
            return self._agents[namespace, agent_id]
        except KeyError:
            key = self._agents[namespace, agent_id] = agent_key(namespace, agent_id)
            return key

    def _record_event(
        self, transaction: Transaction, rows: list[EventOperationRow], time_us: int
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
        self._puts.append((_EVENTS, u64(self._commit_ts), self._chain_hash + body))

    def _first_write(self, namespace: str, agent: bytes, commit_ts: int) -> None:
        """Lists the agent and its namespace, if this first write of a key is theirs too."""
        for table, key in ((Table.AGENTS, agent), (Table.NAMESPACES, namespace_key(namespace))):
            if (table, key) in self._known:
                return
            self._known.add((table, key))
            if self._view.get(table, key) is not None:
                return
            self._puts.append((table, key, u64(commit_ts)))

    def _latest_of(self, key: bytes) -> Latest | None:
        try:
            return self._latest[key]
        except KeyError:
            pass
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


def _conflict(conflicts: tuple[Conflict, ...]) -> Refused:
    first = conflicts[0].precondition
    more = f" and {len(conflicts) - 1} more" if len(conflicts) > 1 else ""
    return Refused(
        Reason.CONFLICT.value,
        f"key {first.key!r} of agent {first.agent_id!r}{more} changed since it was read; nothing "
        "was written: read again and retry",
        conflicts,
    )
