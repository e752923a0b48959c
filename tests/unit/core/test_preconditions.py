"""Each expectation, against a key never written, written, and deleted."""

import pytest

from statehouse.core.model import Conflict, Expectation, Precondition
from statehouse.core.preconditions import conflict_of

NEVER, WRITTEN, DELETED = None, (3, 7, 1, 0), (4, 9, 0, 0)
VERSION, ABSENT, UNCHANGED = Expectation.VERSION, Expectation.ABSENT, Expectation.UNCHANGED_SINCE


@pytest.mark.parametrize(
    ("expectation", "number", "latest", "holds"),
    [
        (VERSION, 0, NEVER, True),
        (VERSION, 1, NEVER, False),
        (VERSION, 3, WRITTEN, True),
        (VERSION, 2, WRITTEN, False),
        (VERSION, 0, WRITTEN, False),
        (VERSION, 4, DELETED, True),
        (VERSION, 0, DELETED, False),
        (ABSENT, 0, NEVER, True),
        (ABSENT, 0, WRITTEN, False),
        (ABSENT, 0, DELETED, True),
        (UNCHANGED, 0, NEVER, True),
        (UNCHANGED, 7, WRITTEN, True),
        (UNCHANGED, 6, WRITTEN, False),
        (UNCHANGED, 8, DELETED, False),
        (UNCHANGED, 9, DELETED, True),
    ],
)
def test_a_precondition_holds_or_says_what_was_found(expectation, number, latest, holds):
    asked = Precondition("n", "a", "k", expectation.value, number)
    conflict = conflict_of(asked, latest)
    if holds:
        assert conflict is None
    else:
        version, commit_ts, kind, _ = latest or (0, 0, 0, 0)
        assert conflict == Conflict(asked, version, commit_ts, kind != 0)
