"""Owns the rows of one table that were written or asked for last, so that they need not be read.

What a key's last version is, is asked before each write of it, and agents write the same keys again
and again. It holds what the database holds, or nothing: whoever replaces the database makes a new
one of these. It must not know what the rows mean.
"""

from __future__ import annotations

from typing import Final

ROWS_MAX: Final = 16 * 1024
"""Rows of one generation; there are two at most. About 200 bytes each."""


class RecentRows:
    """Rows by their keys. When a generation is full the one before it is forgotten."""

    def __init__(self) -> None:
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """The row; None: it is not known here."""
        row = self._young.get(key)
        if row is None:
            row = self._old.get(key)
            if row is not None:
                self.put(key, row)
        return row

    def put(self, key: bytes, row: bytes) -> None:
        """Takes over what the database holds by now."""
        self._young[key] = row
        if len(self._young) >= ROWS_MAX:
            self._old, self._young = self._young, {}
