"""Owns directories that live as long as their process, for nodes that keep nothing.

Each holds a lock file that its process keeps locked. One that is not locked was left by a process
that was killed; whoever makes the next one removes it. The lock file goes last, so that a removal
that is cut short is finished by another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "statehouse-memory-"
_LOCK = "LOCK"


class TemporaryDirectory:
    """A private, empty directory at `path` until `remove` is called or the process ends."""

    def __init__(self) -> None:
        _sweep()
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            try:
                self._descriptor = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            except FileNotFoundError:
                continue  # another process took the empty directory for a leftover
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if (self.path / _LOCK).exists():
                return
            os.close(self._descriptor)

    def remove(self) -> None:
        """Removes it and all in it."""
        _remove(self.path)
        os.close(self._descriptor)


def _sweep() -> None:
    for found in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Another user's, or one that vanishes meanwhile, is none of ours.
        with contextlib.suppress(OSError):
            if found.stat().st_uid == os.getuid():
                _remove_if_left(found)


def _remove_if_left(directory: Path) -> None:
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        directory.rmdir()
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(directory)
    finally:
        os.close(descriptor)


def _remove(directory: Path) -> None:
    for found in directory.iterdir():
        if found.is_dir():
            shutil.rmtree(found)
        elif found.name != _LOCK:
            found.unlink()
    (directory / _LOCK).unlink()
    directory.rmdir()
