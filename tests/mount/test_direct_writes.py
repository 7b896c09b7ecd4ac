"""A file that is made only to be written goes past the pages that the kernel keeps: nobody notices but by speed.

Who reads it meanwhile, by whatever call, gets the bytes that are there; who reads it afterwards reads no older ones.
"""

from __future__ import annotations

import errno
import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from benchmarks import kernel
from repofs.fuse import native
from repofs.privileges import end_with_parent
from tests.helpers.mounting import Drive
from tests.helpers.people import ALICE

BLOCK = 3000  # bytes: no multiple of a page


def block(number: int) -> bytes:
    return bytes([number % 251 + 1]) * BLOCK


@pytest.fixture
def path(drive: Drive, tmp_path: Path) -> Path:
    folder = drive.home(ALICE) / "direct"
    if not folder.exists():
        ALICE.do(os.mkdir, folder)
    return folder / f".{tmp_path.name}"  # nor is it imported


def privately(file: IO[bytes]) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)


def read_all(fd: int) -> bytes:
    return os.pread(fd, 1 << 20, 0)


def test_a_reader_follows_a_writer(path: Path) -> None:
    """Each way of reading, after each write: what was there before, and what has just come."""

    def follow() -> None:
        written = b""
        writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        reader = os.open(path, os.O_RDONLY)
        for number in range(40):
            os.write(writer, block(number))
            written += block(number)
            assert read_all(reader) == written
            assert path.read_bytes() == written
            with (
                open(path, "rb") as file,
                mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as pages,
            ):
                assert pages[:] == written
        os.close(writer)
        assert read_all(reader) == written
        assert path.read_bytes() == written

    ALICE.do(follow)


def test_what_is_written_over_is_not_read_any_more(path: Path) -> None:
    def follow() -> None:
        writer = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(writer, block(1))
        with open(path, "rb") as file:
            private = privately(file)
        assert private[:] == block(1)
        for number in range(2, 20):
            os.pwrite(writer, block(number), 0)
            assert path.read_bytes() == block(number)
            os.truncate(path, BLOCK // 2)
            assert path.read_bytes() == block(number)[: BLOCK // 2]
            os.pwrite(writer, block(number), 0)
            assert path.read_bytes() == block(number)
        os.close(writer)
        assert path.read_bytes() == block(19)
        private.close()

    ALICE.do(follow)


def test_two_writers_and_a_reader_and_writer(path: Path) -> None:
    def work() -> None:
        first = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(first, block(1))
        both = os.open(path, os.O_RDWR)
        assert os.read(both, BLOCK) == block(1)
        os.write(both, block(2))
        second = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(second, block(3))
        assert read_all(both) == block(1) + block(2) + block(3)
        os.close(first)
        os.close(second)
        os.pwrite(both, block(4), 0)
        assert path.read_bytes() == block(4) + block(2) + block(3)
        os.close(both)
        with open(path, "r+b") as again:
            again.write(block(5))
            again.flush()
            assert path.read_bytes() == block(5) + block(2) + block(3)

    ALICE.do(work)


@pytest.mark.usefixtures("kernel_keeps")
def test_readers_beside_the_writer_keep_nothing(drive: Drive, path: Path) -> None:
    """Those that come first after it throw away what there is, and keep what they read: the kernel counts."""
    if not kernel.can_count():
        pytest.skip("this kernel does not tell of each request: it takes tracefs and Linux 6.11")

    def read() -> None:
        assert path.read_bytes() == block(1)

    def read_mapped() -> None:
        with path.open("rb") as file, privately(file) as pages:
            assert pages[:] == block(1)

    def reads() -> int:
        with kernel.requests(drive.mountpoint) as asked:
            ALICE.do(read)
            kernel.wait_idle(drive.pid)
        return asked["READ"]

    with path.open("wb") as file:
        os.chown(path, ALICE.uid, ALICE.gid)
        file.write(block(1))
        file.flush()
        beside = [reads() > 0 for _ in range(3)]
        ALICE.do(read_mapped)  # which does keep pages
    assert beside == [True, True, True]
    assert reads() > 0
    assert [reads() for _ in range(2)] == [0, 0]


def test_a_shared_mapping_beside_the_writer(path: Path) -> None:
    """As numpy.memmap makes one to read. Without the native module, or before Linux 6.6, there is none."""

    def work() -> bytes | int | None:
        writer = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(writer, block(1))
        try:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
                return pages[:]
        except OSError as error:
            return error.errno
        finally:
            os.close(writer)

    offered = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6)
    assert ALICE.do(work) == (block(1) if native is not None and offered else errno.ENODEV)
    assert ALICE.do(mapped, path) == block(1), "nobody writes it any more"


def mapped(path: Path) -> bytes:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        return pages[:]


def test_nothing_old_is_left_by_readers_that_never_rest(path: Path) -> None:
    """A reader whose request is under way while the same page is written may be given what was there before."""

    def write_beside_them() -> None:
        written = b"".join(block(number) for number in range(400))
        writer = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(writer, written[:100])
        readers = [in_a_child(read_for_ever, path) for _ in range(2)]
        for start in range(100, len(written), 777):
            os.write(writer, written[start : start + 777])
        os.close(writer)
        assert path.read_bytes() == written
        for reader in readers:
            os.kill(reader, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]) == -signal.SIGKILL, "it read until then"
        assert mapped(path) == path.read_bytes() == written

    ALICE.do(write_beside_them)


def in_a_child(work: Callable[[Path], None], path: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            work(path)
        finally:
            os._exit(1)
    return child


def read_for_ever(path: Path) -> None:
    end_with_parent(signal.SIGKILL, os.getppid())
    while True:
        with open(path, "rb", buffering=0) as file:
            file.read()
            with privately(file) as pages:
                pages.find(b"\0")
