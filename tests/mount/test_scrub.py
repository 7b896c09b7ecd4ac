"""Originals verified in the background by the daemon, and what `repofs status` tells of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import processes
from tests.helpers.mounting import QUICK, REPOFS, Drive, fact
from tests.helpers.people import ALICE, ROOT, Person
from tests.helpers.waiting import until

SETTINGS = QUICK + "\n[verify]\nevery_days = 0.00002\nbytes_per_second = 1e9\n"  # 1.7 seconds
CONTENT = b"what the microscope saw\n" * 1000


@pytest.fixture(autouse=True)
def _expected(drive: Drive) -> None:
    drive.allowed = ["an original was verified"]


def status(drive: Drive, person: Person, *options: str) -> str:
    return person.run(*REPOFS, "status", str(drive.mountpoint), *options).stdout


def verification(drive: Drive) -> dict[str, Any]:
    [told] = json.loads(status(drive, ROOT, "--json"))
    return told["verification"]  # type: ignore[no-any-return]


def test_what_rots_is_found_and_what_is_mended_too(drive: Drive) -> None:
    good, bad = drive.home(ALICE) / "good.dat", drive.home(ALICE) / "bad.dat"
    for path in (good, bad):
        ALICE.do(Path.write_bytes, path, CONTENT + path.name.encode())
    drive.wait_imported(good, bad)
    until(lambda: verification(drive)["never"] == 0, "all are verified")
    assert verification(drive)["found"] == {}
    with drive.backing(bad).open("r+b") as file:
        file.write(b"X")
    drive.wait_state(bad, "altered")
    told = verification(drive)
    assert told["found"] == {"altered": 1} and told["files"] == 2
    assert told["oldest"] <= told["newest"]
    with pytest.raises(OSError, match="Input/output error"):
        ALICE.do(Path.read_bytes, bad)
    assert fact(good, "state") == "imported" and ALICE.do(Path.read_bytes, good) == CONTENT + b"good.dat"
    with drive.backing(bad).open("r+b") as file:
        file.write(CONTENT[:1])
    drive.wait_imported(bad)
    assert "verification: 2 originals" in status(drive, ROOT)
    assert "verification" not in status(drive, ALICE)  # it is of everybody's files


def test_status_does_not_wait_for_ever_for_an_importer_that_hangs(drive: Drive) -> None:
    [importer] = set(processes.naming("repofs.importer")) & set(processes.descendants(drive.pid))
    os.kill(importer, signal.SIGSTOP)
    try:
        told = json.loads(os.getxattr(drive.mountpoint, "user.repofs.status"))
        assert "counts" in told and "verification" not in told
    finally:
        os.kill(importer, signal.SIGCONT)
    assert "files" in verification(drive)
