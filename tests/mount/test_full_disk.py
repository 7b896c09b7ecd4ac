"""A full disk under a mounted repository: users leave a reserve, imports go on within it, and wait beyond it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.calls import refusal, write
from tests.helpers.failing_disk import failing_disk, is_possible
from tests.helpers.mounting import Drive, fact, mounted, scratch, tell
from tests.helpers.people import ALICE, ROOT
from tests.helpers.waiting import until

MIB = 1 << 20
RESERVE = 16 * MIB
SETTINGS = f"""
[repository]
reserve_bytes = {RESERVE}
[drops]
settle_seconds = 3600
[readers]
workers = 1
"""

pytestmark = pytest.mark.skipif(not is_possible(), reason="there is no zram: load the kernel module with modprobe zram")


@pytest.fixture
def small() -> Iterator[Drive]:
    """A mount of a repository on a disk of 128 MiB."""
    with scratch() as place, failing_disk(place / "repository"), mounted(SETTINGS, place=place) as drive:
        drive.allowed = ["a drop cannot be followed", "left to recovery"]
        yield drive


def fill(path: Path) -> None:
    """Write zeros to *path* until there is no room for more."""
    with path.open("wb", buffering=0) as file:
        for chunk in (MIB, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(chunk))


def free(drive: Drive) -> int:
    there = os.statvfs(drive.layout.managed)
    return there.f_bavail * there.f_frsize


def test_users_leave_the_reserve_and_imports_wait_for_room_beyond_it(small: Drive) -> None:
    home = small.home(ALICE)
    for name in ("one.tif", "two.tif"):
        ALICE.do(write, home / name, os.urandom(MIB))
    ALICE.do(fill, home / "large.bin")
    os.sync()
    assert RESERVE - 2 * MIB < free(small) < RESERVE + 2 * MIB
    assert fact(home / "large.bin", "state") == "incomplete"
    assert refusal(os.mkdir, home / "new") == "ENOSPC"
    shown = os.statvfs(small.mountpoint)
    assert shown.f_bavail * shown.f_frsize < MIB
    ROOT.do(write, home / "roots.txt")

    ALICE.do(tell, home / "one.tif", "now")  # within the reserve
    small.wait_imported(home / "one.tif")

    filler = small.layout.managed / ".staging/filler"
    fill(filler)
    assert free(small) < MIB
    ALICE.do(tell, home / "two.tif", "now")
    until(lambda: "when there is room" in (fact(home / "two.tif", "error") or ""), "a drop being told to wait")
    assert fact(home / "two.tif", "state") == "settling"
    assert ALICE.do((home / "one.tif").read_bytes)
    filler.unlink()
    ALICE.do(tell, home / "two.tif", "now")
    small.wait_imported(home / "two.tif")
    ALICE.do(os.unlink, home / "large.bin")
    until(lambda: free(small) > RESERVE + MIB, "its bytes given back by who has hashed them ahead")
    ALICE.do(os.mkdir, home / "new")
