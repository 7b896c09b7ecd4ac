"""The disk of the repository is full: what was acknowledged is whole, and is imported once there is room."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.disks import disk
from tests.helpers.mounting import QUICK, Drive, fact, running, scratch, tell
from tests.helpers.people import ALICE
from tests.helpers.waiting import until

pytestmark = [pytest.mark.usefixtures("disks_are_possible"), pytest.mark.timeout(300)]

DISK_MIB, BALLAST_MIB = 48, 6
REFUSALS = 20  # copies that fail one after the other before the disk counts as full, each smaller


def test_all_that_was_copied_is_imported_once_there_is_room(record_property: Callable[[str, object], None]) -> None:
    with scratch() as place, disk(place / "image", place / "repository", DISK_MIB):
        drive = Drive(place, QUICK)
        drive.allowed = [""]  # a full disk is told in many words
        ballast = drive.repository / "ballast"
        with running(drive, drive.start):
            ballast.write_bytes(bytes(BALLAST_MIB << 20))
            copied = fill(drive)
            for path, content in copied.items():
                assert ALICE.do(Path.read_bytes, path) == content
            until(lambda: not any(fact(path, "state") == "importing" for path in copied), "an end of all imports")
            ballast.unlink()
            for path in copied:
                if fact(path, "state") == "failed":
                    ALICE.do(tell, path, "retry")
            drive.wait_imported(*copied, seconds=60)
            for path, content in copied.items():
                assert ALICE.do(Path.read_bytes, drive.original_of(path)) == content
    record_property("told", f"full disk: files checked: {len(copied)}; lost: 0")


def fill(drive: Drive) -> dict[Path, bytes]:
    """Copy files until there is room for not even a small one; return those that cp has said are copied."""
    copied: dict[Path, bytes] = {}
    dice, size, refusals = random.Random(1), 400_000, 0
    while refusals < REFUSALS:
        source = drive.outside / f"{len(copied)}-{refusals}.bin"
        source.write_bytes(dice.randbytes(dice.randrange(size // 2, size)))
        path = drive.home(ALICE) / source.name
        if ALICE.run("cp", source, path, check=False).returncode == 0:
            copied[path] = source.read_bytes()
        else:
            refusals += 1
            size = max(size // 2, 100)
            assert os.statvfs(drive.mountpoint).f_bsize  # the daemon answers
            time.sleep(0.1)  # imports need room, too
    return copied
