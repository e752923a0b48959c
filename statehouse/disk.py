"""Owns the question whether the data disk has room for more writes; asks it once a second."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from statehouse.core import limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOK_INTERVAL_S = 1.0


class DiskReserve:
    """Keeps DISK_RESERVE_BYTES free, so that what was taken can still be stored and recovered.

    `free_bytes` and `monotonic_s` are handed in by tests only.
    """

    def __init__(
        self,
        directory: Path,
        monotonic_s: Callable[[], float],
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        self._directory = directory
        self._monotonic_s = monotonic_s
        self._free_bytes = free_bytes or free_bytes_of
        self._looked_at_s = float("-inf")
        self.free_bytes = 0
        """As seen at the last look."""

    def has_room(self) -> bool:
        """Whether writes may be taken; the answer is at most a second old."""
        now_s = self._monotonic_s()
        if now_s - self._looked_at_s >= _LOOK_INTERVAL_S:
            self._looked_at_s = now_s
            self.free_bytes = self._free_bytes(self._directory)
        return self.free_bytes >= limits.DISK_RESERVE_BYTES


def free_bytes_of(directory: Path) -> int:
    """Bytes that this user may still write to the disk under `directory`."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
