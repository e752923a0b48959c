"""A disk in memory that forgets what was not synced, fails when told to, and stops at any step.

It implements `statehouse_cluster.files.Files` as harshly as POSIX allows:

- A file's bytes reach the disk with `sync` or `sync_data` of that file and not before. At a crash
  each changed file keeps its old content, its new content, or a torn mix: every 512-byte sector
  written or not (zeros where there was nothing before), the length old, new or anything between.
- A name (made, renamed, removed) reaches the disk with `sync_directory` of its directory. At a
  crash any of the changes since may be there and any may not, in whatever order they were made;
  only a rename is one change. What lies in a directory that is not there is gone.
- Every operation has a number. One can be made to fail with an OSError, a write then having
  written a part, or to be the last: it raises `Crash`, and so does everything until `crash` or
  `kill`. The next sync can be made to fail, and the disk to be full until it is told otherwise.

All randomness comes from the `random.Random` handed in, so one seed is one run.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

SECTOR_BYTES = 512


class Crash(BaseException):
    """The machine stopped at this operation. No handler for errors may swallow it."""


@dataclass(eq=False)
class _File:
    is_directory: bool = False
    current: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


_NameChange = tuple[tuple[Path, _File | None], ...]
"""Names set, or with None removed, in one step."""


class SimulatedFiles:
    """A disk whose only directory is `root` at first."""

    def __init__(self, root: Path = Path("/disk")) -> None:
        self.operation_count = 0
        """Operations so far; the next one has this number plus one."""
        self.on_sync: Callable[[], None] = lambda: None
        """Called at each sync, for whoever knows how long one takes."""
        self.is_full = False
        """Nothing more can be written, nor made."""
        self._root = root
        self._names: dict[Path, _File] = {root: _File(is_directory=True)}
        self._synced_names = dict(self._names)
        self._name_changes: list[_NameChange] = []
        self._handles: dict[int, _File] = {}
        self._next_handle = 1000
        self._faults: dict[int, BaseException] = {}
        self._sync_fault: OSError | None = None
        self._stopped = False

    # What a test does to the disk.

    def fail_at(self, operation: int, error_number: int) -> None:
        """Makes the operation with this number fail with an OSError."""
        self._faults[operation] = OSError(error_number, os.strerror(error_number))

    def fail_next_sync(self, error_number: int) -> None:
        """Makes the next sync, of whatever it is, fail with an OSError, and sync nothing."""
        self._sync_fault = OSError(error_number, os.strerror(error_number))

    def crash_at(self, operation: int) -> None:
        """Makes the operation with this number raise Crash."""
        self._faults[operation] = Crash(f"at operation {operation}")

    def crash(self, random: Random) -> None:
        """Power is lost and comes back: what was not synced is kept, lost or torn by chance."""
        names = dict(self._synced_names)
        chance = random.choice((0.0, 0.5, 1.0))
        for change in self._name_changes:
            if random.random() < chance:
                _change_names(names, change)
        self._names = {path: file for path, file in names.items() if self._reachable(path, names)}
        self._synced_names = dict(self._names)
        self._name_changes = []
        for file in dict.fromkeys(self._names.values()):
            file.synced = _outcome(file, random)
            file.current = bytearray(file.synced)
        self.kill()

    def kill(self) -> None:
        """The process ends and the machine goes on: nothing is lost, and nothing is synced."""
        self._handles.clear()
        self._faults.clear()
        self._sync_fault = None
        self._stopped = False

    def content(self, path: Path) -> bytes:
        """What a reader of the file would see."""
        return bytes(self._find(path).current)

    def damage(self, path: Path, content: bytes) -> None:
        """Puts other bytes on the disk, behind everybody's back."""
        file = self._find(path)
        file.current = bytearray(content)
        file.synced = content

    def lose(self, path: Path) -> None:
        """Removes a file from the disk, behind everybody's back."""
        del self._names[path]
        self._synced_names.pop(path, None)

    @property
    def open_handles(self) -> int:
        return len(self._handles)

    # `Files`.

    def open(self, path: Path) -> int:
        self._step()
        return self._handle_of(self._find(path))

    def create(self, path: Path) -> int:
        fault = self._next_fault(grows=True)
        file = self._names.get(path)
        if isinstance(fault, OSError):
            raise fault
        if file is None:
            self._require_directory(path.parent)
            file = _File()
            self._change(((path, file),))
        file.current = bytearray()
        if fault is not None:
            raise fault
        return self._handle_of(file)

    def close(self, handle: int) -> None:
        self._step()
        self._file(handle)
        del self._handles[handle]

    def read(self, handle: int, offset: int, size_bytes: int) -> bytes:
        self._step()
        return bytes(self._file(handle).current[offset : offset + size_bytes])

    def write(self, handle: int, offset: int, data: bytes) -> None:
        fault = self._next_fault(grows=True)
        content = self._file(handle).current
        if isinstance(fault, OSError):
            data = data[: len(data) // 2]
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
        if fault is not None:
            raise fault

    def size(self, handle: int) -> int:
        self._step()
        return len(self._file(handle).current)

    def truncate(self, handle: int, size_bytes: int) -> None:
        fault = self._next_fault()
        if not isinstance(fault, OSError):
            del self._file(handle).current[size_bytes:]
        if fault is not None:
            raise fault

    def sync_data(self, handle: int) -> None:
        self.sync(handle)

    def sync(self, handle: int) -> None:
        self._step_of_sync()
        file = self._file(handle)
        file.synced = bytes(file.current)

    def sync_directory(self, path: Path) -> None:
        self._step_of_sync()
        self._require_directory(path)
        rest: list[_NameChange] = []
        for change in self._name_changes:
            if any(name.parent == path for name, _ in change):
                _change_names(self._synced_names, change)
            else:
                rest.append(change)
        self._name_changes = rest

    def rename(self, source: Path, target: Path) -> None:
        fault = self._next_fault()
        if not isinstance(fault, OSError):
            self._change(((target, self._find(source)), (source, None)))
        if fault is not None:
            raise fault

    def unlink(self, path: Path) -> None:
        fault = self._next_fault()
        if not isinstance(fault, OSError):
            self._find(path)
            self._change(((path, None),))
        if fault is not None:
            raise fault

    def make_directory(self, path: Path) -> None:
        fault = self._next_fault(grows=True)
        if not isinstance(fault, OSError):
            for directory in reversed((path, *path.parents[:-1])):
                if directory not in self._names:
                    self._change(((directory, _File(is_directory=True)),))
        if fault is not None:
            raise fault

    def list_directory(self, path: Path) -> list[str]:
        self._step()
        self._require_directory(path)
        return sorted(name.name for name in self._names if name.parent == path and name != path)

    # Inside.

    def _step(self) -> None:
        fault = self._next_fault()
        if fault is not None:
            raise fault

    def _step_of_sync(self) -> None:
        self.on_sync()
        self._step()
        fault, self._sync_fault = self._sync_fault, None
        if fault is not None:
            raise fault

    def _next_fault(self, *, grows: bool = False) -> BaseException | None:
        if self._stopped:
            raise Crash("the machine is off")
        self.operation_count += 1
        fault = self._faults.pop(self.operation_count, None) if self._faults else None
        if fault is not None:
            self._stopped = isinstance(fault, Crash)
        elif grows and self.is_full:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return fault

    def _change(self, change: _NameChange) -> None:
        _change_names(self._names, change)
        self._name_changes.append(change)

    def _reachable(self, path: Path, names: dict[Path, _File]) -> bool:
        return path == self._root or (path.parent in names and self._reachable(path.parent, names))

    def _find(self, path: Path) -> _File:
        file = self._names.get(path)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if file.is_directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return file

    def _require_directory(self, path: Path) -> None:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def _handle_of(self, file: _File) -> int:
        self._next_handle += 1
        self._handles[self._next_handle] = file
        return self._next_handle

    def _file(self, handle: int) -> _File:
        if handle not in self._handles:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._handles[handle]


def _change_names(names: dict[Path, _File], change: _NameChange) -> None:
    for path, file in change:
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file


def _outcome(file: _File, random: Random) -> bytes:
    old, new = file.synced, bytes(file.current)
    match random.choice(("old", "new", "torn")):
        case "old":
            return old
        case "new":
            return new
    if len(new) < len(old):
        return old if random.random() < 0.5 else old[: len(new)]
    size_bytes = len(new) if random.random() < 0.5 else random.randint(len(old), len(new))
    mixed = bytearray(old.ljust(size_bytes, b"\0"))
    for start in range(0, size_bytes, SECTOR_BYTES):
        if random.random() < 0.5:
            stop = min(start + SECTOR_BYTES, size_bytes)
            mixed[start:stop] = new[start:stop]
    return bytes(mixed)
