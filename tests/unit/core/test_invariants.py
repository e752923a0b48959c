"""An invariant speaks only when it is broken."""

import pytest

from statehouse.core.invariants import InvariantViolation, invariant


def test_what_holds_passes():
    invariant(True, "two is two")


def test_what_does_not_hold_stops_in_words():
    with pytest.raises(InvariantViolation, match="two is three"):
        invariant(False, "two is three")
