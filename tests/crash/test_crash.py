"""The daemon is killed again and again while many write: nothing that was acknowledged is lost, ever."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
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


@pytest.mark.timeout(0)
def test_nothing_is_lost_however_often_the_daemon_is_killed(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    kills, seed = request.config.getoption("--kills"), request.config.getoption("--seed")
    seed, steps = random.randrange(1_000_000) if seed is None else seed, request.config.getoption("--steps")
    print(f"pytest tests/crash --kills={kills} --seed={seed} --steps='{steps}' does the same again")
    with scratch() as place, closing(Ledger(place / "ledger")) as ledger:
        drive = Drive(place, SETTINGS)
        with running(drive, lambda: None):
            told = CrashTest(drive, place, ledger, seed, steps).run(kills)
    record_property("told", f"crash test, seed {seed}: {told}")


class CrashTest:
    """One repository through many crashes."""

    def __init__(self, drive: Drive, place: Path, ledger: Ledger, seed: int, steps: str) -> None:
        self._drive = drive
        self._place = place
        self._seed = seed
        self._steps = steps
        self._crashing = Crashing(drive)
        self._ledger = ledger
        self._examiner = Examiner(drive, ledger)
        self._kills: Counter[str] = Counter()

    def run(self, kills: int) -> str:
        """Kill at least *kills* times; return what there is to tell."""
        for number, one in enumerate(rounds(random.Random(self._seed), self._steps)):
            if self._kills.total() >= kills:
                break
            began = time.monotonic()
            self._round(number, one)
            print(f"round {number}: {one} ({time.monotonic() - began:.1f} s)", flush=True)
        self._drive.start()
        self._examiner.check(self._drive.home(ALICE))  # all that was ever acknowledged
        named = {step: count for step, count in self._kills.items() if step != "random"}
        return (
            f"{self._kills.total()} kills survived ({sum(named.values())} at {len(named)} named steps, "
            f"{self._kills['random']} at random moments), {self._examiner.closed} files closed, "
            f"{self._examiner.checked} times one was compared byte for byte, "
            f"{self._examiner.deleted} times one was found in the trash or gone for good, lost 0, twice 0; "
            f"{self._examiner.incomplete} were open when the daemon died"
        )

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
