"""What an import costs, which no peer does: from `cp` to `imported`, and what others notice of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import kernel
from benchmarks.calls import Calls
from benchmarks.mounted import Repository, repofs
from benchmarks.originals import Originals

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
_POLL_SECONDS = 0.002
_ROUNDS = 3
_COUNTED_SECONDS = 2.0  # without work: the drops that were made behind the mount are counted


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is imported."""

    large: int  # bytes of the large file
    small: int  # files of 4 KiB
    dropped: int  # files of 4 KiB, beside a reader
    names: int  # that are walked


LONG = Sizes(large=GIB, small=20_000, dropped=10_000, names=1_000_000)
FULL = Sizes(large=GIB, small=20_000, dropped=10_000, names=100_000)
QUICK = Sizes(large=64 * MIB, small=200, dropped=200, names=5000)
TINY = Sizes(large=MIB, small=20, dropped=20, names=100)


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A figure, and what is wanted."""

    what: str
    figure: float
    unit: str
    wanted: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(top: Path, calls: Calls, sizes: Sizes) -> Iterator[ImportRow]:
    """Yield the rows, of a repository of its own below *top*, which is empty."""
    repository = Repository(top)
    backing = repository.layout.managed / repository.user_directory
    Originals(repository.layout, calls).fill(backing / "read", 1, 1)
    os.truncate(backing / "read" / "0", 2 * sizes.dropped * MIB)  # a hole for each sample
    (backing / "walked").mkdir()
    calls.do("create", backing / "walked", sizes.names)
    with repository.mounted() as home:
        yield from _memory(repository, calls, home / "walked", sizes.names)
        yield from _large(top, home, sizes.large)
        yield from _small(repository, calls, home / "small", sizes.small)
        yield from _beside(repository, calls, home, sizes.dropped)


def _memory(repository: Repository, calls: Calls, walked: Path, names: int) -> Iterator[ImportRow]:
    """What the daemon holds of names that the kernel knows, and of those that it has forgotten."""
    daemon = repository.daemon
    kernel.wait_idle(daemon, _COUNTED_SECONDS)
    calls.do("walk", walked, names)
    kernel.wait_idle(daemon)
    yield ImportRow(f"the daemon's memory after a walk of {names:,}", _mib(daemon), "MiB", "< 200")
    kernel.drop_cache(repository.mountpoint)
    kernel.wait_idle(daemon)
    yield ImportRow("the same once the kernel has forgotten them", _mib(daemon), "MiB")


def _mib(pid: int) -> float:
    return kernel.resident_bytes(pid) / MIB


def _large(top: Path, home: Path, size: int) -> Iterator[ImportRow]:
    """One large file; its settle time is skipped. In the bare directory, with and without waiting for the disk."""
    source = top / "large.bin"
    taken: dict[Callable[[Path, Path], None], list[float]] = {_summed: [], _summed_durably: [], _imported: []}
    for number in range(_ROUNDS):
        source.write_bytes(os.urandom(size))  # another each time: the same bytes are a duplicate
        for work, seconds in taken.items():
            target = (home if work is _imported else top) / f"copy-{number}.bin"
            seconds.append(_timed(work, source, target))
            target.unlink()
    source.unlink()
    summed, durably, imported = (median(seconds) for seconds in taken.values())
    name = f"a file of {size // MIB:,} MiB, until imported"
    yield ImportRow(name, imported, "s")
    yield ImportRow(f"{name}, beside cp and sha1sum", imported / summed, "times", "≤ 1.1")
    yield ImportRow(f"{name}, beside cp, sha1sum and fsync", imported / durably, "times")


def _timed(work: Callable[[Path, Path], None], source: Path, target: Path) -> float:
    begin = time.perf_counter()
    work(source, target)
    return time.perf_counter() - begin


def _summed(source: Path, target: Path) -> None:
    subprocess.run(["cp", str(source), str(target)], check=True)
    subprocess.run(["sha1sum", str(target)], check=True, stdout=subprocess.DEVNULL)


def _summed_durably(source: Path, target: Path) -> None:
    _summed(source, target)
    subprocess.run(["sync", str(target)], check=True)


def _imported(source: Path, target: Path) -> None:
    subprocess.run(["cp", str(source), str(target)], check=True)
    os.setxattr(target, "user.repofs.import", b"now")
    while (state := os.getxattr(target, "user.repofs.state")) != b"imported":
        if state in (b"failed", b"duplicate", b"incomplete"):
            raise RuntimeError(f"{target} is {state.decode()}")
        time.sleep(_POLL_SECONDS)


def _small(repository: Repository, calls: Calls, target: Path, count: int) -> Iterator[ImportRow]:
    """Many small files, settle time and waiting for the disk included."""
    target.mkdir()
    processes = [repository.daemon, *kernel.children(repository.daemon)]
    before = sum(map(kernel.cpu_seconds, processes))
    begin = time.perf_counter()
    calls.do("create", target, count, 4 * KIB)
    repofs("wait", str(target))
    seconds = time.perf_counter() - begin
    used = sum(map(kernel.cpu_seconds, processes)) - before
    yield ImportRow(f"{count:,} files of 4 KiB, until imported", count / seconds, "files/s", "≥ 2,000")
    yield ImportRow("processor time of daemon and importer for each", used / count * 1e6, "µs")


def _beside(repository: Repository, calls: Calls, home: Path, dropped: int) -> Iterator[ImportRow]:
    """What a reader notices of somebody who drops files."""
    samples = max(10, dropped // 5)
    for name, size in (("a cached stat", 0), ("a read of 4 KiB that reaches the daemon", 4 * KIB)):
        work = ("latency", home / "read" / "0", samples, size)
        calls.do(*work)  # the pages of the backing store are in memory from now on
        for process in [repository.daemon, *kernel.children(repository.daemon)]:
            kernel.wait_idle(process)  # the importer ends what others have dropped
        kernel.drop_cache(repository.mountpoint)
        alone = calls.do(*work)
        kernel.drop_cache(repository.mountpoint)
        target = home / f"dropped-{size}"
        target.mkdir()
        with calls.meanwhile("create", target, dropped, 4 * KIB):
            beside = calls.do(*work)
        yield ImportRow(f"p99 of {name}", alone * 1e6, "µs")
        yield ImportRow(f"p99 while another drops {dropped:,} files", beside / alone, "times", "≤ 2")
