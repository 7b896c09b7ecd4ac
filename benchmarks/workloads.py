"""The same work on any directory. Each workload returns the seconds that its measured part took."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Workload:
    """*unit* operations of *name*: files, or MiB."""

    name: str
    unit: str
    operations: int
    run: Callable[[Path, int], float]


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def _write_small(directory: Path, count: int) -> None:
    data = os.urandom(4 * KIB)
    for number in range(count):
        fd = os.open(directory / f"{number}.bin", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        os.write(fd, data)
        os.close(fd)


def create_small(place: Path, count: int) -> float:
    """Create, write 4 KiB, close."""
    directory = _fresh(place / "small")
    return _timed(lambda: _write_small(directory, count))


def read_small(place: Path, count: int) -> float:
    """Open, read 4 KiB, close."""

    def read() -> None:
        for number in range(count):
            fd = os.open(place / "small" / f"{number}.bin", os.O_RDONLY)
            os.read(fd, 4 * KIB)
            os.close(fd)

    return _timed(read)


def cached_stat(place: Path, count: int) -> float:
    """stat of names that the kernel has in its cache."""
    names = [place / "small" / f"{number}.bin" for number in range(count)]
    for name in names:
        os.stat(name)
    return _timed(lambda: [os.stat(name) for name in names])


def list_and_stat(place: Path, count: int) -> float:
    """List a directory and stat each entry."""
    return _timed(lambda: [entry.stat() for entry in os.scandir(place / "small")])


def write_large(place: Path, mebibytes: int) -> float:
    """Write one file in calls of 1 MiB."""
    data = os.urandom(MIB)

    def write() -> None:
        fd = os.open(place / "large.bin", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
        for _ in range(mebibytes):
            os.write(fd, data)
        os.close(fd)

    (place / "large.bin").unlink(missing_ok=True)
    return _timed(write)


def read_large(place: Path, mebibytes: int) -> float:
    """Read that file in calls of 1 MiB."""

    def read() -> None:
        fd = os.open(place / "large.bin", os.O_RDONLY)
        while os.read(fd, MIB):
            pass
        os.close(fd)

    return _timed(read)


def workloads(*, quick: bool) -> list[Workload]:
    """Return all workloads, in the order in which one needs what another has left."""
    files, mebibytes = (300, 64) if quick else (3000, 512)
    return [
        Workload("create + write 4 KiB + close", "files", files, create_small),
        Workload("open + read 4 KiB + close", "files", files, read_small),
        Workload("stat, cached", "files", files, cached_stat),
        Workload("list + stat", "files", files, list_and_stat),
        Workload("write in 1 MiB calls", "MiB", mebibytes, write_large),
        Workload("read in 1 MiB calls, page cache warm", "MiB", mebibytes, read_large),
    ]
