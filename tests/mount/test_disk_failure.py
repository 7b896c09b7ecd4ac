"""A disk that fails under a mounted repository: read-only at once, nothing lost, all goes on after a new mount."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.calls import refusal, write
from tests.helpers.failing_disk import FailingDisk, failing_disk, is_possible
from tests.helpers.mounting import REPOFS, Drive, mounted, scratch, tell
from tests.helpers.people import ALICE
from tests.helpers.waiting import until

SETTINGS = """
[drops]
settle_seconds = 20
[readers]
workers = 1
[[hooks]]
name = "told"
command = ["/bin/sh", "-c", "cat >> @outside@/told"]
"""

pytestmark = pytest.mark.skipif(not is_possible(), reason="there is no zram: load the kernel module with modprobe zram")


@pytest.fixture
def broken() -> Iterator[tuple[Drive, FailingDisk]]:
    with scratch() as place, failing_disk(place / "repository") as disk:
        with mounted(SETTINGS, place=place) as drive:
            drive.allowed = ["read-only", "Read-only", "disk", "cannot be", "could not be"]
            yield drive, disk


def durable(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


def status(drive: Drive, *arguments: str) -> str:
    command = [*REPOFS, "status", *arguments, str(drive.home(ALICE))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_after_an_error_the_mount_is_read_only_and_the_next_one_goes_on(broken: tuple[Drive, FailingDisk]) -> None:
    drive, disk = broken
    home = drive.home(ALICE)
    ALICE.do(durable, home / "scan.tif", b"pixels")
    ALICE.do(tell, home / "scan.tif", "now")
    drive.wait_imported(home / "scan.tif")
    events = os.open(drive.mountpoint / ".repofs/events", os.O_RDONLY)
    ALICE.do(durable, home / "waits.tif", b"more pixels")
    disk.fail()
    with pytest.raises(OSError) as caught:
        ALICE.do(durable, home / "lost.tif", os.urandom(8 << 20))
    assert caught.value.errno in (errno.EIO, errno.EROFS)  # which write meets the error first is the kernel's affair
    for change in (
        lambda: os.mkdir(home / "new"),
        lambda: write(home / "scan2.tif"),
        lambda: os.rename(home / "waits.tif", home / "renamed.tif"),
        lambda: os.unlink(home / "waits.tif"),
        lambda: os.open(home / "waits.tif", os.O_WRONLY),
        lambda: os.setxattr(home / "waits.tif", "user.note", b"x"),
    ):
        assert refusal(change) == "EROFS"
    assert ALICE.do((home / "scan.tif").read_bytes) == b"pixels"
    told = json.loads(status(drive, "--json"))[0]
    assert "Input/output error" in told["read_only"] and "new mount" in told["read_only"]
    assert status(drive).count("read-only: the disk of the repository has failed") == 1
    lines = os.read(events, 1 << 20).splitlines()
    os.close(events)
    assert {json.loads(line)["event"] for line in lines} == {"imported", "read-only"}
    until(lambda: (drive.outside / "told").exists() and b"read-only" in (drive.outside / "told").read_bytes(), "a hook")
    begun = {"incomplete": 1} if (home / "lost.tif").exists() else {}  # else the error was met before it was made
    assert told["counts"] == {"imported": 1, "settling": 1, **begun}

    drive.stop()
    disk.mend()
    drive.start()
    ALICE.do(tell, home / "waits.tif", "now")
    drive.wait_imported(home / "scan.tif", home / "waits.tif")
    assert ALICE.do((home / "waits.tif").read_bytes) == b"more pixels"
    assert json.loads(status(drive, "--json"))[0]["read_only"] is None
    ALICE.do(durable, home / "next.tif", b"next")
