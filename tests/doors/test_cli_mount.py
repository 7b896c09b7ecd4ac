"""mount and umount without a mount: the daemon is a stand-in, the pipe, systemd's socket and the lock are real.

The daemon is that of an ordinary user; what a launcher does stands in `tests/mount/test_launcher.py`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

import repofs as package
from repofs import mounts
from repofs.cli import lock_holder, readiness
from repofs.cli.exit_codes import ExitCode, Timeout
from repofs.errors import Busy
from repofs.mounts import Mount
from tests.helpers.command_line import repofs

Run = Callable[[Path, Path, Sequence[str], Callable[[], None], None], int]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return lambda run: monkeypatch.setattr(package, "daemon", SimpleNamespace(run=run), raising=False)


def test_foreground_passes_everything_on_and_returns_the_daemons_code(
    repository: Path, tmp_path: Path, daemon: Callable[[Run], None]
) -> None:
    seen: list[object] = []

    def run(
        directory: Path, mountpoint: Path, options: Sequence[str], _ready: Callable[[], None], _device: None
    ) -> int:
        seen.extend((directory, mountpoint, list(options)))
        return 5

    daemon(run)
    (tmp_path / "link").symlink_to(tmp_path / "mnt")
    assert repofs("mount", "--foreground", "-o", "ro,noatime", "-o", "debug", repository, tmp_path / "link").code == 5
    assert seen == [repository, tmp_path / "mnt", ["ro", "noatime", "debug"]]


def test_systemd_hears_when_it_is_ready_and_when_it_stops(
    repository: Path, tmp_path: Path, daemon: Callable[[Run], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

    def run(
        _directory: Path, _mountpoint: Path, _options: Sequence[str], ready: Callable[[], None], _device: None
    ) -> int:
        ready()
        return 0

    daemon(run)
    assert repofs("mount", "--foreground", repository, tmp_path).code == 0
    assert [heard.recv(99), heard.recv(99)] == [b"READY=1", b"STOPPING=1"]
    heard.close()


def test_the_child_tells_that_it_is_ready(repository: Path, tmp_path: Path, daemon: Callable[[Run], None]) -> None:
    heard, told = os.pipe()

    def run(
        _directory: Path, _mountpoint: Path, _options: Sequence[str], ready: Callable[[], None], _device: None
    ) -> int:
        ready()
        assert readiness.listen(heard) == readiness.READY  # while the daemon runs
        raise Busy("late")

    daemon(run)
    answer = repofs("mount", "--foreground", f"--ready-descriptor={told}", repository, tmp_path)
    assert (answer.code, answer.err) == (ExitCode.BUSY, "repofs: late\n")


def test_the_child_tells_why_it_cannot(repository: Path, tmp_path: Path, daemon: Callable[[Run], None]) -> None:
    heard, told = os.pipe()

    def run(*_given: object) -> int:
        raise Busy("in use by somebody")

    daemon(run)
    assert repofs("mount", "--foreground", f"--ready-descriptor={told}", repository, tmp_path).code == ExitCode.BUSY
    assert readiness.listen(heard) == "in use by somebody"


def test_what_is_no_repository_is_not_mounted(tmp_path: Path) -> None:
    assert repofs("mount", tmp_path, tmp_path).code == ExitCode.NO_REPOSITORY


def test_umount_of_what_is_no_mount(tmp_path: Path) -> None:
    answer = repofs("umount", tmp_path)
    assert answer.code == ExitCode.NOT_FOUND
    assert "not the mountpoint of a repository" in answer.err


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A process that holds tmp_path/lock as a daemon does, until its standard input ends."""
    program = (
        "import fcntl, os, sys\nlock = open(sys.argv[1], 'w')\nfcntl.flock(lock, fcntl.LOCK_EX)\n"
        "lock.write(f'{os.getpid()}\\n/mnt\\n')\nlock.flush()\nprint(flush=True)\nsys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def test_umount_returns_when_the_daemon_has_ended(
    tmp_path: Path, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert holder.stdin is not None
    mount = Mount(1, tmp_path, "fuse.repofs", tmp_path)
    monkeypatch.setattr(mounts, "at", lambda _path: mount)
    ending = threading.Timer(0.2, holder.stdin.close)
    monkeypatch.setattr(mounts, "unmount", lambda _path: ending.start())
    answer = repofs("umount", tmp_path)
    assert (answer.code, answer.out) == (0, f"{tmp_path} is unmounted\n")
    assert holder.wait(0) == 0


def test_a_daemon_that_does_not_end(
    tmp_path: Path, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_holder, "END_SECONDS", 0.01)
    daemon = lock_holder.find(tmp_path / "lock")
    assert daemon is not None
    with pytest.raises(Timeout, match=r"daemon\.log"):
        lock_holder.wait_end(daemon)
    holder.communicate()


def test_nobody_holds_the_lock(tmp_path: Path) -> None:
    assert lock_holder.find(tmp_path / "lock") is None
    (tmp_path / "lock").write_text(f"{os.getpid()}\n/mnt\n")  # left by a daemon that was killed
    assert lock_holder.find(tmp_path / "lock") is None


def test_a_daemon_that_has_not_written_its_pid_yet(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert lock_holder.find(tmp_path / "lock") is None
