"""Closed is a positive mark: a file whose writer did not end well is kept, readable, and never imported by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.mounting import QUICK, Drive, fact, mounted, scratch, tell
from tests.helpers.people import ALICE, BOB
from tests.helpers.slow_copy import SlowCopy
from tests.helpers.waiting import until


def another_is_imported(drive: Drive, folder: Path) -> None:
    """Drop another file and wait for its import: by then any earlier drop would have been imported too."""
    path = folder / "another.bin"
    ALICE.do(path.write_bytes, b"another")
    drive.wait_imported(path)


def assert_incomplete(drive: Drive, path: Path, content: bytes) -> None:
    assert fact(path, "state") == "incomplete"
    assert ALICE.do(path.read_bytes) == content
    assert path.stat().st_nlink == 1
    assert drive.originals_at(path) == []


# --- the writer is killed -------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda s: s.name)
def test_half_a_copy_is_kept_and_not_imported(
    drive: Drive, folder: Path, outside: Path, number: signal.Signals
) -> None:
    path = folder / "half.bin"
    with SlowCopy(ALICE, outside, path) as copy:
        copy.write(b"the first half")
        copy.end(number)
    drive.wait_state(path, "incomplete")
    another_is_imported(drive, folder)
    assert_incomplete(drive, path, b"the first half")
    assert number.name in str(fact(path, "error"))
    assert "cp" in str(fact(path, "error"))
    log = ALICE.do((drive.mountpoint / str(fact(path, "log"))).read_text)
    assert "created by uid 61001, cp" in log
    assert number.name in log
    ALICE.do(tell, path, "now")
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"the first half"


def test_an_interrupted_copy_is_imported_when_it_is_written_again(drive: Drive, folder: Path, outside: Path) -> None:
    path = folder / "half.bin"
    with SlowCopy(ALICE, outside, path) as copy:
        copy.write(b"half")
        copy.end(signal.SIGINT)
    drive.wait_state(path, "incomplete")
    with SlowCopy(ALICE, outside, path) as copy:
        copy.write(b"whole!")
        assert copy.close() == 0
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"whole!"


def test_an_interrupted_copy_is_imported_when_it_is_renamed(drive: Drive, folder: Path, outside: Path) -> None:
    path = folder / "half.bin"
    with SlowCopy(ALICE, outside, path) as copy:
        copy.write(b"half")
        copy.end(signal.SIGTERM)
    drive.wait_state(path, "incomplete")
    ALICE.do(os.rename, path, folder / "meant.bin")
    drive.wait_imported(folder / "meant.bin")


def test_touching_an_interrupted_copy_does_not_make_it_whole(drive: Drive, folder: Path, outside: Path) -> None:
    path = folder / "half.bin"
    with SlowCopy(ALICE, outside, path) as copy:
        copy.write(b"half")
        copy.end(signal.SIGKILL)
    drive.wait_state(path, "incomplete")
    ALICE.do(os.utime, path, (1, 1))
    ALICE.do(os.chmod, path, 0o640)
    ALICE.do(path.read_bytes)
    ALICE.do(lambda: os.close(os.open(path, os.O_RDWR)))  # opened to write, nothing written
    another_is_imported(drive, folder)
    assert_incomplete(drive, path, b"half")


def test_a_copy_killed_before_its_first_byte(drive: Drive, folder: Path, outside: Path) -> None:
    path = folder / "nothing.bin"
    with SlowCopy(ALICE, outside, path) as copy:
        until(path.exists, "cp makes its file")
        copy.end(signal.SIGKILL)
    drive.wait_state(path, "incomplete")
    another_is_imported(drive, folder)
    assert_incomplete(drive, path, b"")


def test_an_append_that_is_killed_takes_the_earlier_mark_away(drive: Drive, folder: Path) -> None:
    os.setxattr(folder, "user.repofs.policy", b'{"settle_seconds": 3600}')
    path = folder / "grown.bin"
    ALICE.do(path.write_bytes, b"whole, ")
    assert fact(path, "state") == "settling"

    def append_and_die() -> None:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"and half")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(AssertionError, match="-9"):
        ALICE.do(append_and_die)
    drive.wait_state(path, "incomplete")
    assert_incomplete(drive, path, b"whole, and half")


# --- a FLUSH is not a close -----------------------------------------------------------------------


def test_a_closed_dup_is_not_a_close(drive: Drive, folder: Path) -> None:
    path = folder / "duped.bin"

    def write() -> None:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"one, ")
        os.close(os.dup(fd))
        another = folder / "another.bin"
        another.write_bytes(b"another")
        drive.wait_imported(another)
        assert fact(path, "state") == "writing"
        os.write(fd, b"two")
        os.close(fd)

    ALICE.do(write)
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"one, two"


@pytest.mark.parametrize("ending", ["exit", "kill"])
def test_a_forked_child_that_ends_is_not_a_close(drive: Drive, folder: Path, ending: str) -> None:
    path = folder / "forked.bin"

    def write() -> None:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"parent, ")
        child = os.fork()
        if child == 0:
            os.write(fd, b"child, ")
            if ending == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        os.waitpid(child, 0)
        another = folder / "another.bin"
        another.write_bytes(b"another")
        drive.wait_imported(another)
        assert fact(path, "state") == "writing"
        os.write(fd, b"parent")
        os.close(fd)

    ALICE.do(write)
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"parent, child, parent"


def test_a_child_may_close_what_its_parent_opened(drive: Drive, folder: Path) -> None:
    """As a shell's redirection does: the opener ends well, the writer goes on alone."""
    path = folder / "inherited.bin"

    def open_and_leave() -> None:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        parent_ends, alive = os.pipe()
        if os.fork() == 0:
            os.close(alive)
            os.read(parent_ends, 1)
            os.write(fd, b"late")
            os._exit(0)

    ALICE.do(open_and_leave)
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"late"


def test_a_thread_may_open_what_another_closes(drive: Drive, folder: Path) -> None:
    path = folder / "threads.bin"

    def write() -> None:
        opened: list[int] = []
        opener = threading.Thread(target=lambda: opened.append(os.open(path, os.O_CREAT | os.O_WRONLY)))
        opener.start()
        opener.join()
        writer = threading.Thread(target=lambda: os.write(opened[0], b"by threads"))
        writer.start()
        writer.join()
        os.close(opened[0])

    ALICE.do(write)
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"by threads"


def test_a_killed_process_whose_opening_thread_has_ended(drive: Drive, folder: Path) -> None:
    path = folder / "threads.bin"

    def write_and_die() -> None:
        opened: list[int] = []
        opener = threading.Thread(target=lambda: opened.append(os.open(path, os.O_CREAT | os.O_WRONLY)))
        opener.start()
        opener.join()
        os.write(opened[0], b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(AssertionError, match="-9"):
        ALICE.do(write_and_die)
    drive.wait_state(path, "incomplete")
    another_is_imported(drive, folder)
    assert_incomplete(drive, path, b"half")


# --- the daemon is killed -------------------------------------------------------------------------


def test_a_copy_whose_daemon_died_is_incomplete(own_drive: Drive) -> None:
    drive = own_drive
    half, whole = drive.home(ALICE) / "half.bin", drive.home(ALICE) / "whole.bin"
    with SlowCopy(ALICE, drive.outside, half) as copy:
        copy.write(b"the first half")
        ALICE.do(whole.write_bytes, b"closed well")
        drive.kill()
    drive.start()
    drive.wait_imported(whole)
    assert_incomplete(drive, half, b"the first half")
    ALICE.do(tell, half, "now")
    drive.wait_imported(half)


def test_a_copy_that_was_open_when_the_daemon_was_stopped_is_incomplete(own_drive: Drive) -> None:
    drive = own_drive
    half = drive.home(ALICE) / "half.bin"
    with SlowCopy(ALICE, drive.outside, half) as copy:
        copy.write(b"the first half")
        drive.stop()
    drive.start()
    another_is_imported(drive, drive.home(ALICE))
    assert_incomplete(drive, half, b"the first half")


# --- the disk is full -----------------------------------------------------------------------------


@pytest.fixture
def small_drive() -> Iterator[Drive]:
    """A repository on a disk of 24 MiB."""
    with scratch() as place, contextlib.ExitStack() as stack:
        image = place / "disk.img"
        image.touch()
        os.truncate(image, 24 << 20)
        disk = place / "disk"
        disk.mkdir()
        for command in (["mkfs.ext4", "-q", "-m", "0", image], ["mount", "-o", "loop", image, disk]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                pytest.skip(f"no small disk can be made: {done.stderr.strip()}")
        stack.callback(subprocess.run, ["umount", disk], check=True)
        disk.chmod(0o755)
        (disk / "lost+found").rmdir()
        yield stack.enter_context(mounted(QUICK, place=disk))


def test_a_full_disk_is_told_to_the_writer_and_the_part_is_his_to_remove(small_drive: Drive) -> None:
    drive = small_drive
    bobs = drive.home(BOB) / "bobs.bin"
    BOB.do(bobs.write_bytes, b"before")
    drive.wait_imported(bobs)
    large = drive.home(ALICE) / "large.bin"
    done = ALICE.run("dd", "if=/dev/zero", f"of={large}", "bs=1M", "count=40", check=False)
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    drive.allowed = ["a closed file cannot be marked"]
    drive.wait_state(large, "incomplete")
    assert BOB.do(bobs.read_bytes) == b"before"
    assert drive.originals_at(large) == []
    ALICE.do(os.unlink, large)
    BOB.do((drive.home(BOB) / "after.bin").write_bytes, b"after")
    drive.wait_imported(drive.home(BOB) / "after.bin")
