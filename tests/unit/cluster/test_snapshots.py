"""A snapshot arrives whole and verified, or not at all."""

from __future__ import annotations

import random
import socket
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from statehouse_cluster.hello import Hello
from statehouse_cluster.identity import DataDirectory
from statehouse_cluster.interfaces import Offer, Position
from statehouse_cluster.snapshots import Fetched, SnapshotDesk, SnapshotError

from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

HELLO = Hello("snapshot", "n2", "uuid-2", "cluster", "", "")


class Machine:
    """Something to take checkpoints of."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.prepared = 0

    def position(self) -> Position:
        return Position(42, 3)

    def prepare_checkpoint(self) -> bool:
        self.prepared += 1
        return self.prepared > 2

    def checkpoint(self, directory: Path) -> None:
        assert self.prepared > 2, "the checkpoint was made before it was prepared"
        directory.mkdir()
        for name, content in self.files.items():
            (directory / name).write_bytes(content)


class Leader:
    """A serving desk, and how a follower reaches it; `cut_after` breaks connections."""

    def __init__(self, data: Path, files: dict[str, bytes]) -> None:
        self.desk = SnapshotDesk(
            directory=directory(data),
            machine=Machine(files),
            connect=lambda name, snapshot_id: pytest.fail("a leader does not fetch"),
            wake=lambda: None,
            report=print,
        )
        self.connections = 0
        self.cut_first_after_bytes: int | None = None

    def offer(self) -> Offer:
        return eventually(lambda: self.desk.offer_for("n2"), what="the manifest")

    def connect(self, name: str, snapshot_id: str) -> socket.socket:
        assert name == "n1"
        self.connections += 1
        ours, theirs = socket.socketpair()
        self.desk.serve(theirs, msgspec.structs.replace(HELLO, snapshot_id=snapshot_id))
        if self.connections == 1 and self.cut_first_after_bytes is not None:
            return _cut_after(ours, self.cut_first_after_bytes)
        return ours


def _cut_after(source: socket.socket, count: int) -> socket.socket:
    """A connection that relays `count` bytes to the follower, then breaks."""
    near, far = socket.socketpair()
    threads = []

    def down() -> None:
        left = count
        while left and (data := source.recv(min(left, 65536))):
            near.sendall(data)
            left -= len(data)
        # Not close: another thread is still reading.
        near.shutdown(socket.SHUT_RDWR)
        source.shutdown(socket.SHUT_RDWR)

    def up() -> None:
        while data := near.recv(65536):
            source.sendall(data)
        threads[0].join()
        near.close()
        source.close()

    threads += [threading.Thread(target=relay, daemon=True) for relay in (down, up)]
    for thread in threads:
        thread.start()
    return far


@pytest.fixture
def files() -> dict[str, bytes]:
    draw = random.Random(7)
    return {"CURRENT": b"MANIFEST-1\n", "empty": b"", "000001.sst": draw.randbytes(5_000_000)}


def directory(path: Path) -> DataDirectory:
    opened = DataDirectory.open(path)
    opened.close()
    return opened


def follower(data: Path, leader: Leader, lines: list[str] | None = None) -> SnapshotDesk:
    return SnapshotDesk(
        directory=directory(data),
        machine=Machine({}),
        connect=leader.connect,
        wake=lambda: None,
        report=(lines if lines is not None else []).append,
    )


def fetched(desk: SnapshotDesk) -> Fetched:
    return eventually(desk.take_fetched, timeout_s=20, what="the snapshot")


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_all_files_arrive_as_they_were(tmp_path: Path, files: dict[str, bytes]) -> None:
    leader = Leader(tmp_path / "n1", files)
    desk = follower(tmp_path / "n2", leader)
    desk.offered("n1", leader.offer())
    directory, position = fetched(desk)
    assert position == Position(42, 3)
    assert content(directory) == files
    # The last bytes are there before they are counted.
    eventually(lambda: leader.desk.progress("n2") == (5_000_011, 5_000_011), what="all sent")


def test_a_broken_connection_is_gone_on_with(tmp_path: Path, files: dict[str, bytes]) -> None:
    leader = Leader(tmp_path / "n1", files)
    leader.cut_first_after_bytes = 2_000_000
    desk = follower(tmp_path / "n2", leader)
    offer = leader.offer()

    def look() -> Fetched | None:
        # The leader offers again with every heartbeat.
        desk.offered("n1", offer)
        return desk.take_fetched()

    directory, _ = eventually(look, timeout_s=20, what="the snapshot")
    assert content(directory) == files
    assert leader.connections >= 2
    assert leader.desk.progress("n2")[0] < 7_000_000, "what had arrived was sent again"


def test_a_damaged_file_is_refused_and_fetched_again(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    leader = Leader(tmp_path / "n1", files)
    offer = leader.offer()
    served = tmp_path / "n1" / "outgoing" / offer.snapshot_id / "000001.sst"
    good = served.read_bytes()
    served.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    lines: list[str] = []
    desk = follower(tmp_path / "n2", leader, lines)
    desk.offered("n1", offer)
    eventually(lambda: any("damaged" in line for line in lines), what="the refusal")
    assert desk.take_fetched() is None
    served.write_bytes(good)

    def look() -> Fetched | None:
        desk.offered("n1", offer)
        return desk.take_fetched()

    directory, _ = eventually(look, timeout_s=20, what="the snapshot")
    assert content(directory) == files


def test_a_new_offer_takes_the_place_of_an_old_one(tmp_path: Path, files: dict[str, bytes]) -> None:
    leader = Leader(tmp_path / "n1", files)
    desk = follower(tmp_path / "n2", leader)
    desk.offered("n1", Offer("7-1-gone", Position(7, 1)))
    offer = leader.offer()
    desk.offered("n1", offer)
    directory, position = fetched(desk)
    assert position == offer.position
    assert directory.name == offer.snapshot_id


def test_a_file_name_that_leaves_the_directory_is_refused(tmp_path: Path) -> None:
    leader = Leader(tmp_path / "n1", {"ok": b"1"})
    offer = leader.offer()
    outgoing = leader.desk._outgoing
    assert outgoing is not None
    assert outgoing.manifest is not None
    bad = msgspec.structs.replace(outgoing.manifest.files[0], name="../../escaped")
    outgoing.manifest = msgspec.structs.replace(outgoing.manifest, files=(bad,))
    lines: list[str] = []
    desk = follower(tmp_path / "n2", leader, lines)
    desk.offered("n1", offer)
    eventually(lambda: any("no file name" in line for line in lines), what="the refusal")
    assert not (tmp_path / "escaped").exists()


def test_the_log_is_pinned_while_a_snapshot_is_in_use(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    now = [0.0]
    desk = SnapshotDesk(
        directory=directory(tmp_path / "n1"),
        machine=Machine(files),
        connect=lambda name, snapshot_id: (_ for _ in ()).throw(SnapshotError()),
        wake=lambda: None,
        report=print,
        clock=lambda: now[0],
    )
    assert desk.pinned_index() is None
    eventually(lambda: desk.offer_for("n2"), what="the manifest")
    assert desk.pinned_index() == 42
    now[0] = 1000.0
    desk.tick()
    assert desk.pinned_index() is None
    eventually(lambda: not list((tmp_path / "n1" / "outgoing").iterdir()), what="an empty folder")
