from __future__ import annotations

from statehouse.core import limits
from statehouse.disk import DiskReserve, free_bytes_of


class Disk:
    def __init__(self, free_bytes):
        self.free_bytes = free_bytes
        self.looks = 0
        self.now_s = 0.0

    def look(self, directory):
        self.looks += 1
        return self.free_bytes

    def reserve(self):
        return DiskReserve(None, lambda: self.now_s, self.look)


def test_writes_are_taken_down_to_the_reserve():
    assert Disk(limits.DISK_RESERVE_BYTES).reserve().has_room()
    assert not Disk(limits.DISK_RESERVE_BYTES - 1).reserve().has_room()


def test_the_disk_is_looked_at_once_a_second():
    disk = Disk(0)
    reserve = disk.reserve()
    assert not reserve.has_room()
    disk.free_bytes = limits.DISK_RESERVE_BYTES
    disk.now_s = 0.9
    assert not reserve.has_room()
    disk.now_s = 1.0
    assert reserve.has_room()
    assert disk.looks == 2


def test_a_real_directory_has_a_figure(tmp_path):
    assert free_bytes_of(tmp_path) > 0
