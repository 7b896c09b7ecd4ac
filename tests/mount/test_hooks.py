"""A hook of a real mount: told of what fails, whatever happens to the importer and the daemon meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import mounting, processes
from tests.helpers.drops import drop
from tests.helpers.mounting import Drive
from tests.helpers.people import ALICE
from tests.helpers.waiting import until

HOOK = """#!/bin/sh
# Says what it is told and who it is; fails while there is no file "open" beside it.
cd "${0%/*}" && test -e open && id -u > who && cat >> told
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with mounting.scratch() as directory:
        (directory / "hook").mkdir(mode=0o777)
        (directory / "hook").chmod(0o777)
        program = directory / "hook" / "notify"
        program.write_text(HOOK)
        program.chmod(0o755)
        yield directory


def settings(place: Path) -> str:
    return f'{mounting.QUICK}\n[[hooks]]\nname = "notify"\ncommand = ["{place}/hook/notify"]\n'


def told(place: Path) -> list[str]:
    """Return the names of the files that the hook was told of."""
    there = place / "hook" / "told"
    lines = there.read_text().splitlines() if there.exists() else []
    return [os.path.basename(json.loads(line)["path"]) for line in lines]


def fail(drive: Drive, name: str) -> None:
    folder = drive.home(ALICE) / "nowhere"
    ALICE.do(lambda: folder.mkdir(exist_ok=True))
    ALICE.do(os.setxattr, folder, "user.repofs.target", b"Dataset:9999")
    drive.wait_state(drop(ALICE, folder / name, name.encode()), "failed")


def test_a_failed_import_is_told_by_somebody_without_rights(place: Path) -> None:
    (place / "hook" / "open").touch()
    with mounting.mounted(settings(place), place=place) as drive:
        drive.wait_imported(drop(ALICE, drive.home(ALICE) / "good.bin"))
        fail(drive, "one.bin")
        until(lambda: told(place) == ["one.bin"], lambda: f"told: {told(place)}")
        assert (place / "hook" / "who").read_text() == "65534\n"


def test_nothing_is_lost_while_a_hook_fails_and_processes_die(place: Path) -> None:
    with mounting.mounted(settings(place), place=place) as drive:
        drive.allowed = [
            "a hook has failed and is tried again",
            "the importer process died",
            "imports were interrupted",
        ]
        fail(drive, "one.bin")
        until(lambda: "a hook has failed" in drive.log.read_text(), "a failure in the log")
        [importer] = [pid for pid in processes.descendants(drive.process.pid) if _is_importer(pid)]
        os.kill(importer, signal.SIGKILL)
        fail(drive, "two.bin")
        drive.kill()
        drive.start()
        fail(drive, "three.bin")
        (place / "hook" / "open").touch()
        until(lambda: told(place)[-1:] == ["three.bin"], lambda: f"told: {told(place)}", 60.0)
        assert list(dict.fromkeys(told(place))) == ["one.bin", "two.bin", "three.bin"]


def _is_importer(pid: int) -> bool:
    return b"repofs.importer" in Path(f"/proc/{pid}/cmdline").read_bytes()
