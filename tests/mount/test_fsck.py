"""`repofs fsck` of a repository that is in use, and of one whose daemon was killed."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from repofs.repository import lock
from repofs.xattrs import MARK
from tests.helpers.mounting import REPOFS, Drive
from tests.helpers.people import ALICE, BOB

WRITERS = 2


def fsck(drive: Drive, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """Return exit code, findings and stderr."""
    command = [*REPOFS, "-C", str(drive.repository), "fsck", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()][:-1], done.stderr


def test_a_busy_repository_is_not_called_broken(own_drive: Drive) -> None:
    drive, ended = own_drive, threading.Event()
    dropped: list[list[Path]] = [[] for _ in range(WRITERS)]

    def write(number: int) -> None:
        own = dropped[number]
        while not ended.wait(0.05):
            path = drive.home(ALICE) / f"busy-{number}-{len(own)}.bin"
            path.write_bytes(str(path).encode())
            if len(own) % 7 == 0:
                path = path.rename(path.with_suffix(".renamed"))
            own.append(path)
            if len(own) % 11 == 0:
                own[-11].unlink()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        looks = [fsck(drive) for _ in range(2)]
    finally:
        ended.set()
        for writer in writers:
            writer.join()
    assert [(code, found) for code, found, _ in looks] == [(0, [])] * 2
    assert all(len(own) > 10 for own in dropped)
    drive.wait_imported(*(own[-1] for own in dropped), seconds=60.0)
    drive.stop()
    code, found, _ = fsck(drive)  # what was unlinked in the middle of its import has left a log
    assert (code, {one["code"] for one in found} - {"failure-log-stale"}) == (0, set())


def test_beside_a_daemon_damage_is_found_and_not_repaired(own_drive: Drive) -> None:
    drive = own_drive
    path = drive.home(BOB) / "scan.bin"
    BOB.do(path.write_bytes, b"pixels")
    drive.wait_imported(path)
    original = drive.backing(drive.original_of(path))
    os.removexattr(original, MARK)
    code, found, _ = fsck(drive)
    assert (code, [one["code"] for one in found]) == (4, ["mark-missing"])
    assert found[0]["where"] == str(original.relative_to(drive.layout.managed))
    code, found, told = fsck(drive, "--repair")
    assert (code, found) == (8, [])
    assert f"process {drive.pid} has mounted it on {drive.mountpoint}: unmount it first" in told
    drive.stop()
    assert fsck(drive, "--repair")[0] == 1
    assert fsck(drive)[:2] == (0, [])
    drive.start()
    drive.wait_imported(path)


def test_what_a_killed_daemon_leaves_is_no_fault_or_mended(own_drive: Drive) -> None:
    drive = own_drive
    paths = [drive.home(ALICE) / f"{number}.bin" for number in range(30)]
    for path in paths:
        ALICE.do(path.write_bytes, str(path).encode())
    drive.wait_imported(paths[0])
    drive.kill()
    code, found, _ = fsck(drive, "--repair")
    assert code in (0, 1), found
    code, found, _ = fsck(drive)
    assert (code, {one["severity"] for one in found} - {"note"}) == (0, set())
    drive.start()
    drive.wait_imported(*paths)
    drive.stop()
    assert fsck(drive)[:2] == (0, [])


def test_nobody_mounts_while_it_looks(own_drive: Drive) -> None:
    drive = own_drive
    drive.stop()
    with lock.held(drive.layout, "looks through it: repofs fsck"), pytest.raises(AssertionError) as refused:
        drive.start()
    assert f"is in use: process {os.getpid()} looks through it: repofs fsck" in str(refused.value)
    drive.allowed = ["is in use"]
    drive.start()
