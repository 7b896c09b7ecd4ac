"""The power of a disk is cut while files are written and imported: what was acknowledged is there afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repofs.disk import Disk as Known
from repofs.repository import journal_records
from tests.helpers.cut_off import Program, checksum, content, look_on, write_on
from tests.helpers.disks import Disk, disk
from tests.helpers.mounting import QUICK, Drive, fact, facts, running, scratch
from tests.helpers.people import ALICE
from tests.helpers.waiting import until

pytestmark = [pytest.mark.usefixtures("disks_are_possible"), pytest.mark.timeout(400)]

NOISE = [""]  # a disk without power is told in many words


@pytest.fixture
def place() -> Iterator[Path]:
    with scratch() as made:
        yield made


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return 12 if request.config.getoption("all_faults") else 1


def test_without_a_sync_a_cut_loses_what_was_written(place: Path) -> None:
    """The cut is one: were it not, nothing below would show anything."""
    with disk(place / "image", place / "disk") as one:
        for name in ("kept", "lost"):
            path = one.mountpoint / name
            path.write_bytes(b"x" * 5000)
            if name == "kept":
                fd = os.open(path, os.O_RDONLY)
                os.fsync(fd)
                os.close(fd)
        one.cut()
        _power_up(one)
        assert (one.mountpoint / "kept").read_bytes() == b"x" * 5000
        assert not (one.mountpoint / "lost").exists()


def test_who_asks_after_a_sync_knows_that_the_disk_has_gone(place: Path) -> None:
    with disk(place / "image", place / "disk") as one, Known(one.mountpoint) as known:
        known.sync()
        one.cut()
        for ask in (known.require, known.sync):
            with pytest.raises(OSError, match="Input/output error"):
                ask()


def test_repository_on_one_disk(place: Path, rounds: int, record_property: Callable[[str, object], None]) -> None:
    with disk(place / "image", place / "repository") as one:
        drive = Drive(place, QUICK)
        with running(drive, drive.start):
            told: Counter[str] = Counter()
            for number in range(2 * rounds):
                told += _round(drive, number, one)
    record_property("told", _sentence("both on one disk", told))


@pytest.mark.parametrize("cut", ["the catalogue's", "the tree's"])
def test_tree_on_a_disk_of_its_own(
    place: Path, rounds: int, cut: str, record_property: Callable[[str, object], None]
) -> None:
    with contextlib.ExitStack() as stack:
        catalogues = stack.enter_context(disk(place / "image", place / "repository"))
        drive = Drive(place, QUICK)
        trees = stack.enter_context(_tree_moved(drive, place))
        stack.enter_context(running(drive, drive.start))
        told: Counter[str] = Counter()
        for number in range(rounds):
            order = (catalogues, trees) if cut == "the catalogue's" else (trees, catalogues)
            told += _round(drive, number, *order)
    record_property("told", _sentence(f"two disks, {cut} cut first", told))


@contextlib.contextmanager
def _tree_moved(drive: Drive, place: Path) -> Iterator[Disk]:
    """Move what is in ManagedRepository to a disk of its own, mounted there."""
    managed = drive.layout.managed
    with disk(place / "tree-image", place / "tree") as trees:
        subprocess.run(["cp", "-a", f"{managed}/.", trees.mountpoint], check=True)
        trees.move(managed)
        yield trees


def _sentence(where: str, told: Counter[str]) -> str:
    files = ", ".join(f"{told[what]} {what}" for what in ("fsynced", "imported", "closed"))
    return f"power cuts, {where}: {told['cuts']}; files checked: {files}; lost: 0"


def _round(drive: Drive, number: int, *disks: Disk) -> Counter[str]:
    """Cut the power of *disks*, one a moment after the other, while programs write; check all when it is back."""
    drive.allowed = NOISE
    folder = drive.home(ALICE) / f"round-{number}"
    ALICE.do(os.mkdir, folder)
    os.sync()
    daemon = drive.pid
    programs = [Program(write_on(folder, "a")), Program(write_on(folder, "b")), Program(look_on(folder))]
    known = len(drive.originals())
    until(lambda: len(drive.originals()) > known, "the first imports")
    for one in disks:
        time.sleep(random.uniform(0.2, 2.0))
        one.cut()
    said = [pair for program in programs for pair in program.end()]
    drive.kill(daemon)
    _power_up(*disks)
    _forget_boot(drive)
    drive.start()
    _check(drive, folder, said)
    return Counter(what for what, _ in said) + Counter(cuts=1)


def _forget_boot(drive: Drive) -> None:
    """Let the journal be of an earlier life of the machine, which has not gone down."""
    records = drive.layout.journal.read_bytes()
    drive.layout.journal.write_bytes(records.replace(journal_records.this_boot(), b"another"))


def _power_up(*disks: Disk) -> None:
    outer_first = sorted(disks, key=lambda one: len(one.mountpoint.parts))
    for one in reversed(outer_first):
        one.unmount()
    for one in outer_first:
        one.mount()


def _check(drive: Drive, folder: Path, said: list[tuple[str, str]]) -> None:
    rows = {str(one["path"]): one for one in drive.originals()}
    for what, name in said:
        path = folder / name
        if what == "imported":
            assert fact(path, "state") == "imported", f"{name} was imported"
            assert rows[str(path.relative_to(drive.mountpoint))]["checksum"] == checksum(content(name))
        if what != "closed":
            assert path.read_bytes() == content(name), f"{name} was {what}"
            assert (path.stat().st_uid, path.stat().st_gid) == (ALICE.uid, ALICE.gid)
    until(lambda: not _unsettled(folder), lambda: f"an end of imports: {_unsettled(folder)}", 60)
    for one in drive.originals():
        name = os.path.basename(str(one["path"]))
        assert one["checksum"] == checksum(content(name)), f"{name} was imported with other bytes"


def _unsettled(folder: Path) -> dict[str, dict[str, str]]:
    told = {name: facts(folder / name) for name in os.listdir(folder)}
    return {name: one for name, one in told.items() if one.get("state") not in ("imported", "incomplete")}
