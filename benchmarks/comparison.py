"""The workloads on all places in turn: rounds of one workload follow each other, and in each the places."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import kernel
from benchmarks.calls import Calls
from benchmarks.places import BARE, REPOFS, Place
from benchmarks.workloads import State, Target, Workload

ENOUGH_SECONDS = 30.0  # for one workload, after which a place takes part in no more of its rounds


@dataclass(slots=True)
class Row:
    """A workload in one state on all places, by their names."""

    workload: Workload
    state: State
    seconds: dict[str, list[float]] = field(default_factory=dict)  # one a round
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)  # of the daemon meanwhile
    requests: Counter[str] | None = None  # that reached repofs' daemon; None: this kernel does not count them

    @property
    def target(self) -> Target:
        return self.workload.states[self.state]

    def figure(self, place: str) -> float:
        """Return the median in the workload's unit."""
        seconds = statistics.median(self.seconds[place])
        if self.workload.unit == "GB/s":
            return self.workload.operations / seconds / 1e9
        return seconds / self.workload.operations * 1e6

    def ratio(self, place: str) -> float:
        """Return the speed of *place* relative to the bare directory: 1 is as fast."""
        return statistics.median(self.seconds[BARE]) / statistics.median(self.seconds[place])

    def cpu_us(self, place: str) -> float:
        """Return the median microseconds of processor time that the daemon took for one operation, or MiB."""
        return statistics.median(self.cpu_seconds[place]) / self.workload.pieces * 1e6

    def as_json(self) -> dict[str, Any]:
        return {
            "workload": self.workload.name,
            "state": self.state,
            "unit": self.workload.unit,
            "operations": self.workload.operations,
            "pieces": self.workload.pieces,
            "figures": {place: self.figure(place) for place in self.seconds},
            "ratios": {place: self.ratio(place) for place in self.seconds},
            "wanted": {"with passthrough": self.target.passthrough, "without": self.target.daemon},
            "seconds": self.seconds,
            "daemon_cpu_seconds": self.cpu_seconds,
            "daemon_cpu_us": {place: self.cpu_us(place) for place in self.seconds},
            "requests": self.requests,
        }


def compare(calls: Calls, places: Sequence[Place], workloads: Sequence[Workload], rounds: int) -> Iterator[Row]:
    """Yield the rows of one workload after the other."""
    for workload in workloads:
        rows = {state: Row(workload, state) for state in workload.states}
        for _ in range(rounds):
            for place in places:
                if _spent(place, rows) < ENOUGH_SECONDS:
                    for state, row in _prepared(calls, place, workload, rows):
                        _measure(calls, place, state, row)
        if kernel.can_count():
            [repofs] = [place for place in places if place.name == REPOFS]
            for state, row in _prepared(calls, repofs, workload, rows):
                row.requests = _count(calls, repofs, state, row)
        yield from rows.values()


def _spent(place: Place, rows: dict[State, Row]) -> float:
    return sum(sum(row.seconds.get(place.name, ())) for row in rows.values())


def _prepared(calls: Calls, place: Place, workload: Workload, rows: dict[State, Row]) -> Iterator[tuple[State, Row]]:
    """Yield each row when *place* is in its state; what was written is removed afterwards."""
    for state, row in rows.items():
        match state:
            case State.COLD:
                place.drop_cache()
            case State.WARM if State.COLD not in rows:
                _run(calls, place, state, workload)
        yield state, row
        if state is State.NEW:
            for path in place.scratch.iterdir():
                path.unlink()


def _run(calls: Calls, place: Place, state: State, workload: Workload) -> float:
    directory = place.scratch if state is State.NEW else place.originals
    return calls.do(workload.work, directory / workload.path, *workload.arguments)


def _measure(calls: Calls, place: Place, state: State, row: Row) -> None:
    before = place.cpu_seconds()
    seconds = _run(calls, place, state, row.workload)
    row.seconds.setdefault(place.name, []).append(seconds)
    row.cpu_seconds.setdefault(place.name, []).append(place.cpu_seconds() - before)


def _count(calls: Calls, place: Place, state: State, row: Row) -> Counter[str]:
    assert place.mountpoint is not None
    assert place.daemon is not None
    with kernel.requests(place.mountpoint) as counts:
        _run(calls, place, state, row.workload)
        kernel.wait_idle(place.daemon)  # RELEASE comes after close
    return counts
