"""What the mount has written to the disk when fsync, a write with O_SYNC, or a close answers: seen with strace."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.calls import write
from tests.helpers.mounting import Drive, mounted
from tests.helpers.people import ALICE
from tests.helpers.waiting import until

SETTINGS = """
[drops]
settle_seconds = 3600
"""
_CALL = re.compile(r"\b(fsync|fdatasync|syncfs)\(\d+<([^>]*)>\)\s+= 0")

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: install it")


class Syncs:
    """The calls of a mount's daemon that wait for the disk, as strace writes them down."""

    def __init__(self, drive: Drive, log: Path) -> None:
        self._drive = drive
        self._log = log

    def during(self, act: Callable[[], None]) -> list[tuple[str, str]]:
        """Return (call, path below alice's directory) of those that ended before *act* did."""
        before = len(self._calls())
        act()
        return self._calls()[before:]

    def _calls(self) -> list[tuple[str, str]]:
        top = self._drive.backing(self._drive.home(ALICE))
        calls = _CALL.findall(self._log.read_text())
        return [(call, os.path.relpath(path, top)) for call, path in calls if not path.endswith("/.journal")]


@contextlib.contextmanager
def tracing(drive: Drive, log: Path) -> Iterator[Syncs]:
    arguments = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,syncfs", "-o", log, "-p", str(drive.pid)]
    tracer = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        until(lambda: _is_traced(drive.pid), "strace being attached")
        yield Syncs(drive, log)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=10)


def _is_traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


@pytest.fixture
def syncs(drive: Drive, tmp_path: Path) -> Iterator[Syncs]:
    with tracing(drive, tmp_path / "strace") as traced:
        yield traced


def test_fsync_waits_for_the_bytes_and_for_the_directories_that_were_made(
    drive: Drive, folder: Path, syncs: Syncs
) -> None:
    def work() -> None:
        os.makedirs(folder / "a/b")
        fd = os.open(folder / "a/b/scan.tif", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"bytes")
        os.fsync(fd)
        os.write(fd, b"more")
        os.fdatasync(fd)
        os.close(fd)

    ALICE.do(_sync, folder)
    top = folder.name
    assert syncs.during(lambda: ALICE.do(work)) == [
        ("fsync", f"{top}/a/b/scan.tif"),
        ("fsync", f"{top}/a/b"),
        ("fsync", f"{top}/a"),
        ("fsync", top),
        ("fdatasync", f"{top}/a/b/scan.tif"),
    ]


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


@pytest.mark.parametrize(("flag", "call"), [(os.O_SYNC, "fsync"), (os.O_DSYNC, "fdatasync")])
def test_each_write_of_a_file_opened_to_be_in_step_waits(
    drive: Drive, folder: Path, syncs: Syncs, flag: int, call: str
) -> None:
    def work() -> None:
        fd = os.open(folder / "journal", os.O_WRONLY | flag)
        os.write(fd, b"one")
        os.write(fd, b"two")
        os.close(fd)

    ALICE.do(write, folder / "journal", b"")
    seen = syncs.during(lambda: ALICE.do(work))
    assert [one for one in seen if one[1].endswith("journal")] == [(call, f"{folder.name}/journal")] * 2


def test_each_close_of_a_written_file_waits_where_the_settings_say_so(tmp_path: Path) -> None:
    with mounted(f'{SETTINGS}[mount]\ndurability = "close"\n') as drive, tracing(drive, tmp_path / "strace") as syncs:
        home = drive.home(ALICE)
        ALICE.do(_sync, home)
        assert syncs.during(lambda: ALICE.do(write, home / "scan.tif")) == [("fsync", "scan.tif"), ("fsync", ".")]
        assert syncs.during(lambda: ALICE.do((home / "scan.tif").read_bytes)) == []
