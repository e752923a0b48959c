"""The engine and the views, on RocksDB and on dictionaries, say what the dumb model says.

Hypothesis drives all three with the same groups: commits, conflicts, retries with equal and with
other content, acknowledgements, clocks that jump both ways, restarts, copies moved in.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs
from statehouse_cluster.interfaces import Entry, Position

from statehouse.core import codec, limits
from statehouse.core.errors import Reason
from statehouse.core.model import Committed, Expectation, Kind
from statehouse.storage.state_store import StateStore
from tests.helpers.chain import check_chain
from tests.oracle.memory_store import MemoryStore
from tests.oracle.model import Model
from tests.oracle.model_history import events as events_of
from tests.oracle.writing import (
    START_US,
    client_id,
    delete,
    expect,
    group,
    submission,
    transaction,
    write,
)

# Nothing here is about disks; where there is one in memory, it saves most of the time.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

NAMESPACES = ("default", "n", "n\x00")
AGENTS = ("a", "a:b", "a\x00b")
KEYS = ("k", "k/1", "k/1\x00", "k\x00", "b:k", "é", "\U0001f600", "z")
PREFIXES = ("", "k", "k/", "k\x00", "é")
NAMES = list(itertools.product(NAMESPACES, AGENTS, KEYS))

names = st.sampled_from(NAMES)
values = st.one_of(
    st.integers(0, 99).map(lambda number: (Kind.JSON, str(number).encode())),
    st.binary(max_size=4).map(lambda raw: (Kind.BYTES, raw)),
    st.just(None),
)


def operation(name, value):
    namespace, agent, key = name
    if value is None:
        return delete(key, namespace=namespace, agent=agent)
    return write(key, value[1], namespace=namespace, agent=agent, kind=value[0])


def precondition(name, expectation, number):
    return expect(name[2], expectation, number, namespace=name[0], agent=name[1])


operations = st.lists(st.builds(operation, names, values), max_size=4)
preconditions = st.lists(
    st.builds(precondition, names, st.sampled_from(Expectation), st.integers(0, 8)), max_size=2
)
attempts = st.builds(
    lambda ops, asked, client, sequence, acknowledged, txn_id: (
        transaction(
            *ops, client=client, sequence=sequence, preconditions=asked, txn_id=str(txn_id)
        ),
        min(acknowledged, sequence - 1),
    ),
    operations,
    preconditions,
    st.integers(1, 3),
    st.integers(1, 12),
    st.integers(0, 12),
    st.integers(0, 1),
)
steps_us = st.sampled_from(
    [0, 1, 1000, -5000, limits.RECEIPT_WINDOW_US // 2, limits.RECEIPT_WINDOW_US + 1]
)


class Histories(RuleBasedStateMachine):
    """One history, three tellers."""

    @initialize()
    def start(self):
        self.home = Path(tempfile.mkdtemp(dir=MEMORY))
        self.clock_us = START_US
        self.model, self.memory = Model(), MemoryStore()
        self.store = self._open()
        self.index = 0
        self.sent = []
        self.clients = {number: (number, 0) for number in (1, 2, 3)}
        self.held = []

    def teardown(self):
        for view, _ in getattr(self, "held", []):
            view.close()
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.home)

    def _open(self):
        return StateStore(self.home / "state", now_us=lambda: self.clock_us)

    @rule(groups=st.lists(st.tuples(st.lists(attempts, max_size=4), steps_us), max_size=3))
    def commit(self, groups):
        self._apply([([self._sent_now(*one) for one in tried], step) for tried, step in groups])

    def _sent_now(self, made, acknowledged):
        number, born_at = self.clients[int.from_bytes(made.client_id, "big")]
        made = structs.replace(made, client_id=client_id(number))
        self.sent.append((made, born_at, acknowledged))
        return self.sent[-1]

    @rule(data=st.data(), step_us=steps_us)
    def retry(self, data, step_us):
        if self.sent:
            again = data.draw(st.lists(st.sampled_from(self.sent), max_size=3))
            self._apply([(again, step_us)])

    def _apply(self, groups):
        entries, memory_groups, expected = [], [], []
        for tried, step_us in groups:
            self.clock_us += step_us
            encoded = [
                submission(made, born_at=born_at, acknowledged=done)
                for made, born_at, done in tried
            ]
            expected.append(self.model.apply(tried, self.clock_us))
            self.index += 1
            payload = codec.encode_group(self.clock_us, encoded)
            entries.append(Entry(self.index, 1, payload))
            memory_groups.append(group(*encoded, at_us=self.clock_us))
        answers = self.store.apply(entries, Position(self.index, 1), None)
        # The same log in other steps must come to the same rows.
        one_by_one = [self.memory.apply(one)[0] for one in memory_groups]
        assert answers == one_by_one
        assert [[_told(answer) for answer in one] for one in answers] == expected
        assert self.store.head == self.memory.head
        self._renew_clients()

    def _renew_clients(self):
        """As the SDK does, a client that is too old starts anew."""
        for slot, (number, born_at) in self.clients.items():
            gone = client_id(number) not in self.model.gone
            if gone and born_at < self.model.floor:
                self.clients[slot] = (number + 10, self.model.commit_ts)

    @rule()
    def restart(self):
        if not self.held:
            self.store.close()
            self.store = self._open()

    @rule()
    def move_a_copy_in(self):
        self.store.checkpoint(self.home / "copy")
        self.store.install(self.home / "copy")

    @rule()
    def hold_a_view(self):
        self.held.append((self.store.view(), self.model.commit_ts))
        if len(self.held) > 2:
            self.held.pop(0)[0].close()

    @invariant()
    def reads_agree(self):
        if not hasattr(self, "store"):
            return
        with closing(self.store.view()) as view, closing(self.memory.view()) as memory:
            self._compare(view, self.model.commit_ts)
            self._compare(memory, self.model.commit_ts)
            check_chain(view)
        for view, commit_ts in self.held:
            self._compare(view, commit_ts)

    @invariant()
    def rows_agree(self):
        if not hasattr(self, "store"):
            return
        for table, rows in self.memory.rows.tables.items():
            if table != table.META:
                assert dict(self.store._database.forward(table, b"", b"")) == rows, table

    def _compare(self, view, last):
        model = self.model
        assert view.commit_ts == last
        assert list(view.namespaces()) == model.namespaces(last)
        for at in {None, 0, last // 2, last}:
            moment = last if at is None else at
            for name in NAMES[:: 1 + last % 3]:
                assert view.get(*name, at) == model.get(name, moment)
            for namespace, agent in itertools.product(NAMESPACES, AGENTS):
                for prefix in PREFIXES:
                    records = model.scan(namespace, agent, prefix, moment)
                    assert list(view.scan(namespace, agent, prefix, at)) == records
                    keys = [record.key for record in records]
                    assert list(view.keys(namespace, agent, prefix, at)) == keys
        for name in NAMES[::5]:
            for version in range(4):
                expected = model.get_version(name, version, last)
                assert view.get_version(*name, version) == expected
        self._compare_history(view, last)

    def _compare_history(self, view, last):
        model = self.model
        scopes = [(None, None), ("default", None), ("n\x00", None), ("default", "a:b"), ("n", "a")]
        for namespace, agent in scopes:
            for start_ts, end_ts in ((1, last), (0, last // 2), (last // 2, None)):
                until = last if end_ts is None else end_ts
                expected = events_of(model, last, namespace, agent, start_ts, until)
                events = list(view.events(namespace, agent, start_ts, end_ts))
                assert [_shown(event) for event in events] == expected
                backwards = view.events(namespace, agent, start_ts, end_ts, newest_first=True)
                assert list(backwards) == events[::-1]
        for namespace in NAMESPACES:
            assert list(view.agents(namespace)) == model.agents(namespace, last)
        for time_us in (-1, 0, START_US, self.clock_us // 2 + START_US // 2, 2**62):
            assert view.resolve_time(time_us) == model.resolve_time(time_us, last)
        for _, time_us, _ in model.commits[-3:]:
            for near in (time_us - 1, time_us, time_us + 1):
                assert view.resolve_time(near) == model.resolve_time(near, last)


def _told(answer):
    if isinstance(answer, Committed):
        return answer
    return answer.conflicts if answer.reason == Reason.CONFLICT else Reason(answer.reason)


def _shown(event):
    operations = [
        ((told.namespace, told.agent_id, told.key), told.version, told.kind, told.value)
        for told in event.operations
    ]
    return event.commit_ts, event.committed_at_us, event.txn_id, operations


Histories.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestHistories = pytest.mark.timeout(240)(Histories.TestCase)
