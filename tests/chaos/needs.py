"""Owns what a test does that this machine cannot run: skip in words, fail where CI is set."""

from __future__ import annotations

import os

import pytest


def needs(reason: str) -> None:
    """Ends the test if there is a reason why it cannot run; no test is left out silently in CI."""
    if not reason:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI has to run this test, but {reason}")
    pytest.skip(reason)
