"""Owns the ids of transactions: unique in all the world, and cheap, for each transaction needs one.

They are UUIDs of the random kind. A process draws the beginning once, and counts from a number that
it draws too; a forked child draws anew.
"""

from __future__ import annotations

import os
import secrets
from itertools import count


class _TxnIds:
    """Ids of one process; thread-safe."""

    def __init__(self) -> None:
        drawn = secrets.token_hex(9)
        variant = secrets.choice("89ab")
        self._beginning = f"{drawn[:8]}-{drawn[8:12]}-4{drawn[12:15]}-{variant}{drawn[15:]}-"
        self._numbers = count(secrets.randbits(47))

    def new(self) -> str:
        return f"{self._beginning}{next(self._numbers):012x}"


_ids = _TxnIds()


def new() -> str:
    """An id that no other transaction has."""
    return _ids.new()


def _forked() -> None:
    global _ids
    _ids = _TxnIds()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
