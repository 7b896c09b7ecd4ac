"""Room on a disk: what users may fill, what is kept for the repository, and how often the disk is asked."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from repofs.errors import StoreFull
from repofs.repository import room
from repofs.repository.room import Room

MIB = 1 << 20


class Disk:
    """A file system of 10 GiB in blocks of 4 KiB, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 100 * MIB
        self.size = 10 << 30
        self.looks = 0
        self.now = 0.0
        monkeypatch.setattr(os, "fstatvfs", self._look)
        monkeypatch.setattr(room.time, "monotonic", lambda: self.now)

    def _look(self, fd: int) -> SimpleNamespace:
        self.looks += 1
        return SimpleNamespace(f_bavail=self.free // 4096, f_blocks=self.size // 4096, f_frsize=4096)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_users_leave_the_reserve_free(disk: Disk) -> None:
    made = Room(0, None)
    made.take(36 * MIB)  # 64 MiB of 100 are kept
    disk.free -= 36 * MIB
    with pytest.raises(StoreFull, match="reserve"):
        made.take(1)
    disk.free += MIB
    made.take(MIB)  # at once, when somebody has made room


@pytest.mark.parametrize(("size", "reserve_bytes", "kept"), [(1 << 30, None, (1 << 30) // 100), (1 << 40, 5, 5)])
def test_the_reserve_is_a_hundredth_of_a_small_disk_or_what_the_settings_say(
    disk: Disk, size: int, reserve_bytes: int | None, kept: int
) -> None:
    disk.size = size
    made = Room(0, reserve_bytes)
    assert made.reserve(os.fstatvfs(0)) == kept
    made.take(disk.free - kept)


def test_the_disk_is_not_asked_for_each_write(disk: Disk) -> None:
    made = Room(0, None)
    for _ in range(100):
        made.take(4096)
    assert disk.looks == 1
    disk.free = 0  # by somebody else
    disk.now += 1
    with pytest.raises(StoreFull):
        made.take(4096)


def test_the_repository_itself_goes_on_within_the_reserve(disk: Disk) -> None:
    made = Room(0, None)
    disk.free = 20 * MIB
    with pytest.raises(StoreFull):
        made.take(1)
    made.require_to_import()
    disk.free = 15 * MIB
    with pytest.raises(StoreFull, match="make room"):
        made.require_to_import()
