"""The daemon is killed again and again while many write: nothing that was acknowledged is lost, ever."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest

from repofs.cli.exit_codes import FsckCode
from repofs.fault_points import VARIABLE
from tests.crash import at_rest
from tests.crash.administering import deleted, people
from tests.crash.crashing import SETTINGS, Crashing, Examiner
from tests.crash.ledger import Ledger
from tests.crash.plan import Death, Round, rounds
from tests.crash.running import Running
from tests.crash.writers import WAYS, Writer
from tests.helpers.command_line import repofs
from tests.helpers.mounting import REPOFS, Drive, running, scratch
from tests.helpers.people import ALICE, ROOT

FILES = 12  # that each way of writing brings in a round
OF_ONE_REPOSITORY = 60  # kills: all that is there is looked at after each


@pytest.mark.timeout(0)
def test_nothing_is_lost_however_often_the_daemon_is_killed(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    kills, seed = request.config.getoption("--kills"), request.config.getoption("--seed")
    seed, steps = random.randrange(1_000_000) if seed is None else seed, request.config.getoption("--steps")
    print(f"pytest tests/crash --kills={kills} --seed={seed} --steps='{steps}' does the same again")
    plan, total = rounds(random.Random(seed), steps), Tally()
    while (left := kills - total.kills.total()) > 0:
        with scratch() as place, closing(Ledger(place / "ledger")) as ledger:
            drive = Drive(place, SETTINGS)
            with running(drive, lambda: None):
                total += CrashTest(drive, place, ledger, seed).run(plan, min(left, OF_ONE_REPOSITORY))
    record_property("told", f"crash test, seed {seed}: {total}")


@dataclass
class Tally:
    """What crashes were survived, and what was looked at after them."""

    kills: Counter[str] = field(default_factory=Counter)  # by named step, or "random"
    closed: int = 0
    checked: int = 0
    deleted: int = 0
    incomplete: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def __str__(self) -> str:
        steps = self.kills.keys() - {"random"}
        return (
            f"{self.kills.total()} kills survived ({self.kills.total() - self.kills['random']} at {len(steps)} named "
            f"steps, {self.kills['random']} at random moments), {self.closed} files closed, {self.checked} times one "
            f"was compared byte for byte, {self.deleted} times one was found in the trash or gone for good, lost 0, "
            f"twice 0; {self.incomplete} were open when the daemon died"
        )


class CrashTest:
    """One repository through many crashes."""

    def __init__(self, drive: Drive, place: Path, ledger: Ledger, seed: int) -> None:
        self._drive = drive
        self._place = place
        self._seed = seed
        self._crashing = Crashing(drive)
        self._ledger = ledger
        self._examiner = Examiner(drive, ledger)
        self._kills: Counter[str] = Counter()

    def run(self, plan: Iterator[Round], kills: int) -> Tally:
        """Kill at least *kills* times, as *plan* says."""
        number = 0
        while self._kills.total() < kills:
            began, one = time.monotonic(), next(plan)
            self._round(number, one)
            print(f"round {number}: {one} ({time.monotonic() - began:.1f} s)", flush=True)
            number += 1
        self._drive.start()
        seen = self._examiner
        seen.check(self._drive.home(ALICE))  # all that was ever acknowledged
        return Tally(self._kills, seen.closed, seen.checked, seen.deleted, seen.incomplete)

    def _round(self, number: int, one: Round) -> None:
        self._crashing.start(one.first)
        at_work = [
            Running(ALICE, self._writers(number, self._folder(number), (*WAYS, deleted)), self._place / "writers.log"),
            Running(ROOT, self._writers(number, self._drive.outside, (people,)), self._place / "office.log"),
        ]
        self._crashing.wait_dead(one.first)
        self._count(one.first)
        for writers in at_work:
            writers.wait()
        if one.again is not None:
            self._crashing.die_at_start(one.again)
            self._count(one.again)
        self._drive.start()
        self._examiner.check(self._folder(number))
        self._examiner.settle(self._folder(number))
        self._examiner.check(self._folder(number))
        self._drive.check()
        self._drive.stop()
        assert not (found := at_rest.faults(self._drive)), "\n".join(found)
        checked = repofs("-C", self._drive.repository, "fsck")
        assert checked.code == FsckCode.CLEAN, checked.out + checked.err

    def _count(self, death: Death) -> None:
        self._kills[death.step or "random"] += 1

    def _folder(self, number: int) -> Path:
        return self._drive.home(ALICE) / f"round-{number:03d}"

    def _writers(self, number: int, folder: Path, ways: Iterable[Callable[[Writer], None]]) -> list[Writer]:
        work = self._drive.outside / f"round-{number:03d}"
        return [
            Writer(
                way, folder / way.__name__, self._drive, work / way.__name__, self._ledger, FILES,
                f"{self._seed}/{number}/{way.__name__}",
            )
            for way in ways
        ]  # fmt: skip


def test_a_fault_point_that_is_none_is_refused_at_the_start() -> None:
    with scratch() as place:
        drive = Drive(place, SETTINGS)
        with pytest.raises(AssertionError, match=r"import\.sinked is no fault point: it is one of .*closed\.cleared, "):
            drive.start(("env", f"{VARIABLE}=import.sinked", *REPOFS))
