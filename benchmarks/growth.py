"""How each cost grows: with files in a directory, files in the repository, and users at a time, to 10 and 100 times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import Any

from benchmarks.calls import Calls
from benchmarks.originals import Originals
from benchmarks.places import Place

FACTORS = (1, 10, 100)
IN_EACH = 100  # files in a directory of the repository that grows
SHARED = 50  # files that all users open; all opens together stay below the limit of descriptors
_ROUNDS = 3

Work = Callable[[Calls, Place, int], tuple[float, int]]
"""Does something on a place at a size; returns the seconds, and how many operations it was."""


@dataclass(frozen=True, slots=True)
class Base:
    """The smallest of three sizes."""

    wide: int  # files in one directory
    many: int  # files in the repository


FULL = Base(wide=1000, many=10_000)
SHORT = Base(wide=100, many=1000)
QUICK = Base(wide=10, many=100)
TINY = Base(wide=2, many=100)


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """Microseconds of one operation on one place, at each size."""

    grows: str
    sizes: list[int]
    work: str
    place: str
    microseconds: list[float]

    @property
    def times(self) -> float:
        """How many times as much one operation costs at the largest size as at the smallest."""
        return self.microseconds[-1] / self.microseconds[0]

    def as_json(self) -> dict[str, Any]:
        names = ("grows", "sizes", "work", "place", "microseconds", "times")
        return {name: getattr(self, name) for name in names}


def fill(originals: Originals, directory: Path, base: Base) -> None:
    """Put into *directory*, in which nothing is mounted yet, the originals that `measure` reads."""
    originals.fill(directory / "shared", SHARED, 1)
    for factor in FACTORS:
        originals.fill(directory / f"wide-{base.wide * factor}", base.wide * factor, 1)
        for number in range(base.many * factor // IN_EACH):
            originals.fill(directory / f"many-{base.many * factor}" / str(number), IN_EACH, 0)


def measure(calls: Calls, places: Sequence[Place], base: Base) -> Iterator[GrowthRow]:
    """Yield a row for each work and place; below the originals of *places*, in `growth`, is what `fill` has made."""
    grows: list[tuple[str, int, dict[str, Work]]] = [
        ("files in a directory", base.wide, _IN_A_DIRECTORY),
        ("files in the repository", base.many, _IN_THE_REPOSITORY),
        ("users at a time", 1, _TOGETHER),
    ]
    for name, smallest, works in grows:
        sizes = [smallest * factor for factor in FACTORS]
        for label, work in works.items():
            costs = [_costs(calls, places, work, size) for size in sizes]
            for number, place in enumerate(places):
                yield GrowthRow(name, sizes, label, place.name, [cost[number] for cost in costs])


def _costs(calls: Calls, places: Sequence[Place], work: Work, size: int) -> list[float]:
    """Return the median microseconds of an operation on each of *places*."""
    rounds = [[_cost(*work(calls, place, size)) for place in places] for _ in range(_ROUNDS)]
    return [median(costs) for costs in zip(*rounds, strict=True)]


def _cost(seconds: float, operations: int) -> float:
    return seconds / operations * 1e6


def _create(calls: Calls, place: Place, size: int) -> tuple[float, int]:
    directory = place.scratch / "grows"
    directory.mkdir()
    seconds = calls.do("create", directory, size, 1)
    rmtree(directory)
    return seconds, size


def _walk_wide(calls: Calls, place: Place, size: int) -> tuple[float, int]:
    place.drop_cache()
    return calls.do("walk", place.originals / "growth" / f"wide-{size}", size), size


def _stat_wide(calls: Calls, place: Place, size: int) -> tuple[float, int]:
    directory = place.originals / "growth" / f"wide-{size}"
    calls.do("stat", directory, size)
    return calls.do("stat", directory, size), size


def _open_wide(calls: Calls, place: Place, size: int) -> tuple[float, int]:
    return calls.do("open", place.originals / "growth" / f"wide-{size}", size, 1), size


def _walk_cold(calls: Calls, place: Place, size: int) -> tuple[float, int]:
    place.drop_cache()
    return _walk_warm(calls, place, size)


def _walk_warm(calls: Calls, place: Place, size: int) -> tuple[float, int]:
    entries = size + size // IN_EACH
    return calls.do("walk", place.originals / "growth" / f"many-{size}", entries), entries


def _open_together(calls: Calls, place: Place, users: int) -> tuple[float, int]:
    """All open the same files."""
    return calls.do_together(users, "open", place.originals / "growth" / "shared", SHARED, 1), SHARED * users


_IN_A_DIRECTORY: dict[str, Work] = {
    "create + write + close": _create,
    "walk + stat, cold": _walk_wide,
    "stat, warm": _stat_wide,
    "open + read + close, warm": _open_wide,
}
_IN_THE_REPOSITORY: dict[str, Work] = {"walk + stat, cold": _walk_cold, "walk + stat, warm": _walk_warm}
_TOGETHER: dict[str, Work] = {"open + read + close, warm": _open_together}
