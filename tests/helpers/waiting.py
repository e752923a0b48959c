"""Waiting on a condition with a deadline: the only way tests wait for something to happen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

POLL_INTERVAL_S = 0.02


def eventually(
    condition: Callable[[], T], *, timeout_s: float = 10.0, what: str = "the condition"
) -> T:
    """Returns the first truthy value of `condition`; AssertionError when the deadline passes.

    An assertion that fails inside `condition` counts as "not yet"; any other exception is raised.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        last: object
        try:
            value = condition()
            if value:
                return value
            last = value
        except AssertionError as not_yet:
            last = not_yet
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what} did not hold within {timeout_s:g} s; last: {last!r}")
        time.sleep(POLL_INTERVAL_S)
