"""A disk that can be made to fail, or lose its power: ext4 on compressed memory (zram), whose driver answers EIO beyond
a limit."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.disks import unmount

_CONTROL = Path("/sys/class/zram-control")


def is_possible() -> bool:
    return _CONTROL.exists()


class FailingDisk:
    """It lies at *mountpoint*."""

    def __init__(self, number: int, mountpoint: Path) -> None:
        self.mountpoint = mountpoint
        self._device = Path(f"/dev/zram{number}")
        self._controls = Path(f"/sys/block/zram{number}")

    def make(self, features: str) -> None:
        (self._controls / "disksize").write_text("128M")
        _run("mkfs.ext4", "-q", "-O", features, str(self._device))
        self.mount()
        (self.mountpoint / "lost+found").rmdir()

    def mount(self) -> None:
        _run("mount", str(self._device), str(self.mountpoint))

    def unmount(self) -> None:
        unmount(self.mountpoint)

    def fail(self) -> None:
        """From now on nothing can be written to the disk but zeros; what is there can be read."""
        _run("sync", "-f", str(self.mountpoint))
        self.cut_power()

    def mend(self) -> None:
        """The disk is repaired, and mounted anew; what it did not take is lost."""
        self.unmount()
        (self._controls / "mem_limit").write_text("0")
        subprocess.run(["e2fsck", "-fy", str(self._device)], check=False, capture_output=True)
        self.mount()

    def cut_power(self) -> None:
        """Lose what was not written yet; `mend` mounts the disk anew."""
        (self._controls / "mem_limit").write_text("4K")

    def remove(self) -> None:
        (self._controls / "reset").write_text("1")


@contextlib.contextmanager
def failing_disk(mountpoint: Path, features: str = "has_journal") -> Iterator[FailingDisk]:
    """Make such a disk at *mountpoint*, with these *features* of ext4; it is unmounted and gone at the end."""
    mountpoint.mkdir()
    number = int((_CONTROL / "hot_add").read_text())
    disk = FailingDisk(number, mountpoint)
    try:
        disk.make(features)
        try:
            yield disk
        finally:
            disk.unmount()
    finally:
        disk.remove()
        (_CONTROL / "hot_remove").write_text(str(number))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
