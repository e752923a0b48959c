"""Owns what a point in history means for one view: a commit_ts, found once, checked once. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from statehouse.core import validation
from statehouse.core.errors import Failure, Reason

if TYPE_CHECKING:
    from statehouse_proto.v2 import common_pb2

    from statehouse.rpc.backend import View

NowUs = Callable[[], int]
"""UTC microseconds; only used to say that an asked time has not come yet."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_US_MAX = 253_402_300_799_999_999  # the last microsecond of the year 9999
_LABELS_TOLD = 5


class Asked(NamedTuple):
    """Whose labels a point may name."""

    namespace: str
    agent_id: str


def state_at(point: common_pb2.Point, view: View, now_us: NowUs, asked: Asked) -> int:
    """The commit_ts whose state is asked for.

    FUTURE_POINT: the view has not reached it; BEFORE_BEGINNING: a time before the first commit.
    """
    which = point.WhichOneof("point")
    if which == "time_us":
        _check_come(_time_us(point), view, now_us)
        return _begun(point.time_us, view)
    if which == "label":
        return _labelled(point.label, view, asked)
    return _reached(_commit_ts(point), view)


def range_start(point: common_pb2.Point, view: View, asked: Asked) -> int:
    """The first commit_ts of a range that begins at `point`, itself included."""
    which = point.WhichOneof("point")
    if which == "time_us":
        return view.resolve_time(_time_us(point) - 1) + 1
    if which == "label":
        return max(_labelled(point.label, view, asked), 1)
    return max(_commit_ts(point), 1)


def range_end(point: common_pb2.Point, view: View, asked: Asked) -> int:
    """The last commit_ts of a range that ends at `point`, itself included; not beyond the view."""
    which = point.WhichOneof("point")
    if which == "time_us":
        return view.resolve_time(_time_us(point))
    if which == "label":
        return _labelled(point.label, view, asked)
    return min(_commit_ts(point), view.commit_ts)


def check_reached(commit_ts: int, view: View) -> None:
    """Refuses a commit_ts that the view has not reached."""
    _reached(commit_ts, view)


def _commit_ts(point: common_pb2.Point) -> int:
    if point.WhichOneof("point") is None:
        raise Failure(
            Reason.INVALID_ARGUMENT,
            "a point names nothing; set commit_ts, time_us or label, or leave the point out",
        )
    return point.commit_ts


def _reached(commit_ts: int, view: View) -> int:
    if commit_ts > view.commit_ts:
        raise Failure(
            Reason.FUTURE_POINT,
            f"commit_ts {commit_ts} lies in the future; the last one is {view.commit_ts}",
        )
    return commit_ts


def _time_us(point: common_pb2.Point) -> int:
    if not 0 <= point.time_us <= _TIME_US_MAX:
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"time_us is {point.time_us}; it must lie between the years 1970 and 9999",
        )
    return point.time_us


def _check_come(time_us: int, view: View, now_us: NowUs) -> None:
    if time_us > max(now_us(), view.committed_at_us):
        raise Failure(
            Reason.FUTURE_POINT,
            f"the time asked for, {_shown(time_us)}, lies in the future; ask for a past one",
        )


def _begun(time_us: int, view: View) -> int:
    first_us = view.first_committed_at_us
    if first_us is not None and time_us >= first_us:
        return view.resolve_time(time_us)
    begins = "nothing is committed yet"
    if first_us is not None:
        begins = f"history begins at {_shown(first_us)}, with commit_ts 1"
    raise Failure(
        Reason.BEFORE_BEGINNING,
        f"the time asked for, {_shown(time_us)}, lies before the first commit: {begins}; "
        "commit_ts 0 is the empty beginning",
    )


def _labelled(name: str, view: View, asked: Asked) -> int:
    if not (asked.namespace and asked.agent_id):
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"the label {name!r} belongs to an agent: name the namespace and the agent_id",
        )
    validation.check_scope(asked.namespace, asked.agent_id, "")
    found = view.label(asked.namespace, asked.agent_id, name)
    if found is None:
        raise Failure(
            Reason.LABEL_NOT_FOUND,
            f"agent {asked.agent_id!r} of namespace {asked.namespace!r} has no label {name!r}; "
            f"{_labels_told(view, asked)}",
        )
    return found


def _labels_told(view: View, asked: Asked) -> str:
    """The first labels there are, in words; a breath ends the search."""
    names: list[str] = []
    for row in view.labels(asked.namespace, asked.agent_id):
        if row is None or len(names) == _LABELS_TOLD:
            names.append("more")
            break
        names.append(repr(row.name))
    return f"it has {', '.join(names)}" if names else "it has none"


def _shown(time_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat()
