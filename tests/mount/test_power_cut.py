"""What a power cut leaves on a file system that makes durable what it is asked for: ext4 without a journal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from repofs import mounts
from tests.helpers.failing_disk import FailingDisk, failing_disk, is_possible
from tests.helpers.mounting import Drive, mounted, scratch, tell
from tests.helpers.people import ALICE

SETTINGS = """
[drops]
settle_seconds = 3600
[readers]
workers = 1
"""

pytestmark = pytest.mark.skipif(not is_possible(), reason="there is no zram: load the kernel module with modprobe zram")


@pytest.fixture
def volatile() -> Iterator[tuple[Drive, FailingDisk]]:
    with scratch() as place, failing_disk(place / "repository", "^has_journal") as disk:
        with mounted(SETTINGS, place=place) as drive:
            os.sync()
            yield drive, disk


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def durable(path: Path, content: bytes) -> None:
    """Make *path* with all that fsync promises of it."""
    os.makedirs(path.parent)
    path.write_bytes(content)
    os.chmod(path, 0o640)
    os.setxattr(path, "user.note", b"kept")
    sync(path)


def named_again(path: Path, other: Path) -> None:
    """Give *path* names in directories that are not new, and rename one of these, before one fsync."""
    third = other.with_name("third")
    for directory in (other, third):
        os.mkdir(directory)
    os.sync()
    os.link(path, other / "second.tif")
    os.link(path, third / "third.tif")
    os.rename(other, other.with_name("moved"))
    sync(path)


def renamed(directory: Path) -> None:
    (directory / "renamed.part").write_bytes(b"renamed")
    sync(directory / "renamed.part")
    os.rename(directory / "renamed.part", directory / "renamed.tif")
    sync(directory)


def cut_power(drive: Drive, disk: FailingDisk) -> None:
    drive.kill()  # first: what it had written is the kernel's, and as volatile as before
    disk.cut_power()
    mounts.unmount(drive.mountpoint, detach=True)
    disk.mend()


def test_what_fsync_has_promised_is_there(volatile: tuple[Drive, FailingDisk]) -> None:
    drive, disk = volatile
    home = drive.home(ALICE)
    ALICE.do(durable, home / "a/b/scan.tif", b"pixels")
    ALICE.do(renamed, home / "a/b")
    ALICE.do(named_again, home / "a/b/scan.tif", home / "a/other")
    cut_power(drive, disk)
    scan = drive.backing(home / "a/b/scan.tif")
    assert drive.backing(home / "a/third/third.tif").samefile(scan)
    assert scan.read_bytes() == drive.backing(home / "a/moved/second.tif").read_bytes() == b"pixels"
    status = scan.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_nlink) == (0o640, ALICE.uid, 3)
    assert os.getxattr(scan, "user.note") == b"kept"
    assert drive.backing(home / "a/b").stat().st_uid == ALICE.uid
    assert os.listdir(scan.parent.parent) and sorted(os.listdir(scan.parent)) == ["renamed.tif", "scan.tif"]
    drive.start()
    for path in (home / "a/b/scan.tif", home / "a/b/renamed.tif"):  # closed before fsync: whole
        ALICE.do(tell, path, "now")
        drive.wait_imported(path)


def test_what_is_imported_is_there_though_nobody_has_called_fsync(volatile: tuple[Drive, FailingDisk]) -> None:
    drive, disk = volatile
    home = drive.home(ALICE)
    ALICE.do(os.mkdir, home / "new")
    for number in range(5):
        ALICE.do((home / f"new/{number}.tif").write_bytes, b"%d" % number)
        ALICE.do(tell, home / f"new/{number}.tif", "now")
    paths = [home / f"new/{number}.tif" for number in range(5)]
    drive.wait_imported(*paths)
    cut_power(drive, disk)
    drive.start()
    for number, path in enumerate(paths):
        drive.wait_imported(path)
        assert drive.original_of(path).read_bytes() == path.read_bytes() == b"%d" % number
        assert path.stat().st_uid == ALICE.uid
