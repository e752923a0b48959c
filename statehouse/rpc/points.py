"""Owns what a point in history means for one view: a commit_ts, found once, checked once. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from statehouse.core.errors import Failure, Reason

if TYPE_CHECKING:
    from statehouse_proto.v2 import common_pb2

    from statehouse.rpc.backend import View

NowUs = Callable[[], int]
"""UTC microseconds; only used to say that an asked time has not come yet."""

_TIME_US_MAX = 253_402_300_799_999_999  # the last microsecond of the year 9999


def state_at(point: common_pb2.Point, view: View, now_us: NowUs) -> int:
    """The commit_ts whose state is asked for; FUTURE_POINT when the view has not reached it."""
    if point.WhichOneof("point") == "time_us":
        if _time_us(point) > max(now_us(), view.committed_at_us):
            raise Failure(
                Reason.FUTURE_POINT,
                f"the time asked for, {point.time_us} us, lies in the future; ask for a past one",
            )
        return view.resolve_time(point.time_us)
    if point.commit_ts > view.commit_ts:
        raise Failure(
            Reason.FUTURE_POINT,
            f"commit_ts {point.commit_ts} lies in the future; the last one is {view.commit_ts}",
        )
    return point.commit_ts


def range_start(point: common_pb2.Point, view: View) -> int:
    """The first commit_ts of a range that begins at `point`, itself included."""
    if point.WhichOneof("point") == "time_us":
        return view.resolve_time(_time_us(point) - 1) + 1
    return max(point.commit_ts, 1)


def range_end(point: common_pb2.Point, view: View) -> int:
    """The last commit_ts of a range that ends at `point`, itself included; not beyond the view."""
    if point.WhichOneof("point") == "time_us":
        return view.resolve_time(_time_us(point))
    return min(point.commit_ts, view.commit_ts)


def _time_us(point: common_pb2.Point) -> int:
    if not 0 <= point.time_us <= _TIME_US_MAX:
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"time_us is {point.time_us}; it must lie between the years 1970 and 9999",
        )
    return point.time_us
