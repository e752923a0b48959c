"""Owns when a walk breathes: after how many rows, or bytes, others must get their turn."""

from __future__ import annotations

from typing import Final

BREATH_ROWS: Final = 256
"""Rows after which a walk that has nothing to tell breathes."""

BREATH_BYTES: Final = 1024 * 1024
"""Bytes of values after which it breathes: a hash or a parse of them takes milliseconds."""


class Breath:
    """Counts what a walk has looked at since it told or breathed."""

    __slots__ = ("_bytes", "_rows")

    def __init__(self) -> None:
        self._rows = self._bytes = 0

    def due(self, size_bytes: int = 0) -> bool:
        """Counts one row with so many bytes; whether the walk must breathe now."""
        self._rows += 1
        self._bytes += size_bytes
        if self._rows < BREATH_ROWS and self._bytes < BREATH_BYTES:
            return False
        self.told()
        return True

    def told(self) -> None:
        """A row was told: whoever asked for it gives others their turn."""
        self._rows = self._bytes = 0
