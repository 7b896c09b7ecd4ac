"""`repofs import` whose daemon is killed in the middle, or that nobody waits for: nothing is left, nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.import_command import imports, original, started, told
from tests.helpers.mounting import QUICK, Drive, mounted
from tests.helpers.people import ALICE
from tests.helpers.waiting import until

LARGE_BYTES = 400 << 20
SETTINGS = QUICK + '\n[[sources]]\nname = "scope1"\npath = "@outside@"\n'


def large(drive: Drive) -> Path:
    """A file whose copy takes a while."""
    path = drive.outside / "large.bin"
    ALICE.do(Path.write_bytes, path, b"")
    os.truncate(path, LARGE_BYTES)
    return path


@pytest.mark.parametrize("transfer", ["upload", "upload_rm", "cp_rm", "ln_rm"])
def test_half_transferred_then_killed_leaves_nothing_and_keeps_the_source(transfer: str) -> None:
    with mounted(SETTINGS) as drive:
        source = large(drive)
        command = started(drive, ALICE, "--transfer", transfer, source)
        until(lambda: os.listdir(drive.layout.arriving), "the file arrives")
        drive.kill()
        out, _ = command.communicate(timeout=110)
        assert command.returncode == 2 and b"the daemon ended" in out
        assert source.stat().st_size == LARGE_BYTES
        drive.allowed += ["imports were interrupted"]
        drive.start()
        assert (
            os.listdir(drive.layout.arriving)
            == os.listdir(drive.layout.linked)
            == os.listdir(drive.layout.staging)
            == []
        )
        assert drive.originals() == []
        report = told(drive, ALICE, "--transfer", transfer, source)
        assert original(drive, report, "large.bin").stat().st_size == LARGE_BYTES
        assert source.exists() is not transfer.endswith("_rm")


def test_what_nobody_waits_for_goes_on_after_a_restart() -> None:
    with mounted(SETTINGS) as drive:
        files = [drive.outside / f"{number}.bin" for number in range(20)]
        for file in files:
            ALICE.do(Path.write_bytes, file, file.name.encode() * 1000)
        large(drive)
        done = imports(drive, ALICE, "--no-wait", "--transfer", "upload_rm", drive.outside)
        assert done.code == 0 and done.out.count("queued: ") == 21
        drive.kill()
        drive.allowed += ["imports were interrupted"]
        drive.start()
        until(lambda: len(drive.originals()) == 21 and os.listdir(drive.outside) == [], "all are imported", 60)
        until(lambda: os.listdir(drive.layout.arriving) == [], "all is cleared away")
