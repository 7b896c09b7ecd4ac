"""What is measured on each place: work of calls.c on originals, or on new files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.originals import Originals

KIB, MIB = 1 << 10, 1 << 20


class State(StrEnum):
    """What the kernel keeps of the mount when the work begins. The backing store's pages are in memory always."""

    COLD = "cold"  # nothing
    WARM = "warm"  # what the same work, done before, has left there
    NEW = "new"  # files that are not there yet


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is to be done; a power of two for what is read at random."""

    large: int  # bytes of the large file
    small: int  # files of 4 KiB in one directory
    directories: int  # of the tree that is walked
    files: int  # in each of these
    random: int  # reads of 4 KiB


FULL = Sizes(large=256 * MIB, small=4000, directories=100, files=1000, random=10_000)
QUICK = Sizes(large=64 * MIB, small=200, directories=10, files=100, random=500)
TINY = Sizes(large=2 * MIB, small=20, directories=2, files=10, random=50)


@dataclass(frozen=True, slots=True)
class Target:
    """The speed, relative to the bare directory, that is wanted with kernel passthrough and without."""

    passthrough: float
    daemon: float


@dataclass(frozen=True, slots=True)
class Workload:
    """*operations* system calls, or bytes where *unit* is GB/s, measured in each of *states*, in their order."""

    name: str
    unit: str  # "GB/s", or "µs" for one operation
    operations: int
    work: str  # of calls.c
    path: str  # below the originals or, new, below the scratch directory
    arguments: Sequence[int]
    states: dict[State, Target]

    @property
    def pieces(self) -> int:
        """Operations, or MiB: what the daemon's share is counted for."""
        return self.operations // MIB if self.unit == "GB/s" else self.operations


def workloads(sizes: Sizes) -> list[Workload]:
    """Return all, in the order of the table."""
    entries = sizes.directories * (sizes.files + 1)
    mebibytes, many = sizes.large // MIB, min(64, sizes.large // MIB)
    cold, warm, new = State.COLD, State.WARM, State.NEW
    small = sizes.small
    write, create = Target(0.9, 0.27), Target(0.15, 0.15)
    return [
        Workload("sequential read", "GB/s", sizes.large, "read", "large/0", [1],
                 {cold: Target(0.9, 0.17), warm: Target(0.9, 0.28)}),
        Workload("random 4 KiB", "µs", sizes.random, "random", "large/0", [sizes.random, 4 * KIB],
                 {cold: Target(0.8, 0.06), warm: Target(0.85, 0.5)}),
        Workload("random 1 MiB", "µs", many, "random", "large/0", [many, MIB], {cold: Target(0.9, 0.11)}),
        Workload("mmap", "GB/s", sizes.large, "mmap", "large/0", [1], {cold: Target(0.9, 0.2)}),
        Workload("write in 1 MiB calls", "GB/s", sizes.large, "write", "large", [mebibytes], {new: write}),
        Workload("create + write 4 KiB + close", "µs", small, "create", "", [small, 4 * KIB], {new: create}),
        Workload("open + read 4 KiB + close", "µs", small, "open", "small", [small, 4 * KIB],
                 {warm: Target(0.14, 0.14)}),
        Workload("walk + stat", "µs", entries, "walk", "tree", [entries],
                 {cold: Target(0.45, 0.45), warm: Target(0.9, 0.9)}),
        Workload("stat", "µs", small, "stat", "small", [small], {warm: Target(0.9, 0.9)}),
        Workload("open + close", "µs", small, "open", "small", [small], {warm: Target(0.05, 0.05)}),
    ]  # fmt: skip


def fill(originals: Originals, directory: Path, sizes: Sizes) -> None:
    """Put into *directory* what the workloads read."""
    originals.fill(directory / "large", 1, sizes.large)
    originals.fill(directory / "small", sizes.small, 4 * KIB)
    for number in range(sizes.directories):
        originals.fill(directory / "tree" / str(number), sizes.files, 0)
