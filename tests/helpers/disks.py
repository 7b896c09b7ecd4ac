"""Small disks of their own for tests, whose power can be cut: ext4 in a file, by a loop device."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.waiting import until

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_NOLOGFLUSH = struct.pack("I", 2)  # not even the journal is written any more


class Disk:
    """An empty ext4 of some MiB, mounted at *mountpoint*. What reaches the file *image* has reached the disk."""

    def __init__(self, image: Path, mountpoint: Path, mebibytes: int) -> None:
        self.mountpoint = mountpoint
        self._image = image
        image.touch()
        os.truncate(image, mebibytes << 20)
        _run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        mountpoint.mkdir(exist_ok=True)
        self.mount()
        mountpoint.joinpath("lost+found").rmdir()

    def mount(self) -> None:
        _run("mount", "-o", "loop", self._image, self.mountpoint)

    def unmount(self) -> None:
        unmount(self.mountpoint)

    def cut(self) -> None:
        """Cut the power: from now on nothing reaches the disk, and all calls about its files fail."""
        fd = os.open(self.mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _NOLOGFLUSH)
        finally:
            os.close(fd)

    def move(self, mountpoint: Path) -> None:
        """Mount the disk at another place."""
        self.unmount()
        self.mountpoint = mountpoint
        self.mount()


def unmount(mountpoint: Path) -> None:
    """Unmount it once all who use it have ended: a process that was killed lets go of its files a moment later."""

    def is_unmounted() -> bool:
        return subprocess.run(["umount", str(mountpoint)], check=False, capture_output=True).returncode == 0

    until(is_unmounted, f"the end of all who use {mountpoint}")


@contextlib.contextmanager
def disk(image: Path, mountpoint: Path, mebibytes: int = 1024) -> Iterator[Disk]:
    """Lend a disk that is away at the end, whatever has become of it."""
    made = Disk(image, mountpoint, mebibytes)
    try:
        yield made
    finally:
        if os.path.ismount(made.mountpoint):
            _run("umount", "-l", made.mountpoint)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
