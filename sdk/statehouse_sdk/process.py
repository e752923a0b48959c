"""Owns the knowledge of which process this is, for code that asks often: a fork is noticed, and the
kernel is not asked each time."""

from __future__ import annotations

import os

current = os.getpid()
"""What os.getpid() says. To be read anew each time, as `process.current`."""


def _forked() -> None:
    global current
    current = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
