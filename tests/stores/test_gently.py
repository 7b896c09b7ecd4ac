"""Reading within a budget, and without a trace in the page cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from repofs.repository import gently
from repofs.repository.checksum import checksum
from repofs.repository.gently import Budget, GentleReader, idle_priority


def test_so_many_bytes_a_second_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(gently.time, "monotonic", lambda: clock[0])
    budget = Budget(1000)
    assert [budget.spend(500), budget.spend(500)] == [0.5, 1.0]  # two threads: each waits for the other, too
    clock[0] += 60
    assert budget.spend(100) == pytest.approx(0.1)  # what was not spent is not saved up
    assert Budget(None).spend(10**12) == 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "scan.tif"
    with path.open("wb") as file:
        file.write(os.urandom(5 << 20))
        os.fsync(file.fileno())
    return path


def cached(path: Path, begin: int, size: int) -> bool:
    """Whether all of this part of the file is in the page cache."""
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(size)], begin, os.RWF_NOWAIT) == size
        except BlockingIOError:
            return False


def test_it_reads_what_is_there(path: Path) -> None:
    told: list[int] = []
    with path.open("rb") as file:
        assert checksum(file.fileno(), "SHA1-160", GentleReader(told.append)) == checksum(file.fileno(), "SHA1-160")
    assert sum(told) == 5 << 20


def test_what_others_have_read_stays_and_nothing_else(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(fd, 1 << 20, 2 << 20)
    checksum(fd, "SHA1-160", GentleReader(lambda count: None))
    os.close(fd)
    assert cached(path, 2 << 20, 1 << 20)
    assert not any(cached(path, begin << 20, 4096) for begin in (0, 1, 3, 4))


def test_the_threads_priority_is_as_before_afterwards() -> None:
    def priority() -> int:
        return int(gently._syscall(gently._IOPRIO_GET[gently.platform.machine()], 1, 0))

    before = priority()
    with idle_priority():
        assert priority() == gently._IDLE
    assert priority() in (before, 0)
