"""When a transaction that met a conflict runs again: so often, so soon, and not after the end."""

from __future__ import annotations

import pytest
from statehouse_sdk import InvalidRequestError
from statehouse_sdk.reruns import CONFLICT_PAUSE_FIRST_S, CONFLICT_PAUSE_MAX_S, Reruns


def pauses(reruns, count, now_s=0.0, jitter=1.0):
    return [reruns.pause_s(now_s, jitter) for _ in range(count)]


def test_the_last_of_so_many_runs_has_no_pause():
    assert pauses(Reruns(1, 100), 1) == [None]
    assert pauses(Reruns(3, 100), 3)[2] is None
    assert None not in pauses(Reruns(3, 100), 2)


def test_pauses_double_up_to_a_bound_and_keep_their_jitter():
    told = pauses(Reruns(99, 1e9), 12, jitter=0.5)
    assert told[:3] == [CONFLICT_PAUSE_FIRST_S * factor for factor in (0.5, 1, 2)]
    assert told[-1] == CONFLICT_PAUSE_MAX_S / 2


def test_no_run_begins_after_the_deadline():
    reruns = Reruns(99, 10.0)
    assert reruns.pause_s(9.0, 1.0) is not None
    assert reruns.pause_s(9.999, 1.0) is None


def test_less_than_one_run_is_refused():
    with pytest.raises(InvalidRequestError, match="at least one"):
        Reruns(0, 10.0)
