"""Owns which database of a store's directory is the one in use, and how far it must have come.

`current.json` names it. It is written aside, synced and renamed, so a crash at any point leaves
the old or the new one in force, whole. The life of a directory:

    new        current.json says db-1, not ready; the database is made; current.json says ready.
               One that is not ready was never used and is made again.
    sync       the database is synced, then `durable_index` rises. A database that is later found
               below it has lost what was promised, and is refused.
    install    the new database is moved in as db-(n+1) and opened; then current.json names it; then
               db-n is removed. Databases that current.json does not name are left from a crash
               before or after that moment and are removed at open.

It must not know RocksDB.
"""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

import msgspec

from statehouse.storage.faults import REPLACE_MEMBER, StoreFailed, StoreRefused

_FILE = "current.json"
_FORMAT = 1


class _Current(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    generation: int
    ready: bool
    durable_index: int
    checksum: int

    def sum(self) -> int:
        fields = (self.format, self.generation, self.ready, self.durable_index)
        return zlib.crc32(msgspec.json.encode(fields))


class StoreDirectory:
    """The directory of one store; every change is durable before its method returns."""

    def __init__(self, path: Path) -> None:
        """Reads, or begins, the directory. Raises StoreRefused."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        if (path / _FILE).exists():
            self._current = _read(path / _FILE)
        elif any(path.glob("db-*")):
            raise StoreRefused(
                f"{path} holds a database but {_FILE}, which names it, is missing; put it back, "
                f"or {REPLACE_MEMBER}"
            )
        else:
            sync_directory(path.parent)
            self._write(1, ready=False, durable_index=0)
        self._remove_others()

    @property
    def database(self) -> Path:
        """The database in use."""
        return self.path / f"db-{self._current.generation}"

    @property
    def ready(self) -> bool:
        """Whether the database in use has ever been ready for use."""
        return self._current.ready

    @property
    def durable_index(self) -> int:
        """The database in use holds at least what was applied up to here."""
        return self._current.durable_index

    def mark_ready(self) -> None:
        """The new database is made and synced."""
        self._write(self._current.generation, ready=True, durable_index=0)

    def mark_durable(self, index: int) -> None:
        """The database is synced up to this applied index."""
        if index > self._current.durable_index:
            self._write(self._current.generation, ready=True, durable_index=index)

    def move_in(self, source: Path) -> Path:
        """Takes a directory over as the next database; not yet the one in use."""
        target = self.path / f"db-{self._current.generation + 1}"
        try:
            os.rename(source, target)
            sync_directory(self.path)
            sync_directory(source.parent)
        except OSError as error:
            raise StoreFailed(f"cannot move {source} to {target}: {error}") from error
        return target

    def switch(self, durable_index: int) -> None:
        """Puts the database moved in last in force."""
        self._write(self._current.generation + 1, ready=True, durable_index=durable_index)

    def _write(self, generation: int, *, ready: bool, durable_index: int) -> None:
        current = _Current(_FORMAT, generation, ready, durable_index, 0)
        current = msgspec.structs.replace(current, checksum=current.sum())
        file = self.path / _FILE
        aside = file.with_suffix(".new")
        try:
            with aside.open("wb") as out:
                out.write(msgspec.json.encode(current))
                out.flush()
                os.fsync(out.fileno())
            os.replace(aside, file)
            sync_directory(self.path)
        except OSError as error:
            raise StoreFailed(f"cannot write {file}: {error}; this node stops") from error
        self._current = current

    def _remove_others(self) -> None:
        for found in self.path.glob("db-*"):
            if found != self.database or not self.ready:
                shutil.rmtree(found)


def _read(file: Path) -> _Current:
    try:
        current = msgspec.json.decode(file.read_bytes(), type=_Current)
    except (OSError, msgspec.MsgspecError, UnicodeError) as error:
        raise StoreRefused(f"{file} cannot be read: {error}; {REPLACE_MEMBER}") from error
    if current.checksum != current.sum():
        raise StoreRefused(f"{file} is damaged: its checksum is wrong; {REPLACE_MEMBER}")
    if current.format != _FORMAT:
        raise StoreRefused(
            f"{file} has format {current.format}, and this program knows {_FORMAT} only; "
            "run the version that wrote it"
        )
    return current


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Makes all files of a directory durable, and their names."""
    for folder, _, files in os.walk(directory, topdown=False):
        for name in files:
            descriptor = os.open(Path(folder) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(folder))
    sync_directory(directory.parent)
