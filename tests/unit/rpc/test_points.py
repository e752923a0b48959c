"""What a point in history stands for, and the words for one that stands for nothing."""

from __future__ import annotations

import pytest
from statehouse_proto.v2 import common_pb2

from statehouse.core.errors import Failure, Reason
from statehouse.core.model import LabelRow
from statehouse.rpc import points
from statehouse.rpc.points import Asked

HERE = Asked("ns", "a")
NOBODY = Asked("", "")
NOW_US = 10_000


class SomeView:
    """Commits 1 to 3 at 1000, 2000 and 3000 us; labels of agent a."""

    def __init__(self, count=3, labels=(("before", 2),)):
        self.commit_ts = count
        self.committed_at_us = 1000 * count
        self.first_committed_at_us = 1000 if count else None
        self._labels = dict(labels)

    def resolve_time(self, time_us):
        return min(max(time_us, 0) // 1000, self.commit_ts)

    def label(self, namespace, agent_id, name):
        return self._labels.get(name) if (namespace, agent_id) == HERE else None

    def labels(self, namespace, agent_id):
        if (namespace, agent_id) == HERE:
            for name, commit_ts in sorted(self._labels.items()):
                yield LabelRow(name, commit_ts, 1, 3, 3000)


def point(**fields):
    return common_pb2.Point(**fields)


def state_at(asked=HERE, view=None, **fields):
    return points.state_at(point(**fields), view or SomeView(), lambda: NOW_US, asked)


def refused(**fields):
    with pytest.raises(Failure) as failure:
        state_at(**fields)
    return failure.value.reason, failure.value.message


def test_a_point_is_a_commit_a_time_or_a_label():
    assert state_at(commit_ts=0) == 0
    assert state_at(commit_ts=3) == 3
    assert state_at(time_us=2999) == 2
    assert state_at(time_us=NOW_US) == 3
    assert state_at(label="before") == 2


def test_the_future_is_refused_and_the_last_commit_told():
    assert refused(commit_ts=4) == (
        Reason.FUTURE_POINT,
        "commit_ts 4 lies in the future; the last one is 3",
    )
    assert refused(time_us=NOW_US + 1)[0] is Reason.FUTURE_POINT


def test_a_time_before_the_first_commit_is_told_when_history_begins():
    reason, text = refused(time_us=999)
    assert reason is Reason.BEFORE_BEGINNING
    assert "history begins at 1970-01-01T00:00:00.001000+00:00" in text
    reason, text = refused(time_us=999, view=SomeView(0))
    assert reason is Reason.BEFORE_BEGINNING
    assert "nothing is committed yet" in text


def test_an_unknown_label_is_told_with_some_that_there_are():
    assert refused(label="x") == (
        Reason.LABEL_NOT_FOUND,
        "agent 'a' of namespace 'ns' has no label 'x'; it has 'before'",
    )
    many = SomeView(labels=[(f"l{number}", 1) for number in range(9)])
    assert refused(label="x", view=many)[1].endswith("it has 'l0', 'l1', 'l2', 'l3', 'l4', more")
    assert refused(label="x", asked=Asked("ns", "b"))[1].endswith("it has none")


@pytest.mark.parametrize("asked", [NOBODY, Asked("ns", ""), Asked("", "a")])
def test_a_label_needs_its_agent(asked):
    assert refused(label="before", asked=asked)[0] is Reason.INVALID_ARGUMENT


@pytest.mark.parametrize("fields", [{}, {"time_us": -1}, {"time_us": 2**62}])
def test_a_point_that_is_none_is_refused(fields):
    assert refused(**fields)[0] is Reason.INVALID_ARGUMENT


def test_ranges_are_clipped_by_commit_and_by_time_and_exact_by_label():
    view = SomeView()
    starts = [
        points.range_start(point(**fields), view, HERE)
        for fields in ({"commit_ts": 0}, {"commit_ts": 9}, {"time_us": 1001}, {"label": "before"})
    ]
    assert starts == [1, 9, 2, 2]
    ends = [
        points.range_end(point(**fields), view, HERE)
        for fields in ({"commit_ts": 0}, {"commit_ts": 9}, {"time_us": 2999}, {"label": "before"})
    ]
    assert ends == [0, 3, 2, 2]
