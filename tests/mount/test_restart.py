"""A daemon that was down missed nothing: whatever way it ended, nothing is lost, imported twice or left half."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from pathlib import Path

import pytest

from repofs import mounts
from tests.helpers import processes
from tests.helpers.mounting import REPOFS, Drive, fact, facts, tell
from tests.helpers.people import ALICE, BOB
from tests.helpers.slow_copy import SlowCopy
from tests.helpers.waiting import until

FILES = 300
INTERRUPTED = "imports were interrupted and will be tried again"


def drop_many(drive: Drive) -> list[Path]:
    """Drop FILES files of Alice's that all are about to be imported."""
    folder = drive.home(ALICE) / "many"

    def write() -> None:
        folder.mkdir()
        os.setxattr(folder, "user.repofs.policy", b'{"settle_seconds": 0.1}')
        for number in range(FILES):
            (folder / f"{number:03d}.bin").write_bytes(b"%d" % number * 100)

    ALICE.do(write)
    return [folder / f"{number:03d}.bin" for number in range(FILES)]


def imported(drive: Drive) -> int:
    return len(drive.originals())


def assert_each_imported_once(drive: Drive, paths: list[Path]) -> None:
    drive.wait_imported(*paths, seconds=60)
    assert sorted(str(one["path"]) for one in drive.originals()) == sorted(
        str(path.relative_to(drive.mountpoint)) for path in paths
    )
    assert {path.stat().st_nlink for path in paths} == {2}


# --- stopped and killed ---------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_files_in_every_state_stand_as_they_stood(own_drive: Drive, ending: str) -> None:
    drive, home = own_drive, own_drive.home(ALICE)
    for name, policy in (("slow", b'{"settle_seconds": 3600}'), ("picky", b'{"duplicates": "refuse"}')):
        ALICE.do(os.mkdir, home / name)
        ALICE.do(os.setxattr, home / name, "user.repofs.policy", policy)
    ALICE.do(os.mkdir, home / "nowhere")
    ALICE.do(os.setxattr, home / "nowhere", "user.repofs.target", b"Dataset:999999")
    states = {
        home / "imported.bin": "imported",
        home / "slow" / "settling.bin": "settling",
        home / "waiting.part": "incomplete",
        home / "cancelled.bin": "incomplete",
        home / "nowhere" / "failed.bin": "failed",
        home / "picky" / "duplicate.bin": "duplicate",
        home / "writing.bin": "writing",
    }
    for path in list(states)[:-1]:
        content = b"twice" if path.name in ("imported.bin", "duplicate.bin") else str(path).encode()
        ALICE.do(path.write_bytes, content)
        if path.name == "cancelled.bin":
            ALICE.do(tell, path, "cancel")
        drive.wait_state(path, states[path])
    with SlowCopy(ALICE, drive.outside, home / "writing.bin") as copy:
        copy.write(b"half")
        before = {path: (path.stat().st_ino, facts(path), path.read_bytes()) for path in states}
        getattr(drive, ending)()
    drive.start()
    before[home / "writing.bin"][1].update(state="incomplete")
    for path in states:
        inode, said, content = before[path]
        assert (path.stat().st_ino, facts(path).items() >= said.items(), path.read_bytes()) == (inode, True, content)
    [original] = drive.originals()
    assert original["path"] == "alice_2/imported.bin"
    ALICE.do(tell, home / "slow", "now")
    drive.wait_imported(home / "slow" / "settling.bin")


def test_a_drop_that_was_settling_is_imported_after_a_crash(own_drive: Drive) -> None:
    own_drive.allowed = [INTERRUPTED]
    paths = drop_many(own_drive)
    own_drive.kill()
    own_drive.start()
    assert_each_imported_once(own_drive, paths)


def test_killed_in_the_middle_of_imports_again_and_again(own_drive: Drive) -> None:
    own_drive.allowed = [INTERRUPTED]
    paths = drop_many(own_drive)
    for wanted in (1, 60, 150):
        until(lambda wanted=wanted: imported(own_drive) >= wanted, f"{wanted} imports")
        own_drive.kill()
        own_drive.start()
    assert_each_imported_once(own_drive, paths)


def test_stopped_in_the_middle_of_imports(own_drive: Drive) -> None:
    paths = drop_many(own_drive)
    until(lambda: imported(own_drive) >= 1, "an import")
    own_drive.stop()
    own_drive.start()
    assert_each_imported_once(own_drive, paths)


def test_an_importer_that_is_killed_is_started_again(own_drive: Drive) -> None:
    own_drive.allowed = ["the importer process died and is started again", INTERRUPTED]
    paths = drop_many(own_drive)
    until(lambda: imported(own_drive) >= 1, "an import")
    [importer] = [
        pid
        for pid in processes.descendants(own_drive.pid)
        if b"repofs.importer" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(importer, signal.SIGKILL)
    assert_each_imported_once(own_drive, paths)


# --- while nobody serves --------------------------------------------------------------------------


def test_a_dead_mount_is_detached_by_the_next(own_drive: Drive) -> None:
    drive = own_drive
    drive.kill()
    with pytest.raises(OSError) as caught:
        os.listdir(drive.mountpoint)
    assert caught.value.errno == errno.ENOTCONN
    drive.start()
    assert [one.mountpoint for one in mounts.all_mounts()].count(drive.mountpoint) == 1
    assert sorted(os.listdir(drive.mountpoint)) == [".repofs", "alice_2", "bob_3", "carol_4"]


def test_a_second_daemon_is_refused(own_drive: Drive) -> None:
    drive = own_drive
    elsewhere = drive.outside / "second"
    elsewhere.mkdir()
    second = subprocess.run(
        [*REPOFS, "mount", "--foreground", drive.repository, elsewhere], capture_output=True, text=True, timeout=30
    )
    assert second.returncode != 0
    assert f"process {drive.pid} has mounted it on {drive.mountpoint}" in second.stderr
    assert mounts.at(elsewhere) is None
    BOB.do((drive.home(BOB) / "still.bin").write_bytes, b"served")
    drive.wait_imported(drive.home(BOB) / "still.bin")


def test_settings_that_are_wrong_are_refused_at_the_start(own_drive: Drive) -> None:
    drive = own_drive
    drive.stop()
    good = drive.layout.settings.read_text()
    drive.layout.settings.write_text("[drops]\nsettle_secnds = 3\n")
    drive.allowed = ["settle_secnds"]
    with pytest.raises(
        AssertionError, match=r"drops\.settle_secnds is not a setting: allowed are .*drops\.settle_seconds"
    ):
        drive.start()
    drive.layout.settings.write_text(good)
    drive.start()


def test_what_was_removed_while_no_daemon_ran_is_not_missed(own_drive: Drive) -> None:
    """The originals stay when the dropped names go, also over a restart."""
    drive, path = own_drive, own_drive.home(ALICE) / "file.bin"
    ALICE.do(path.write_bytes, b"kept")
    drive.wait_imported(path)
    ALICE.do(os.unlink, path)
    drive.stop()
    drive.start()
    assert drive.original_of(path).read_bytes() == b"kept"
    assert fact(drive.original_of(path), "state") == "imported"
