"""Owns who a node is, in `identity.json`, and the data directory with the lock that guards it.

A name belongs to one disk: the uuid is made with the directory and dies with it. What is stored is
durable when `store` returns, and is checked when it is read; a file that is missing where data lies
or does not match its checksum is refused, never remade, because a node that forgot who it is has
also forgotten what it promised. Must not know how a cluster is formed, nor what the data means.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import uuid
from typing import TYPE_CHECKING, Final

import msgspec

from statehouse_cluster.files import Files, RealFiles, read_whole, write_durably
from statehouse_cluster.interfaces import Member

if TYPE_CHECKING:
    from pathlib import Path

FORMAT_VERSION: Final = 1
IDENTITY_FILE: Final = "identity.json"
LOCK_FILE: Final = "LOCK"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_DATA: Final = ("journal", "state")
_LAYOUT: Final = (*_DATA, "incoming", "outgoing")
_ADVICE: Final = (
    "do not repair it; remove this member from its cluster, and add a new one with another name "
    "and an empty data directory"
)


class IdentityRefused(Exception):
    """A data directory that this node cannot use as it is; the text says why and what to do."""


class IdentityDamaged(IdentityRefused):
    """identity.json cannot be trusted, or is gone while the data is there."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}; {_ADVICE}")
        self.path = path


class DirectoryInUse(IdentityRefused):
    """Another process has the data directory open."""

    def __init__(self, path: Path, process: str) -> None:
        super().__init__(
            f"data directory {path} is in use by process {process}; stop that first, or start this "
            "node with another directory"
        )


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who a node is; each field is set at most once in the life of its disk."""

    name: str
    uuid: str
    cluster_id: str = ""
    """Empty until the node belongs to a cluster, by founding it or by being added."""
    bound_members: tuple[Member, ...] = ()
    """The one first configuration this disk has agreed to; empty: none, or it did not found."""
    begun: bool = False
    """Its journal was made: from then on a missing one is lost, and with it the node's votes."""
    removed: bool = False
    """Its cluster removed it: it may never take part again."""


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format_version: int
    identity: Identity
    sha256: str
    """Hex, of the JSON of the identity."""


def new_identity(name: str) -> Identity:
    """An identity for a new disk; ValueError for a name that may not be one."""
    check_name(name)
    return Identity(name=name, uuid=uuid.uuid4().hex)


def check_name(name: str) -> None:
    """ValueError unless the name may stand in addresses, files and the log."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no node name: use 1 to 63 letters, digits, dots, dashes or underscores, "
            "the first a letter or digit"
        )


class DataDirectory:
    """One node's directory, held by a lock for as long as the process lives or until `close`."""

    def __init__(self, path: Path, lock: int, files: Files) -> None:
        self.path = path
        self._lock = lock
        self._files = files

    @classmethod
    def open(cls, path: Path, files: Files | None = None) -> DataDirectory:
        """Makes the directory and its parts where they are missing, and takes the lock.

        DirectoryInUse if another process, or another object of this one, has it.
        """
        files = files or RealFiles()
        files.make_directory(path)
        lock = _take_lock(path)
        try:
            for part in _LAYOUT:
                files.make_directory(path / part)
            files.sync_directory(path)
            files.sync_directory(path.parent)
        except OSError:
            os.close(lock)
            raise
        return cls(path, lock, files)

    @property
    def journal(self) -> Path:
        """Where the Raft journal lies."""
        return self.path / "journal"

    @property
    def state(self) -> Path:
        """Where the state database lies."""
        return self.path / "state"

    @property
    def incoming(self) -> Path:
        """Where a snapshot is received."""
        return self.path / "incoming"

    @property
    def outgoing(self) -> Path:
        """Where checkpoints lie while they are served."""
        return self.path / "outgoing"

    def identify(self, name: str) -> Identity:
        """The stored identity, made durably if the directory is new.

        IdentityRefused if the directory is of a node of another name; IdentityDamaged.
        """
        identity = self.load()
        if identity is None:
            identity = new_identity(name)
            self.store(identity)
        if identity.name != name:
            raise IdentityRefused(
                f"data directory {self.path} belongs to node {identity.name!r}, not {name!r}; "
                "start each node with the directory that was made for it"
            )
        return identity

    def load(self) -> Identity | None:
        """The stored identity; None for a directory without any data; IdentityDamaged."""
        path = self.path / IDENTITY_FILE
        try:
            return _decode(path, read_whole(self._files, path))
        except FileNotFoundError:
            pass
        if any(self._files.list_directory(self.path / part) for part in _DATA):
            raise IdentityDamaged(path, "is missing, but there is data beside it")
        return None

    def store(self, identity: Identity) -> None:
        """Replaces the stored identity; it is durable when this returns."""
        write_durably(self._files, self.path / IDENTITY_FILE, _encode(identity))

    def close(self) -> None:
        """Lets the lock go. A second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _take_lock(path: Path) -> int:
    lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        process = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise DirectoryInUse(path, process) from error
    except OSError:
        os.close(lock)
        raise
    return lock


def _encode(identity: Identity) -> bytes:
    stored = _Stored(FORMAT_VERSION, identity, _digest(identity))
    return msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n"


def _decode(path: Path, data: bytes) -> Identity:
    try:
        version = msgspec.json.decode(data, type=dict)["format_version"]
        if version != FORMAT_VERSION:
            raise IdentityRefused(
                f"{path} has format version {version!r}, this release reads {FORMAT_VERSION}; "
                "start the node with the release that wrote it"
            )
        stored = msgspec.json.decode(data, type=_Stored)
    except (msgspec.MsgspecError, KeyError, ValueError, RecursionError) as error:
        raise IdentityDamaged(path, f"cannot be read ({error})") from error
    if _digest(stored.identity) != stored.sha256:
        raise IdentityDamaged(path, "does not match its checksum")
    return stored.identity


def _digest(identity: Identity) -> str:
    return hashlib.sha256(msgspec.json.encode(identity)).hexdigest()
