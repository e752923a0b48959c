"""What Statehouse means, written down as simply as it can be: lists, and loops over all of them.

It shares no code with the engine but the words of core.model and the names of marks. Nothing is
indexed, nothing is encoded; every read looks at the whole history. A fork is a copy.
"""

from __future__ import annotations

import json

from statehouse.core import limits, marks
from statehouse.core.errors import Reason
from statehouse.core.model import (
    AgentRow,
    Committed,
    Conflict,
    CursorRow,
    Expectation,
    ForkRow,
    Kind,
    LabelRow,
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
    """The state as lists: of all commits, of all versions as written, and of each agent's."""

    def __init__(self):
        self.versions = []
        self.agent_versions = {}  # (namespace, agent) -> versions: its own, and copied by a fork
        self.forked = {}  # (namespace, agent) -> (commit_ts, parent, point)
        self.commits = []  # (commit_ts, time, transaction)
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
        answer = self._conflicts(made) or self._refusal(made) or self._commit(made, time_us)
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
            versions = self.of((asked.namespace, asked.agent_id, asked.key), self.commit_ts)
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

    def _refusal(self, made):
        if max(made.metadata.caused_by, default=0) > self.commit_ts:
            return Reason.FUTURE_POINT
        labels_there = {}
        for operation in made.operations:
            name = (operation.namespace, operation.agent_id, operation.key)
            if not marks.is_mark(*name[1:]):
                continue
            deletes = operation.kind == Kind.TOMBSTONE
            told = None if deletes else json.loads(operation.value)
            if operation.key == marks.FORK:
                return self._fork_refusal(operation, *told)
            if operation.key.startswith(marks.LABEL):
                last = self.get(name, self.commit_ts)
                there = last is not None and last.kind != Kind.TOMBSTONE
                if deletes and not labels_there.get(name, there):
                    return Reason.LABEL_NOT_FOUND
                if not deletes and told > self.commit_ts:
                    return Reason.FUTURE_POINT
                labels_there[name] = not deletes
            if operation.agent_id == marks.CURSORS and not deletes and told[0] > self.commit_ts:
                return Reason.FUTURE_POINT
        return None

    def _fork_refusal(self, operation, parent, point):
        if (operation.namespace, operation.agent_id) in self.agent_versions:
            return Reason.AGENT_EXISTS
        if point > self.commit_ts:
            return Reason.FUTURE_POINT
        copied = self.agent_versions.get((operation.namespace, parent), [])
        if not any(one.commit_ts <= point for one in copied):
            return Reason.AGENT_NOT_FOUND
        if len(self.lineage(operation.namespace, parent, self.commit_ts)) >= limits.FORK_DEPTH_MAX:
            return Reason.TOO_LARGE
        return None

    def _commit(self, made, time_us):
        commit_ts = self.commit_ts + 1
        numbers = []
        for operation in made.operations:
            name = (operation.namespace, operation.agent_id, operation.key)
            if operation.key == marks.FORK:
                parent, point = json.loads(operation.value)
                self.forked[name[:2]] = (commit_ts, parent, point)
                copied = self.agent_versions[name[0], parent]
                self.agent_versions[name[:2]] = [one for one in copied if one.commit_ts <= point]
            mine = self.agent_versions.setdefault(name[:2], [])
            numbers.append(len([one for one in mine if one.name[2] == name[2]]) + 1)
            self.versions.append(Version(operation, numbers[-1], commit_ts, time_us))
            mine.append(self.versions[-1])
        self.commits.append((commit_ts, time_us, made))
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
    #
    # at: the moment asked about; last: what the reader's view has reached, None: the same.

    def agent(self, namespace, agent_id, at, last=None):
        """The versions an agent has at a moment; each keeps the name of who was written."""
        forked_at = self.forked.get((namespace, agent_id), (0,))[0]
        if forked_at > (at if last is None else last):
            return []
        versions = self.agent_versions.get((namespace, agent_id), [])
        return [one for one in versions if one.commit_ts <= at]

    def of(self, name, at, last=None):
        return [one for one in self.agent(*name[:2], at, last) if one.name[2] == name[2]]

    def get(self, name, at, last=None):
        versions = self.of(name, at, last)
        return versions[-1].record() if versions else None

    def get_version(self, name, version, at):
        found = [one.record() for one in self.of(name, at) if one.version == version]
        return found[0] if found else None

    def scan(self, namespace, agent_id, prefix, at, last=None):
        keys = {one.name[2] for one in self.agent(namespace, agent_id, at, last)}
        keys = {key for key in keys if key.startswith(prefix or key) and key[:1] != "\x00"}
        return self._live(namespace, agent_id, keys, at, last)

    def _live(self, namespace, agent_id, keys, at, last):
        records = [self.get((namespace, agent_id, key), at, last) for key in keys]
        live = [one for one in records if one is not None and one.kind != Kind.TOMBSTONE]
        return sorted(live, key=lambda record: record.key.encode())

    def agents(self, namespace, at):
        first = {}
        for one in self.versions:
            if one.name[0] == namespace and one.commit_ts <= at and one.name[1][:1] != "\x00":
                first.setdefault(one.name[1], one.commit_ts)
        return [AgentRow(agent, first[agent]) for agent in sorted(first, key=str.encode)]

    def namespaces(self, at):
        found = {one.name[0] for one in self.versions if one.commit_ts <= at}
        return sorted(found, key=str.encode)

    def resolve_time(self, time_us, at):
        return len([commit for commit in self.commits[:at] if commit[1] <= time_us])

    # -- Marks

    def labels(self, namespace, agent_id, last):
        keys = {one.name[2] for one in self.agent(namespace, agent_id, last)}
        found = self._live(
            namespace, agent_id, {key for key in keys if key.startswith(marks.LABEL)}, last, last
        )
        return [
            LabelRow(
                one.key.removeprefix(marks.LABEL),
                json.loads(one.value),
                one.version,
                one.commit_ts,
                one.committed_at_us,
            )
            for one in found
        ]

    def cursors(self, namespace, last):
        keys = {one.name[2] for one in self.agent(namespace, marks.CURSORS, last)}
        found = self._live(namespace, marks.CURSORS, keys, last, last)
        return [
            CursorRow(one.key, *json.loads(one.value), one.version, one.commit_ts, True)
            for one in found
        ]

    def lineage(self, namespace, agent_id, last):
        forked_at, parent, point = self.forked.get((namespace, agent_id), (last + 1, "", 0))
        if forked_at > last:
            return ()
        fork = ForkRow(agent_id, parent, point, forked_at)
        return (fork, *self.lineage(namespace, parent, last))

    def forks(self, namespace, agent_id, last):
        found = [
            ForkRow(fork, parent, point, forked_at)
            for (where, fork), (forked_at, parent, point) in self.forked.items()
            if (where, parent) == (namespace, agent_id) and forked_at <= last
        ]
        return tuple(sorted(found, key=lambda fork: fork.forked_at))
