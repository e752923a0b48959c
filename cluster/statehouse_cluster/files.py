"""Owns what the journal and the identity need from a disk, and its real form over `os`.

The callers know when a thing must be durable; this file knows only how one asks for it. It must
not know what the bytes mean. Everything goes through `Files` so that a test can put a simulated
disk beneath, which forgets what was not synced and fails when told to.

Nothing here retries a sync: after one that failed nobody can say which bytes are on the disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

ASIDE_SUFFIX = ".new"
"""Ends the name of a file that is not finished; what a crash leaves under it means nothing."""


class Files(Protocol):
    """A disk. Every method may raise OSError; sizes and offsets are bytes."""

    def open(self, path: Path) -> int:
        """Opens an existing file for reading and writing; the handle is of use here only."""

    def create(self, path: Path) -> int:
        """Opens a file for reading and writing, empty: made if absent, emptied if present."""

    def close(self, handle: int) -> None:
        """Gives the handle back. Syncs nothing."""

    def read(self, handle: int, offset: int, size_bytes: int) -> bytes:
        """The bytes at `offset`; fewer than asked only where the file ends."""

    def write(self, handle: int, offset: int, data: bytes) -> None:
        """Writes all of `data` at `offset`; on an error any part of it may be written."""

    def size(self, handle: int) -> int:
        """The length of the file."""

    def truncate(self, handle: int, size_bytes: int) -> None:
        """Cuts the file to `size_bytes`."""

    def sync_data(self, handle: int) -> None:
        """Returns when the content and the length are on the disk."""

    def sync(self, handle: int) -> None:
        """Returns when the content and everything known about the file are on the disk."""

    def sync_directory(self, path: Path) -> None:
        """Returns when the names in the directory are on the disk."""

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file another name in one step, replacing what had it."""

    def unlink(self, path: Path) -> None:
        """Removes a file."""

    def make_directory(self, path: Path) -> None:
        """Makes the directory and those above it; nothing happens where it exists."""

    def list_directory(self, path: Path) -> list[str]:
        """The names in a directory, sorted."""


class RealFiles:
    """`Files` over the operating system; handles are file descriptors.

    `os.write` and `os.fdatasync` let go of the GIL: while the disk works, other threads run.
    """

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def close(self, handle: int) -> None:
        os.close(handle)

    def read(self, handle: int, offset: int, size_bytes: int) -> bytes:
        data = os.pread(handle, size_bytes, offset)
        if len(data) == size_bytes or not data:
            return data
        pieces = [data]
        got_bytes = len(data)
        while got_bytes < size_bytes:
            data = os.pread(handle, size_bytes - got_bytes, offset + got_bytes)
            if not data:
                break
            pieces.append(data)
            got_bytes += len(data)
        return b"".join(pieces)

    def write(self, handle: int, offset: int, data: bytes) -> None:
        written_bytes = os.pwrite(handle, data, offset)
        rest = memoryview(data)
        while written_bytes < len(data):
            written_bytes += os.pwrite(handle, rest[written_bytes:], offset + written_bytes)

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def truncate(self, handle: int, size_bytes: int) -> None:
        os.ftruncate(handle, size_bytes)

    def sync_data(self, handle: int) -> None:
        os.fdatasync(handle)

    def sync(self, handle: int) -> None:
        os.fsync(handle)

    def sync_directory(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def list_directory(self, path: Path) -> list[str]:
        return sorted(os.listdir(path))


def read_whole(files: Files, path: Path) -> bytes:
    """The content of a file; raises FileNotFoundError where there is none."""
    handle = files.open(path)
    try:
        return files.read(handle, 0, files.size(handle))
    finally:
        files.close(handle)


def write_durably(files: Files, path: Path, data: bytes) -> None:
    """Puts `data` under `path`, whole and on the disk, before it returns.

    Written aside, synced, renamed, the directory synced: whenever the machine stops, `path` holds
    what it held before or all of `data`, never a part.
    """
    aside = path.with_name(path.name + ASIDE_SUFFIX)
    handle = files.create(aside)
    try:
        files.write(handle, 0, data)
        files.sync(handle)
    finally:
        files.close(handle)
    files.rename(aside, path)
    files.sync_directory(path.parent)
