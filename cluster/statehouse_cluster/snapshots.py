"""Owns snapshots on their way: making and serving them on a leader, fetching them on a follower.

A snapshot is a checkpoint directory of the state machine and a manifest that names each file with
its size and SHA-256. A follower pulls the files over a connection of its own, on a thread of its
own, goes on where it stopped after a break, verifies every file and syncs it before anyone may
install it. Files of two snapshots never mix: each has its own directory. The raft thread only makes
the checkpoint (hard links) and asks how far things are. It must not know Raft's rules or keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec

from statehouse_cluster.interfaces import Offer, Position, StateMachine

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from statehouse_cluster.hello import Hello
    from statehouse_cluster.identity import DataDirectory

_CHUNK_BYTES: Final = 1024 * 1024
_SERVED_AT_ONCE_MAX: Final = 8
_IDLE_S: Final = 60.0
_SOCKET_S: Final = 10.0
_PAUSE_S: Final = 0.2
_LENGTH: Final = struct.Struct(">Q")
_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_T = TypeVar("_T", bound=msgspec.Struct)


class _File(msgspec.Struct, frozen=True, array_like=True):
    name: str
    size: int
    sha256: bytes


class _Manifest(msgspec.Struct, frozen=True, array_like=True):
    snapshot_id: str
    index: int
    term: int
    files: tuple[_File, ...]


class _Request(msgspec.Struct, frozen=True, array_like=True):
    """Of a follower: the manifest (empty name), or a file from an offset on."""

    name: str
    offset: int


class SnapshotError(Exception):
    """A snapshot could not be served or fetched; it is tried again from the start."""


class Fetched(NamedTuple):
    """A verified, synced snapshot, ready to install."""

    directory: Path
    position: Position


@dataclass
class _Outgoing:
    offer: Offer
    directory: Path
    manifest: _Manifest | None = None
    used_at: float = 0.0
    sent_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.manifest.files) if self.manifest else 0


@dataclass
class _Incoming:
    leader: str
    offer: Offer
    cancelled: threading.Event
    thread: threading.Thread | None = None
    fetched: Fetched | None = None


class SnapshotDesk:
    """The snapshots of one node; `connect(leader, snapshot_id)` opens a fetching connection.

    `wake` is called, on any thread, when something is ready for the raft thread to see.
    """

    def __init__(
        self,
        *,
        directory: DataDirectory,
        machine: StateMachine,
        connect: Callable[[str, str], socket.socket],
        wake: Callable[[], None],
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outgoing_root = _emptied(directory.outgoing)
        self._incoming_root = _emptied(directory.incoming)
        self._machine = machine
        self._connect = connect
        self._wake = wake
        self._report = report
        self._clock = clock
        self._counter = 0
        self._outgoing: _Outgoing | None = None
        self._incoming: _Incoming | None = None
        self._serving = threading.BoundedSemaphore(_SERVED_AT_ONCE_MAX)

    # -- On the raft thread

    def offer_for(self, name: str, least: int = 0) -> Offer | None:
        """The snapshot for a lagging node; None while its manifest is being made.

        One older than `least` is of no use any more: the log no longer goes on from it.
        """
        if self._outgoing is not None and self._outgoing.offer.position.index < least:
            _remove(self._outgoing.directory)
            self._outgoing = None
        if self._outgoing is None:
            if not self._machine.prepare_checkpoint():
                return None
            self._outgoing = self._make()
        self._outgoing.used_at = self._clock()
        return self._outgoing.offer if self._outgoing.manifest else None

    def pinned_index(self) -> int | None:
        """The log above this index is needed by whoever takes the snapshot in use."""
        return self._outgoing.offer.position.index if self._outgoing else None

    def progress(self, name: str) -> tuple[int, int]:
        """Bytes sent to `name` and bytes in all, of the snapshot in use."""
        outgoing = self._outgoing
        if outgoing is None:
            return 0, 0
        return outgoing.sent_bytes.get(name, 0), outgoing.total_bytes

    def offered(self, leader: str, offer: Offer) -> None:
        """Fetches what is offered, unless it is being fetched already."""
        current = self._incoming
        if current is not None and current.offer == offer and current.leader == leader:
            if current.fetched is not None or (current.thread and current.thread.is_alive()):
                return
        elif current is not None:
            current.cancelled.set()
        incoming = _Incoming(leader, offer, threading.Event())
        incoming.thread = threading.Thread(
            target=self._fetch, args=(incoming,), name="snapshot-fetch", daemon=True
        )
        self._incoming = incoming
        self._report(f"fetching snapshot {offer.snapshot_id} from {leader}")
        incoming.thread.start()

    def take_fetched(self) -> Fetched | None:
        """A snapshot to install now, once."""
        incoming = self._incoming
        if incoming is None or incoming.fetched is None:
            return None
        self._incoming = None
        return incoming.fetched

    def tick(self) -> None:
        """Lets go of a snapshot that nobody asked for lately."""
        outgoing = self._outgoing
        if outgoing is not None and self._clock() > outgoing.used_at + _IDLE_S:
            self._outgoing = None
            _remove(outgoing.directory)

    def close(self) -> None:
        if self._incoming is not None:
            self._incoming.cancelled.set()

    # -- Serving

    def _make(self) -> _Outgoing:
        position = self._machine.position()
        self._counter += 1
        snapshot_id = f"{position.index}-{position.term}-{os.urandom(4).hex()}"
        directory = self._outgoing_root / snapshot_id
        self._machine.checkpoint(directory)
        outgoing = _Outgoing(Offer(snapshot_id, position), directory)
        threading.Thread(
            target=self._describe, args=(outgoing,), name="snapshot-manifest", daemon=True
        ).start()
        return outgoing

    def _describe(self, outgoing: _Outgoing) -> None:
        position = outgoing.offer.position
        files = tuple(
            _File(path.name, path.stat().st_size, _sha256(path))
            for path in sorted(outgoing.directory.iterdir())
        )
        outgoing.manifest = _Manifest(
            outgoing.offer.snapshot_id, position.index, position.term, files
        )
        self._wake()

    def serve(self, connection: socket.socket, hello: Hello) -> None:
        """Takes over an accepted connection and answers its requests on a thread."""
        outgoing = self._outgoing
        known = outgoing is not None and outgoing.offer.snapshot_id == hello.snapshot_id
        if not known or not self._serving.acquire(blocking=False):
            connection.close()
            return
        threading.Thread(
            target=self._serve, args=(connection, hello.name, outgoing), daemon=True
        ).start()

    def _serve(self, connection: socket.socket, name: str, outgoing: _Outgoing) -> None:
        try:
            with connection:
                connection.settimeout(_SOCKET_S)
                stream = _Stream(connection)
                while True:
                    self._answer(stream, name, outgoing, stream.request())
        except (OSError, SnapshotError):
            # The follower is done, or broke off and will come back.
            return
        finally:
            self._serving.release()

    def _answer(self, stream: _Stream, name: str, outgoing: _Outgoing, request: _Request) -> None:
        manifest = outgoing.manifest
        if manifest is None:
            raise SnapshotError("not ready")
        outgoing.used_at = self._clock()
        if not request.name:
            stream.send_message(manifest)
            return
        file = next((file for file in manifest.files if file.name == request.name), None)
        if file is None or not 0 <= request.offset <= file.size:
            raise SnapshotError(f"no {request.name} at {request.offset}")
        stream.connection.sendall(_LENGTH.pack(file.size - request.offset))
        with (outgoing.directory / file.name).open("rb") as source:
            offset = request.offset
            while offset < file.size:
                sent = stream.connection.sendfile(source, offset, _CHUNK_BYTES)
                if not sent:
                    raise SnapshotError(f"{file.name} ends early")
                offset += sent
                outgoing.used_at = self._clock()
                outgoing.sent_bytes[name] = outgoing.sent_bytes.get(name, 0) + sent

    # -- Fetching

    def _fetch(self, incoming: _Incoming) -> None:
        while not incoming.cancelled.is_set():
            try:
                with self._connect(incoming.leader, incoming.offer.snapshot_id) as connection:
                    connection.settimeout(_SOCKET_S)
                    fetched = self._pull(_Stream(connection), incoming)
            except (OSError, SnapshotError) as error:
                self._report(f"snapshot {incoming.offer.snapshot_id}: {error}; trying again")
                if incoming.cancelled.wait(_PAUSE_S):
                    break
                if isinstance(error, SnapshotError):
                    # The leader may have another one by now: its next offer starts over.
                    return
                continue
            if not incoming.cancelled.is_set():
                incoming.fetched = fetched
                self._wake()
            return
        shutil.rmtree(self._incoming_root / incoming.offer.snapshot_id, ignore_errors=True)

    def _pull(self, stream: _Stream, incoming: _Incoming) -> Fetched:
        stream.send_message(_Request("", 0))
        manifest = stream.manifest()
        offer = incoming.offer
        if (manifest.snapshot_id, manifest.index, manifest.term) != (
            offer.snapshot_id,
            *offer.position,
        ):
            raise SnapshotError("the leader answers with another snapshot")
        directory = self._incoming_root / offer.snapshot_id
        directory.mkdir(exist_ok=True)
        for file in manifest.files:
            self._pull_file(stream, directory, file, incoming.cancelled)
        _sync_directory(directory)
        _sync_directory(self._incoming_root)
        return Fetched(directory, offer.position)

    def _pull_file(
        self, stream: _Stream, directory: Path, file: _File, cancelled: threading.Event
    ) -> None:
        if not file.name or "/" in file.name or file.name in (".", ".."):
            raise SnapshotError(f"{file.name!r} is no file name")
        path = directory / file.name
        with path.open("ab") as target:
            have = target.tell()
            if have < file.size:
                stream.send_message(_Request(file.name, have))
                stream.receive_file(target.fileno(), file.size - have, cancelled)
            target.flush()
            os.fsync(target.fileno())
        if path.stat().st_size != file.size or _sha256(path) != file.sha256:
            path.unlink()
            raise SnapshotError(f"{file.name} arrived damaged")


class _Stream:
    """Messages and file bytes on one blocking connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send_message(self, message: msgspec.Struct) -> None:
        payload = msgspec.msgpack.encode(message)
        self.connection.sendall(_LENGTH.pack(len(payload)) + payload)

    def request(self) -> _Request:
        return self._decoded(_Request)

    def manifest(self) -> _Manifest:
        return self._decoded(_Manifest)

    def _decoded(self, kind: type[_T]) -> _T:
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > _MESSAGE_BYTES_MAX:
            raise SnapshotError(f"the other side announces {length} bytes of {kind.__name__}")
        try:
            return msgspec.msgpack.decode(self._exactly(length), type=kind)
        except msgspec.MsgspecError as error:
            raise SnapshotError(f"the other side sent what is no {kind.__name__}") from error

    def receive_file(self, descriptor: int, size: int, cancelled: threading.Event) -> None:
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length != size:
            raise SnapshotError(f"{length} bytes are offered where {size} are missing")
        buffer = bytearray(_CHUNK_BYTES)
        view = memoryview(buffer)
        while size:
            if cancelled.is_set():
                raise SnapshotError("another snapshot was offered")
            count = self.connection.recv_into(view[: min(size, _CHUNK_BYTES)])
            if not count:
                raise SnapshotError("the other side closed the connection")
            os.write(descriptor, view[:count])
            size -= count

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            data = self.connection.recv(count - len(parts))
            if not data:
                raise SnapshotError("the other side closed the connection")
            parts += data
        return parts


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _remove(path: Path) -> None:
    """On a thread of its own: gigabytes take a disk longer than a heartbeat may be late."""
    threading.Thread(
        target=shutil.rmtree, args=(path,), kwargs={"ignore_errors": True}, daemon=True
    ).start()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _emptied(path: Path) -> Path:
    """Leftovers of an earlier run are of no use: both sides start over."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path
