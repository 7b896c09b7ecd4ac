"""Root's mount: who has which rights, who mounts and unmounts, and what is left when one of the processes dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from repofs import mounts
from repofs.cli.exit_codes import ExitCode
from repofs.privileges import DAEMON, FORKING, IMPORTER, LAUNCHER, Capability
from tests.helpers import processes
from tests.helpers.mounting import END_SECONDS, REPOFS, Drive
from tests.helpers.people import ALICE, BOB
from tests.helpers.waiting import until


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: words.strip() for name, _, words in (line.partition(":") for line in lines)}


def held(pid: int, which: str = "CapPrm") -> int:
    return int(status(pid)[which], 16)


def mask(capabilities: Iterable[Capability]) -> int:
    return sum(1 << capability for capability in capabilities)


def named(drive: Drive, module: str) -> int:
    """Return the process of *drive* that runs *module*."""
    family = processes.descendants(drive.process.pid)
    return next(pid for pid in family if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes())


def options_of(drive: Drive) -> list[str]:
    """Return the options that the kernel shows of the mount."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    [options] = [words[3].split(",") for words in lines if words[1] == str(drive.mountpoint)]
    return options


# --- rights --------------------------------------------------------------------------------------


def test_each_process_has_the_rights_that_the_table_gives_it(drive: Drive, folder: Path) -> None:
    ALICE.do((folder / "scan.bin").write_bytes, b"so that a reader has been asked")
    drive.wait_imported(folder / "scan.bin")
    launcher, daemon = drive.process.pid, drive.pid
    importer, readers = named(drive, "repofs.importer"), named(drive, "repofs.formats.process")
    [reader] = processes.descendants(readers)
    wanted = {
        launcher: mask(LAUNCHER),
        daemon: mask(DAEMON),
        importer: mask(IMPORTER),
        readers: mask(FORKING),
        reader: 0,
    }
    assert {pid: held(pid) for pid in wanted} == wanted
    assert {pid: held(pid, "CapEff") for pid in wanted} == wanted
    for pid in wanted:
        assert (held(pid, "CapInh"), held(pid, "CapAmb"), status(pid)["NoNewPrivs"]) == (0, 0, "1")
    assert held(launcher, "CapBnd") == mask(LAUNCHER)
    assert held(daemon, "CapBnd") == held(importer, "CapBnd") == held(readers, "CapBnd") == mask(DAEMON)


def test_no_process_leaves_a_core(drive: Drive) -> None:
    for pid in (drive.process.pid, *processes.descendants(drive.process.pid)):
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]


def test_the_backing_tree_is_closed_to_users(drive: Drive) -> None:
    assert drive.layout.managed.stat().st_mode & 0o7777 == 0o700
    for act in (os.listdir, os.stat):
        with pytest.raises(PermissionError):
            ALICE.do(act, drive.layout.managed / drive.home(ALICE).name)


def test_a_set_user_id_program_runs_as_who_calls_it(drive: Drive) -> None:
    program = drive.home(ALICE) / "id"
    shutil.copy("/usr/bin/id", program)
    os.chmod(program, 0o4755)
    assert BOB.run(program, "-u").stdout == f"{BOB.uid}\n"
    assert {"nosuid", "nodev"} <= set(options_of(drive))


# --- one of the processes ends -------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_a_signal_to_the_launcher_ends_all_in_good_order(own_drive: Drive, number: signal.Signals) -> None:
    drive = own_drive
    family = processes.descendants(drive.process.pid)
    drive.process.send_signal(number)
    assert drive.process.wait(END_SECONDS) == 0
    drive.daemon = None
    until(lambda: not any(map(processes.alive, family)), "the end of all")
    assert mounts.at(drive.mountpoint) is None
    assert any('"event": "unmounted"' in line for line in drive.new_log_lines())


def test_a_daemon_whose_launcher_is_killed_ends_in_good_order(own_drive: Drive) -> None:
    drive = own_drive
    family = processes.descendants(drive.process.pid)
    drive.process.kill()
    drive.process.wait()
    drive.daemon = None
    until(lambda: not any(map(processes.alive, family)), "the end of all", END_SECONDS)
    assert any('"event": "unmounted"' in line for line in drive.new_log_lines())
    assert mounts.is_dead(drive.mountpoint)  # nobody is left who may unmount it
    drive.start()
    assert [one.mountpoint for one in mounts.all_mounts()].count(drive.mountpoint) == 1


def test_a_mount_that_somebody_has_ended_is_ended_for_the_launcher(own_drive: Drive) -> None:
    drive = own_drive
    mounts.unmount(drive.mountpoint)
    assert drive.process.wait(END_SECONDS) == 0
    drive.daemon = None
    assert mounts.at(drive.mountpoint) is None


def test_a_daemon_that_is_killed_leaves_its_mount_and_one_sentence(own_drive: Drive) -> None:
    drive = own_drive
    drive.kill()
    assert mounts.is_dead(drive.mountpoint)
    told = [line for line in drive.new_log_lines() if not line.startswith("{")]
    assert told == ["repofs: the daemon was ended by SIGKILL, its dead mount is left: repofs mount brings it back"]


def test_a_daemon_that_cannot_start_leaves_nothing(own_drive: Drive) -> None:
    drive = own_drive
    drive.stop()
    drive.layout.catalogue.rename(drive.outside / "catalogue")
    drive.allowed = ["catalogue"]
    with pytest.raises(AssertionError, match="catalogue"):
        drive.start()
    assert mounts.at(drive.mountpoint) is None
    (drive.outside / "catalogue").rename(drive.layout.catalogue)


def test_a_mountpoint_below_closed_directories(own_drive: Drive) -> None:
    drive = own_drive
    drive.stop()
    drive.mountpoint = drive.outside / "closed" / "mnt"
    ALICE.do(os.makedirs, drive.mountpoint)
    drive.mountpoint.parent.chmod(0o700)
    drive.start()
    drive.stop()


# --- options -------------------------------------------------------------------------------------


def test_options_reach_the_kernel(own_drive: Drive) -> None:
    drive = own_drive
    drive.stop()
    drive.start(options=("-o", "ro,noexec", "-o", "noatime"))
    assert {"ro", "noexec", "noatime", "nosuid", "nodev", "default_permissions", "allow_other"} <= set(
        options_of(drive)
    )


@pytest.mark.parametrize("option", ["suid", "dev", "fd=3", "auto_unmount", "colour=red"])
def test_an_option_that_is_none_is_refused(own_drive: Drive, option: str) -> None:
    drive = own_drive
    drive.stop()
    command = [*REPOFS, "mount", "-o", option, drive.repository, drive.mountpoint]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert refused.returncode == ExitCode.INVALID
    assert f"-o {option} is not an option of a repofs mount: these are allow_other, async, " in refused.stderr
    assert mounts.at(drive.mountpoint) is None
