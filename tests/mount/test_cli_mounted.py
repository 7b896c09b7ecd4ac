"""The commands on a real mount: its beginning and its end, and what users ask it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from repofs import mounts
from repofs.cli import app, attributes, lock_holder, progress
from repofs.cli.exit_codes import ExitCode, FsckCode
from repofs.repository.layout import Layout
from tests.helpers import mounting, processes
from tests.helpers.command_line import Answer, repofs
from tests.helpers.mounting import REPOFS, Drive
from tests.helpers.people import ALICE, BOB, CAROL, ROOT, Person
from tests.helpers.waiting import until

NOBODY = Person("nobody", 65534, 65534)  # an account of every machine: fusermount3 asks for the name
IMPORTED_BEFORE = (
    app,
    attributes,
    lock_holder,
    progress,
    Layout,
)  # late imports, which a child without root's rights may not find


@pytest.fixture
def place() -> Iterator[Path]:
    """A repository in place/repository and the directory place/mnt; unmounted at the end."""
    with mounting.scratch() as directory:
        (directory / "mnt").mkdir()
        told("init", directory / "repository")
        (directory / "repository" / "settings.toml").write_text(mounting.QUICK)
        yield directory
        while mounts.at(directory / "mnt"):
            mounts.unmount(directory / "mnt", detach=True)


def ask(*words: str | Path, person: Person = ROOT) -> Answer:
    """Run a command as *person*: in a child of the tests, as users may not be able to enter the tests' own Python."""
    return person.do(repofs, *words)


def told(*words: str | Path, person: Person = ROOT) -> str:
    """Return what the command printed; it must succeed."""
    answer = ask(*words, person=person)
    assert answer.code == 0, answer.err
    return answer.out


def daemon_of(repository: Path) -> int:
    return int((repository / "lock").read_text().split()[0])


# --- beginning and end ---------------------------------------------------------------------------


def test_mount_returns_when_the_mount_answers_and_umount_when_the_daemon_has_ended(place: Path) -> None:
    repository, mountpoint = place / "repository", place / "mnt"
    told("-C", repository, "user", "add", "alice", "--uid", str(ALICE.uid))
    assert told("mount", repository, mountpoint) == f"{repository} is mounted on {mountpoint}\n"
    assert "alice_2" in os.listdir(mountpoint)
    pid = daemon_of(repository)
    assert os.getsid(pid) not in (os.getsid(0), pid)  # of the launcher's session
    assert told("umount", mountpoint) == f"{mountpoint} is unmounted\n"
    assert not processes.alive(pid)
    assert mounts.at(mountpoint) is None


def test_names_with_spaces_and_commas(place: Path) -> None:
    repository, mountpoint = place / "my repository, new", place / "my mount, new"
    told("init", repository)
    mountpoint.mkdir()
    told("mount", repository, mountpoint)
    mount = mounts.at(mountpoint)
    told("umount", mountpoint)
    assert mount is not None and mount.source == repository


def test_one_daemon_a_repository(place: Path) -> None:
    repository = place / "repository"
    (place / "second").mkdir()
    told("mount", repository, place / "mnt")
    answer = ask("mount", repository, place / "second")
    assert answer.code == ExitCode.BUSY
    assert f"is in use: process {daemon_of(repository)} has mounted it on {place / 'mnt'}" in answer.err
    told("umount", place / "mnt")


def test_where_nothing_can_be_mounted(place: Path) -> None:
    repository = place / "repository"
    answer = ask("mount", repository, place / "nothing")
    assert (answer.code, answer.err.count("\n")) == (ExitCode.NOT_FOUND, 1)
    assert f"mkdir {place / 'nothing'}" in answer.err
    (place / "file").touch()
    assert ask("mount", repository, place / "file").code == ExitCode.INVALID
    told("init", place / "other")
    told("mount", repository, place / "mnt")
    assert ask("mount", place / "other", place / "mnt").code == ExitCode.BUSY
    told("umount", place / "mnt")


def test_wrong_settings_are_told_where_the_command_was_given(place: Path) -> None:
    (place / "repository" / "settings.toml").write_text("[drops]\nsettle = 1\n")
    answer = ask("mount", place / "repository", place / "mnt")
    assert answer.code == ExitCode.INVALID
    assert "drops.settle is not a setting" in answer.err


def test_a_mount_in_use_is_not_unmounted(place: Path) -> None:
    told("mount", place / "repository", place / "mnt")
    descriptor = os.open(place / "mnt", os.O_RDONLY)
    answer = ask("umount", place / "mnt")
    os.close(descriptor)
    assert answer.code == ExitCode.BUSY
    assert "fuser -vm" in answer.err
    told("umount", place / "mnt")


@pytest.mark.parametrize("command", ["mount", "umount"])
def test_a_dead_mount_is_recognised(place: Path, command: str) -> None:
    repository, mountpoint = place / "repository", place / "mnt"
    told("mount", repository, mountpoint)
    pid = daemon_of(repository)
    family = [pid, *processes.descendants(pid)]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(processes.alive, family)), "the end of the daemon")
    answer = ask("status", mountpoint)
    assert (answer.code, "repofs mount brings it back" in answer.err) == (ExitCode.NO_DAEMON, True)
    if command == "mount":
        told("mount", repository, mountpoint)
        assert os.listdir(mountpoint) == [".repofs"]
        told("umount", mountpoint)
    else:
        assert "dead mount" in told("umount", mountpoint)
    assert mounts.at(mountpoint) is None


def test_systemd_hears_of_a_mount(place: Path) -> None:
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(place / "notify"))
    daemon = subprocess.Popen(
        [*REPOFS, "mount", "--foreground", str(place / "repository"), str(place / "mnt")],
        env={**os.environ, "NOTIFY_SOCKET": str(place / "notify")},
        stderr=subprocess.DEVNULL,
    )
    assert heard.recv(99) == b"READY=1"
    assert os.listdir(place / "mnt") == [".repofs"]
    daemon.terminate()
    assert heard.recv(99) == b"STOPPING=1"
    assert daemon.wait(mounting.END_SECONDS) == 0
    heard.close()


def test_a_user_mounts_for_herself(place: Path) -> None:
    if not NOBODY.do(os.access, "/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse is closed to users on this machine")
    if not NOBODY.do(os.access, sys.executable, os.X_OK):
        pytest.skip(f"users cannot run {sys.executable}, so no daemon of theirs can")
    own = place / "own"
    own.mkdir()
    os.chown(own, NOBODY.uid, NOBODY.gid)
    NOBODY.do(os.mkdir, own / "mnt")
    told("init", own / "repository", person=NOBODY)
    told("-C", own / "repository", "user", "add", "nobody", "--uid", str(NOBODY.uid), person=NOBODY)
    told("mount", own / "repository", own / "mnt", person=NOBODY)
    NOBODY.run("cp", "/bin/true", own / "mnt" / "nobody_2")
    told("wait", own / "mnt", person=NOBODY)
    with pytest.raises(PermissionError):
        os.listdir(own / "mnt")
    assert ask("umount", own / "mnt", person=BOB).code == ExitCode.REFUSED
    told("umount", own / "mnt", person=NOBODY)
    refused = ask("mount", own / "repository", own / "mnt", "-o", "allow_other", person=NOBODY)
    assert (refused.code, "user_allow_other" in refused.err) == (ExitCode.REFUSED, True)


def test_only_who_has_mounted_may_unmount(drive: Drive) -> None:
    answer = ask("umount", drive.mountpoint, person=ALICE)
    assert (answer.code, "cannot be unmounted by you" in answer.err) == (ExitCode.REFUSED, True)
    assert mounts.at(drive.mountpoint) is not None


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("verify",), ExitCode.REFUSED),
        (("fsck",), FsckCode.FAILED),
        (("fsck", "--rebuild-catalogue"), FsckCode.FAILED),
        (("backup", "/tmp"), ExitCode.REFUSED),
        (("mount", "", "/mnt"), ExitCode.REFUSED),
    ],
)
def test_what_is_the_owners_tells_others_to_use_sudo(drive: Drive, words: tuple[str, ...], code: int) -> None:
    answer = ask("-C", drive.repository, *(word or drive.repository for word in words), person=ALICE)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err == (
        f"repofs: {drive.repository} is open to root and the owner of the repository only: use sudo\n"
    )


# --- people, beside a running mount --------------------------------------------------------------


def test_a_new_user_is_there_at_once(drive: Drive) -> None:
    assert not (drive.mountpoint / "dora_5").exists()  # so that the kernel has heard that it is not there
    assert "dora_5" in told("-C", drive.repository, "user", "add", "dora", "--uid", "61004", "--group", "lab")
    dora = Person("dora", 61004, 61000)
    (home,) = [one for one in drive.mountpoint.iterdir() if one.name.startswith("dora_")]
    dora.run("cp", "/bin/true", home)
    told("wait", home, person=dora)


def test_permissions_hold_at_once(drive: Drive) -> None:
    home = drive.home(ALICE)
    assert BOB.run("ls", home, check=False).returncode == 0
    told("-C", drive.repository, "group", "set-permissions", "lab", "private")
    assert BOB.run("ls", home, check=False).returncode != 0
    told("-C", drive.repository, "group", "set-permissions", "lab", "read-only")
    assert BOB.run("ls", home, check=False).returncode == 0


def test_who_is_removed_is_shut_out_at_once_and_comes_back_to_her_data(drive: Drive) -> None:
    path = drive.home(BOB) / "late.bin"
    BOB.run("cp", "/bin/true", path)
    told("wait", path, person=BOB)
    told("-C", drive.repository, "user", "remove", "bob")
    assert BOB.run("cat", path, check=False).returncode != 0
    assert BOB.run("cp", "/bin/true", path.with_name("later.bin"), check=False).returncode != 0
    told("-C", drive.repository, "user", "add", "bob", "--uid", str(BOB.uid), "--group", "lab")
    assert BOB.run("cat", path).returncode == 0


# --- what users ask ------------------------------------------------------------------------------


def test_from_the_copy_to_the_log(drive: Drive, folder: Path) -> None:
    path = folder / "data.bin"
    ALICE.run("cp", "/bin/true", path)
    told("wait", path, "--timeout", "30", person=ALICE)
    assert told("status", folder, person=ALICE).splitlines()[1].split()[:2] == ["imported", "1"]
    known = json.loads(told("show", path, "--json", person=ALICE))
    assert (known["path"], known["state"]) == (str(path), "imported")
    named = ("-C", drive.repository)
    described = json.loads(told(*named, "show", known["fileset"], "--json", person=ALICE))
    assert described == known["metadata"]
    assert described["owner"] == "alice"
    log = told("log", path, person=ALICE)
    assert "created by uid 61001" in log.splitlines()[0] and known["fileset"] in log
    assert told(*named, "log", known["fileset"], person=ALICE) == log
    assert ask(*named, "show", known["fileset"], person=CAROL).code == ExitCode.NOT_FOUND
    [one] = [json.loads(line) for line in told(*named, "originals", "--json").splitlines() if "data.bin" in line]
    assert drive.mountpoint / one["path"] == path
    assert (drive.mountpoint / one["import_path"]).samefile(path)
    assert ask(*named, "originals", person=ALICE).code == ExitCode.REFUSED


def test_wait_gives_up_while_a_file_is_being_written(folder: Path) -> None:
    with open(folder / "open.bin", "wb") as file:
        file.write(b"x")
        file.flush()
        answer = ask("wait", folder, "--timeout", "0.5")
    assert (answer.code, answer.err) == (
        ExitCode.TIMEOUT,
        "repofs: still under way: 1; repofs status tells which and why\n",
    )


def test_the_repository_is_that_of_the_current_directory(drive: Drive, folder: Path) -> None:
    assert "drops.settle_seconds" in subprocess.check_output([*REPOFS, "config"], cwd=folder, text=True)
    assert subprocess.check_output([*REPOFS, "status"], cwd=folder, text=True) == "no files\n"
    assert drive.repository
