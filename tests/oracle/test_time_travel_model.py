"""Forks, labels, cursors and every question about history: the views say what the dumb model says.

A log of marks and writes is drawn by chance; it is applied in the steps drawn, and group by group,
and must come to the same rows. Then views of two moments are asked about every commit_ts they
reach. A failing seed fails again.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statehouse.core.errors import Reason
from statehouse.core.marks import CURSORS, Cursor, Fork, Label
from statehouse.core.model import Committed, Kind, Metadata
from tests.helpers.chain import check_chain
from tests.oracle import model_history
from tests.oracle.memory_store import MemoryStore
from tests.oracle.model import Model
from tests.oracle.stores import OnRocksDB
from tests.oracle.test_against_the_model import _shown, _told
from tests.oracle.writing import (
    START_US,
    delete,
    group,
    mark,
    submission,
    transaction,
    version_is,
    write,
)

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

NAMESPACES = ("default", "n")
AGENTS = ("a", "f", "f\x00", "g", "h")
KEYS = ("k", "k/1", "z")
LABELS = ("l", "l/1")
VALUES = (
    *(
        b"1",
        b"1.0",
        b"true",
        b'"1"',
        b"null",
        b"[]",
        b"{}",
        b'{"x":1}',
        b'{ "x" : 1 }',
        b'{"x":1.0}',
    ),
    *(
        b'{"y":2,"x":1}',
        b'{"x":true,"y":2}',
        b'{"y":{"b":1,"a":[]}}',
        b'{"y":{"a":[],"b":1},"x":1}',
    ),
)


class Drawing:
    """Draws a log by chance, along a model that says what is possible; most of it comes to be."""

    def __init__(self, seed):
        self.random = Random(seed)
        self.model = Model()
        self.sequence = 0
        self.clock_us = START_US

    def batches(self):
        """Batches of groups: (time, transactions, what the model answers)."""
        return [[self._group() for _ in self._some(3)] for _ in self._some(8)]

    def _group(self):
        self.clock_us += 1000
        made, answers = [], []
        for _ in self._some(6):
            made.append(self._transaction())
            # Each is drawn along what those before it did.
            answers += self.model.apply([(made[-1], 0, 0)], self.clock_us)
        return self.clock_us, made, answers

    def _some(self, most):
        return range(self.random.randint(1, most))

    def _pick(self, *choices):
        return self.random.choice(choices)

    def _near(self):
        """A point near the present; now and then just beyond it, and often the last one."""
        back = self._pick(-1, *[0] * 5, *range(1, 6))
        return max(1, self.model.commit_ts - back)

    def _agents(self, namespace):
        return [one for where, one in self.model.agent_versions if where == namespace]

    def _transaction(self):
        self.sequence += 1
        namespace = self._pick("default", *NAMESPACES)
        agent = self._pick("a", *AGENTS, *self._agents(namespace) * 3)
        agent = "a" if agent == CURSORS else agent
        asked = []
        if self._pick(True, False):
            key = self._pick(*KEYS)
            last = self.model.get((namespace, agent, key), self.model.commit_ts)
            number = self._pick(0, *[0 if last is None else last.version] * 5)
            asked = [version_is(key, number, namespace=namespace, agent=agent)]
        causes = {self._near() for _ in range(self._pick(0, 0, 1, 2)) if self.model.commit_ts}
        return transaction(
            *self._operations(namespace, agent),
            sequence=self.sequence,
            preconditions=asked,
            metadata=Metadata(run_id=self._pick("", "r", "r\x00"), caused_by=tuple(causes)),
            txn_id=f"t{self.sequence}",
        )

    def _operations(self, namespace, agent):
        names = {"namespace": namespace, "agent": agent}
        what = self._pick(*["write"] * 4, "label", "cursor", "raw", *["fork"] * 3)
        if what == "fork" and self.model.commit_ts:
            agents = [one for one in self._agents(namespace) if one != CURSORS]
            new = self._pick(*[one for one in AGENTS if one not in agents] * 4, agent)
            parent = self._pick(*agents * 3, *agents[-1:] * 12, "nobody")
            return [mark(Fork(parent, self._near()), namespace=namespace, agent=new)]
        if what == "label":
            first = mark(Label(self._pick(*LABELS), self._pick(0, *[self._near()] * 3)), **names)
        elif what == "cursor":
            cursor = Cursor(self._pick(*LABELS), self._near(), "a", "k", self._pick(False, True))
            first = mark(cursor, **names)
        elif what == "raw":
            first = write(self._pick(*KEYS), b'{"x":1}', kind=Kind.BYTES, **names)
        else:
            first = write(self._pick(*KEYS), self._pick(*VALUES), **names)
        more = [delete("k", **names), write("k", b'{"x":1}', **names), write("z", agent="a")]
        return [first, *[self._pick(*more) for _ in range(self._pick(0, 0, 1, 2))]]


def compare_log(seed, store):
    """Applies a log to a store and to others, and compares what all of them hold and say."""
    drawing, one_by_one, views = Drawing(seed), MemoryStore(), []
    for batch in drawing.batches():
        groups = [
            group(*[submission(one) for one in made], at_us=at_us) for at_us, made, _ in batch
        ]
        answers = store.apply(*groups)
        assert answers == [one_by_one.apply(one)[0] for one in groups]
        assert [[_told(answer) for answer in one] for one in answers] == [
            expected for _, _, expected in batch
        ]
        views.append(store.view())
    # A view from halfway must not see what came later; the model holds all of it.
    for view in (*views[: len(views) // 2][-1:], views[-1]):
        compare(view, drawing.model, view.commit_ts)
        check_chain(view)
    for view in views:
        view.close()
    return one_by_one.rows.tables


def compare(view, model, last):
    for namespace, agent in itertools.product(NAMESPACES, AGENTS):
        compare_states(view, model, last, namespace, agent)
        compare_agent_history(view, model, last, namespace, agent)
        assert view.lineage(namespace, agent) == model.lineage(namespace, agent, last)
        assert view.forks(namespace, agent, 100) == model.forks(namespace, agent, last)
        assert view.forks(namespace, agent, 1) == model.forks(namespace, agent, last)[:1]
        labels = model.labels(namespace, agent, last)
        assert list(view.labels(namespace, agent)) == labels
        named = {row.name: row.commit_ts for row in labels}
        for name in LABELS:
            assert view.label(namespace, agent, name) == named.get(name)
    for namespace in NAMESPACES:
        compare_namespace(view, model, last, namespace)
    compare_events(view, model, last)


def compare_states(view, model, last, namespace, agent):
    for at in range(last + 1):
        for key in KEYS:
            assert view.get(namespace, agent, key, at) == model.get(
                (namespace, agent, key), at, last
            )
        for prefix in ("", "k/"):
            records = model.scan(namespace, agent, prefix, at, last)
            assert list(view.scan(namespace, agent, prefix, at)) == records
            keys = [record.key for record in records]
            assert list(view.keys(namespace, agent, prefix, at)) == keys
    for key, version in itertools.product(KEYS, range(6)):
        name = (namespace, agent, key)
        assert view.get_version(*name, version) == model.get_version(name, version, last)


def compare_namespace(view, model, last, namespace):
    assert list(view.agents(namespace)) == model.agents(namespace, last)
    cursors = model.cursors(namespace, last)
    assert list(view.cursors(namespace)) == cursors
    for name in LABELS:
        found = view.cursor(namespace, name)
        assert found == next((row for row in cursors if row.name == name), found)
        assert found is None or found.exists == (found in cursors)
        versions = model.of((namespace, CURSORS, name), last)
        assert (0 if found is None else found.version) == len(versions)
    for (one, other), prefix in itertools.product(itertools.product(AGENTS, AGENTS), ("", "k")):
        for a, b in ((last, last), (last // 2, last), (last, 0)):
            rows = view.diff(namespace, one, a, other, b, prefix)
            expected = model_history.diff(model, namespace, one, a, other, b, prefix, last)
            assert [(row.key, row.a, row.b) for row in rows] == expected


def compare_agent_history(view, model, last, namespace, agent):
    for key in KEYS:
        name = (namespace, agent, key)
        for first, end in ((1, last), (last // 2, last), (0, last // 2), (last, last + 5)):
            expected = model_history.versions(model, name, first, end, last)
            for newest_first in (False, True):
                rows = list(view.versions(*name, first, end, newest_first))
                shown = [(row.record, row.agent_id, row.txn_id, row.metadata) for row in rows]
                assert shown == (expected[::-1] if newest_first else expected)
        for at in (last, last // 2):
            expected = model_history.explain(model, name, at, last)
            found = list(view.explain(*name, at))
            assert {
                row.event.commit_ts: (row.distance, [_read(read) for read in row.reads])
                for row in found
            } == expected
            order = [(row.distance, -row.event.commit_ts) for row in found]
            assert order == sorted(order)
            assert list(view.explain(*name, at, limit=2)) == found[:2]
    for at, prefix in itertools.product((last, last // 2), ("", "k")):
        expected = model_history.blame(model, namespace, agent, prefix, at, last)
        told = list(view.blame(namespace, agent, prefix, at, fields=True))
        assert [_blamed(row) for row in told] == expected
        plain = list(view.blame(namespace, agent, prefix, at))
        assert [row.last for row in plain] == [row.last for row in told]


def compare_events(view, model, last):
    scopes = [(None, None), *[(namespace, None) for namespace in NAMESPACES]]
    scopes += itertools.product(NAMESPACES, AGENTS)
    filters = [{}, {"prefix": "k"}, {"run_id": "r"}, {"run_id": "r\x00"}]
    filters += [{"caused_by": cause} for cause in range(1, last + 1, 3)]
    for (namespace, agent), only in itertools.product(scopes, filters):
        if only.get("run_id") and namespace is None:
            continue
        for first, end in ((1, None), (last // 2, last), (0, last // 2)):
            expected = model_history.events(model, last, namespace, agent, first, end, **only)
            events = list(view.events(namespace, agent, first, end, **only))
            assert [_shown(event) for event in events] == expected
            backwards = view.events(namespace, agent, first, end, newest_first=True, **only)
            assert list(backwards) == events[::-1]


def _read(read):
    return read.namespace, read.agent_id, read.key, read.version, read.commit_ts


def _blamed(row):
    fields = [(told.field, told.version, told.agent_id) for told in row.fields]
    return row.last.record, fields


@pytest.mark.parametrize("seed", range(40))
def test_any_log_on_dictionaries(seed):
    store = MemoryStore()
    rows = compare_log(seed, store)
    assert store.rows.tables == rows


@pytest.mark.parametrize("seed", range(100, 110))
def test_any_log_on_rocksdb(seed):
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY))
        store = stack.enter_context(closing(OnRocksDB(Path(home))))
        rows = compare_log(seed, store)
        assert store.tables() == rows


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1000))
def test_logs_never_seen_before(seed):
    store = MemoryStore()
    rows = compare_log(seed, store)
    assert store.rows.tables == rows


def test_the_logs_drawn_hold_what_they_are_about():
    """Forks of forks, at points of the same step, are not too rare to be met."""
    met = Counter()
    for seed in range(40):
        drawing = Drawing(seed)
        for batch in drawing.batches():
            answers = [answer for _, _, answers in batch for answer in answers]
            met.update(one if isinstance(one, Reason) else type(one).__name__ for one in answers)
            step = [one.commit_ts for one in answers if isinstance(one, Committed)]
            for forked_at, _, point in drawing.model.forked.values():
                met["fork of what the same step wrote"] += forked_at in step and point in step
        last = drawing.model.commit_ts
        for namespace, agent in drawing.model.forked:
            met[len(drawing.model.lineage(namespace, agent, last)), "deep"] += 1
    assert met["Committed"] > 300, met
    assert min(met["fork of what the same step wrote"], met[2, "deep"], met[3, "deep"]) > 5, met
    reasons = (Reason.FUTURE_POINT, Reason.LABEL_NOT_FOUND, Reason.AGENT_EXISTS)
    for reason in (*reasons, Reason.AGENT_NOT_FOUND, "tuple"):
        assert met[reason] > 3, met
