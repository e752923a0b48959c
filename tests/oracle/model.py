"""What Statehouse means, written down as simply as it can be: lists, and loops over all of them.

It shares no code with the engine but the words of core.model. Nothing is indexed, nothing is
encoded; every read looks at the whole history.
"""

from __future__ import annotations

from statehouse.core import limits
from statehouse.core.errors import Reason
from statehouse.core.model import (
    AgentRow,
    Committed,
    Conflict,
    Expectation,
    Kind,
    Record,
)


class Version:
    """One version of one key, as a commit made it."""

    def __init__(self, operation, version, commit_ts, time_us):
        self.name = (operation.namespace, operation.agent_id, operation.key)
        self.kind, self.value = operation.kind, operation.value
        self.version, self.commit_ts, self.time_us = version, commit_ts, time_us

    def record(self):
        key = self.name[2]
        return Record(key, self.kind, self.value, self.version, self.commit_ts, self.time_us)


class Model:
    """The state as the list of all versions, and of all commits as (commit_ts, time, txn id)."""

    def __init__(self):
        self.versions = []
        self.commits = []
        self.receipts = {}  # (client, sequence) -> (content, answer)
        self.groups = []  # (time, commit_ts at the end, [(client, sequence)])
        self.gone = {}  # client -> (acknowledged, expired), while it has a session
        self.floor = 0

    @property
    def commit_ts(self):
        return len(self.commits)

    # -- Writing

    def apply(self, attempts, at_us):
        """attempts: (transaction, born_at, acknowledged) of one group; returns the answers."""
        time_us = max([at_us] + [commit[1] for commit in self.commits[-1:]])
        self._forget(time_us)
        self.groups.append([time_us, 0, []])
        answers = [self._attempt(*attempt, time_us) for attempt in attempts]
        self.groups[-1][1] = self.commit_ts
        if not self.groups[-1][2]:
            self.groups.pop()
        return answers

    def _attempt(self, made, born_at, acknowledged, time_us):
        op_id = (made.client_id, made.sequence)
        if made.client_id not in self.gone:
            if born_at < self.floor:
                return Reason.OP_ID_EXPIRED
        else:
            let_go, expired = self.gone[made.client_id]
            if made.sequence <= let_go:
                return Reason.OP_ID_EXPIRED
            if op_id in self.receipts:
                content, answer = self.receipts[op_id]
                return answer if content == made else Reason.OP_ID_REUSED
            if made.sequence <= expired:
                return Reason.OP_ID_EXPIRED
        answer = self._conflicts(made) or self._commit(made, time_us)
        self.receipts[op_id] = (made, answer)
        self.groups[-1][2].append(op_id)
        let_go, expired = self.gone.get(made.client_id, (0, 0))
        self.gone[made.client_id] = (max(let_go, acknowledged), expired)
        for client, sequence in list(self.receipts):
            if client == made.client_id and sequence <= acknowledged:
                del self.receipts[client, sequence]
        return answer

    def _conflicts(self, made):
        found = []
        for asked in made.preconditions:
            versions = self._of((asked.namespace, asked.agent_id, asked.key), self.commit_ts)
            last = versions[-1] if versions else None
            version = last.version if last else 0
            commit_ts = last.commit_ts if last else 0
            exists = last is not None and last.kind != Kind.TOMBSTONE
            holds = {
                Expectation.VERSION: version == asked.number,
                Expectation.ABSENT: not exists,
                Expectation.UNCHANGED_SINCE: commit_ts <= asked.number,
            }
            if not holds[asked.expectation]:
                found.append(Conflict(asked, version, commit_ts, exists))
        return tuple(found)

    def _commit(self, made, time_us):
        commit_ts = self.commit_ts + 1
        numbers = []
        for operation in made.operations:
            name = (operation.namespace, operation.agent_id, operation.key)
            numbers.append(len([one for one in self.versions if one.name == name]) + 1)
            self.versions.append(Version(operation, numbers[-1], commit_ts, time_us))
        self.commits.append((commit_ts, time_us, made.txn_id))
        return Committed(commit_ts, time_us, tuple(numbers))

    def _forget(self, time_us):
        for _ in range(limits.RECEIPT_GROUPS_EXPIRED_MAX):
            if not self.groups:
                return
            made_us, commit_ts, op_ids = self.groups[0]
            if made_us >= time_us - limits.RECEIPT_WINDOW_US or commit_ts >= self.commit_ts:
                return
            self.groups.pop(0)
            for client, sequence in op_ids:
                let_go, expired = self.gone[client]
                if sequence > let_go:
                    self.gone[client] = (let_go, max(expired, sequence))
                self.receipts.pop((client, sequence), None)
            for client in {client for client, _ in op_ids}:
                if not any(client == one for group in self.groups for one, _ in group[2]):
                    del self.gone[client]
                    self.floor = max(self.floor, commit_ts + 1)

    # -- Reading

    def _of(self, name, at):
        return [one for one in self.versions if one.name == name and one.commit_ts <= at]

    def get(self, name, at):
        versions = self._of(name, at)
        return versions[-1].record() if versions else None

    def get_version(self, name, version, at):
        found = [one.record() for one in self._of(name, at) if one.version == version]
        return found[0] if found else None

    def scan(self, namespace, agent_id, prefix, at):
        names = {one.name for one in self.versions if one.name[:2] == (namespace, agent_id)}
        records = [self.get(name, at) for name in names if name[2].startswith(prefix)]
        live = [one for one in records if one is not None and one.kind != Kind.TOMBSTONE]
        return sorted(live, key=lambda record: record.key.encode())

    def agents(self, namespace, at):
        first = {}
        for one in self.versions:
            if one.name[0] == namespace and one.commit_ts <= at:
                first.setdefault(one.name[1], one.commit_ts)
        return [AgentRow(agent, first[agent]) for agent in sorted(first, key=str.encode)]

    def namespaces(self, at):
        found = {one.name[0] for one in self.versions if one.commit_ts <= at}
        return sorted(found, key=str.encode)

    def events(self, namespace, agent_id, start_ts, end_ts):
        """(commit_ts, time, txn id, [(name, version, kind, value)]) of each event in scope."""
        found = []
        for commit_ts, time_us, txn_id in self.commits[max(start_ts, 1) - 1 : end_ts]:
            operations = [
                (one.name, one.version, one.kind, one.value)
                for one in self.versions
                if one.commit_ts == commit_ts
                and namespace in (None, one.name[0])
                and agent_id in (None, one.name[1])
            ]
            if operations or namespace is None:
                found.append((commit_ts, time_us, txn_id, operations))
        return found

    def resolve_time(self, time_us, at):
        return len([commit for commit in self.commits[:at] if commit[1] <= time_us])
