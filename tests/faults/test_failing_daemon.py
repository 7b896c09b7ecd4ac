"""Calls of the daemon fail while somebody copies a file: it goes on answering, and the file is whole, or refused."""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.failing_calls import NEVER, Failed, FailingCalls
from tests.helpers.mounting import QUICK, Drive, fact, running, scratch, tell
from tests.helpers.people import ALICE
from tests.helpers.waiting import until

pytestmark = [pytest.mark.usefixtures("disks_are_possible"), pytest.mark.timeout(3600)]

CODES = ("EIO", "ENOSPC", "EINTR", "EDQUOT")
SAMPLE = 4  # calls of each kind of fault
CONTENT = os.urandom(100_000)


@pytest.fixture
def mount(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Drive, FailingCalls]]:
    with scratch() as place:
        calls = FailingCalls(library, place / "control", place / "repository", "--ready-descriptor")
        for name, value in calls.environment.items():
            monkeypatch.setenv(name, value)
        drive = Drive(place, QUICK)
        drive.allowed = [""]  # that calls fail is told in many words
        (drive.outside / "scan.bin").write_bytes(CONTENT)
        with running(drive, drive.start):
            yield drive, calls


def test_calls_of_the_daemon_fail(
    mount: tuple[Drive, FailingCalls], request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    drive, calls = mount
    for number in range(2):  # the second is not the first of its directory
        counted = _copied(drive, calls, f"whole-{number}", NEVER, 0)[1].counted
    dice = random.Random(request.config.getoption("seed"))
    every = range(1, counted + 1)
    tried: Counter[str] = Counter()
    for code in CODES:
        for first in every if request.config.getoption("all_faults") else sorted(dice.sample(every, SAMPLE)):
            tried[code] += _fails(drive, calls, first, code)
    listed = ", ".join(f"{count} {code}" for code, count in tried.items())
    record_property("told", f"faults injected into the daemon, of {counted} calls a copy: {listed}; lost: 0")


def _copied(drive: Drive, calls: FailingCalls, name: str, first: int, code: int) -> tuple[bool, Failed]:
    """Have Alice copy a file while call number *first* fails; return whether cp says that she has, and what failed."""
    path = drive.home(ALICE) / name
    calls.arm(first, code)
    copied = ALICE.run("cp", drive.outside / "scan.bin", path, check=False).returncode == 0
    if copied:
        until(lambda: calls.failed or _state(path) == "imported", "a call that fails, or an import that needs none")
    return copied, calls.disarm()


def _state(path: Path) -> str | None:
    try:
        return fact(path, "state")
    except OSError:
        return None  # it was this call that failed


def _writable(drive: Drive) -> bool:
    try:
        ALICE.do(os.setxattr, drive.home(ALICE), b"user.note", b"written")
    except OSError as error:
        return error.errno != errno.EROFS
    return True


def _fails(drive: Drive, calls: FailingCalls, first: int, code: str) -> int:
    name = f"{code}-{first}"
    path = drive.home(ALICE) / name
    copied, failed = _copied(drive, calls, name, first, getattr(errno, code))
    said = f"{failed.name} number {first} of {failed.path}, {code}, copied: {copied}, {fact(path, 'state')}"
    assert drive.process.poll() is None, said
    if not _writable(drive):
        drive.stop()
        drive.start()
    if copied:
        assert path.read_bytes() == CONTENT, said
        until(lambda: fact(path, "state") not in ("settling", "importing"), said)
        if fact(path, "state") in ("incomplete", "failed"):
            ALICE.do(tell, path, "now")
        drive.wait_imported(path)
    elif path.exists():
        ALICE.do(os.unlink, path)
    return failed.failed
