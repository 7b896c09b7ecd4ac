"""Repositories for tests, and their mounts: started, watched, ended, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from repofs import mounts
from repofs.administration.user_directories import UserDirectories
from repofs.catalog import engine, objects, users
from repofs.config import load
from repofs.model import PermissionLevel
from repofs.repository.layout import Layout
from tests.helpers import agreement, processes
from tests.helpers.people import ALICE, BOB, CAROL, ELSEWHERE, LAB, Person
from tests.helpers.waiting import until

END_SECONDS = 15.0  # a daemon has 10 at SIGTERM
RUN = f"repofs-tests-{os.getpid()}-"
"""All directories of this run of the tests begin so, which finds what it leaves behind."""

QUICK = """
[drops]
settle_seconds = 0.3
directory_settle_seconds = 0.5
[readers]
workers = 1
"""

CHECKOUT = Path(__file__).parents[2]
REPOFS = (sys.executable, "-m", "repofs")

PASSTHROUGH = os.environ.get("REPOFS_TEST_PASSTHROUGH", "auto")
"""How originals are read in this run: "auto" as everybody's, "always" by the kernel, however small they are, "off"."""
DAEMON = (sys.executable, "-m", "tests.helpers.eager_passthrough") if PASSTHROUGH == "always" else REPOFS


def require_possible() -> None:
    """Skip the test that asks where no mount of several users can be made."""
    if not Path("/dev/fuse").exists():
        pytest.skip("/dev/fuse is missing: load the kernel module with modprobe fuse")
    if os.geteuid() != 0:
        pytest.skip("only root can act as several users: run the tests as root")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Make a directory on a disk that everybody may enter: pytest's own is closed to all but its user."""
    place = Path(tempfile.mkdtemp(prefix=RUN, dir="/var/tmp"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place)


class Drive:
    """A repository of three experimenters, its mount, and the daemon that serves it.

    In its settings @outside@ is the directory `outside`, in which everybody may write.
    """

    def __init__(self, place: Path, settings: str = QUICK) -> None:
        self.repository = place / "repository"
        self.mountpoint = place / "mnt"
        self.mountpoint.mkdir()
        self.outside = place / "outside"
        self.outside.mkdir()
        self.outside.chmod(0o777)
        self.log = place / "daemon.log"
        self.allowed: list[str] = []  # regular expressions of lines that a test expects in the log
        self._read = 0  # bytes of the log that were looked at
        self.daemon: subprocess.Popen[bytes] | None = None
        self._directories = self._make(settings)

    def _make(self, settings: str) -> dict[Person, str]:
        self.layout = Layout.create(self.repository, _in_mode(settings).replace("@outside@", str(self.outside)))
        engine.create(self.layout.catalogue)
        opened = engine.open_engine(self.layout.catalogue)
        with opened.begin() as conn:
            lab = users.add_group(conn, "lab", LAB, PermissionLevel.READ_ONLY)
            elsewhere = users.add_group(conn, "elsewhere", ELSEWHERE, PermissionLevel.PRIVATE)
            names = UserDirectories(load(self.repository).repository)
            directories = {}
            for person, group in ((ALICE, lab), (BOB, lab), (CAROL, elsewhere)):
                experimenter = users.add_experimenter(conn, person.name, person.uid, group.id)
                directories[person] = names.make(self.layout, experimenter, group)
        opened.dispose()
        return directories

    # --- the daemon -----------------------------------------------------------------------------

    def start(self, command: Sequence[str] = DAEMON, options: Sequence[str] = ()) -> None:
        """Start the daemon; returns when the mount answers. AssertionError with its log when it does not."""
        heard, told = os.pipe()
        with self.log.open("ab") as log:
            arguments = ["--foreground", f"--ready-descriptor={told}", str(self.repository), str(self.mountpoint)]
            self.daemon = subprocess.Popen(
                [*command, "mount", *options, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[told],
                cwd=CHECKOUT,
            )
        os.close(told)
        with os.fdopen(heard, "rb") as pipe:
            answer = pipe.read()
        if answer != b"ready":
            self.daemon.wait()
            self.daemon = None
            raise AssertionError(f"the daemon said {answer!r}:\n{self.log.read_text()}")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """What was started: the launcher of the daemon."""
        assert self.daemon is not None
        return self.daemon

    @property
    def pid(self) -> int:
        """The daemon proper, as the lock names it."""
        return int(self.layout.lock.read_text().split()[0])

    def stop(self) -> None:
        """End the daemon by SIGTERM to the launcher, as systemd does; no process and no mount may be left."""
        children = processes.descendants(self.process.pid)
        self.process.terminate()
        assert self.process.wait(END_SECONDS) == 0, self.log.read_text()
        self.daemon = None
        self._wait_all_ended(children)
        assert mounts.at(self.mountpoint) is None

    def kill(self, pid: int | None = None) -> None:
        """Kill the daemon, *pid* where the lock cannot be read any more; its mount stays, dead."""
        children = processes.descendants(self.process.pid)
        os.kill(pid or self.pid, signal.SIGKILL)
        assert self.process.wait(END_SECONDS) == 128 + signal.SIGKILL
        self.daemon = None
        self.allowed = [*self.allowed, "the daemon was ended by SIGKILL, its dead mount is left"]
        self._wait_all_ended(children)

    def _wait_all_ended(self, pids: Sequence[int]) -> None:
        until(lambda: not any(map(processes.alive, pids)), f"the end of the daemon's children {pids}")

    def clean_up(self) -> None:
        """End what is left after a failed test."""
        if self.daemon is not None:
            family = [self.daemon.pid, *processes.descendants(self.daemon.pid)]
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.daemon.wait()
            self.daemon = None
        while mounts.at(self.mountpoint) is not None:
            mounts.unmount(self.mountpoint, detach=True)

    # --- what must be so after every test -------------------------------------------------------

    def check(self) -> None:
        """Nothing unexpected stands in the log, and no file stays open once its users have closed it."""
        unexpected = [line for line in self.new_log_lines() if self._complains(line)]
        assert not unexpected, "\n".join(unexpected)
        if self.daemon is not None:
            pids = [self.daemon.pid, *processes.descendants(self.daemon.pid)]
            until(lambda: not self._open_files(pids), lambda: f"closed: {self._open_files(pids)}", 20.0)

    def _open_files(self, pids: Sequence[int]) -> list[str]:
        living = [pid for pid in pids if processes.alive(pid)]
        found = [path for pid in living for path in processes.open_files(pid, self.layout.managed)]
        unnamed = re.compile(re.escape(str(self.layout.managed)) + r"/#\d+ \(deleted\)")  # by which a disk is known
        return [path for path in found if path != str(self.layout.journal) and not unnamed.fullmatch(path)]

    def new_log_lines(self) -> list[str]:
        """Return what the daemon has logged since this was called last."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        new = new[: new.rfind(b"\n") + 1]  # a line and its newline are written one after the other
        self._read += len(new)
        return new.decode(errors="replace").splitlines()

    def _complains(self, line: str) -> bool:
        if any(re.search(pattern, line) for pattern in self.allowed):
            return False
        try:
            return json.loads(line)["level"] not in ("debug", "info")
        except (ValueError, KeyError, TypeError):
            return True  # a traceback, or the words of a library

    # --- what a user sees -----------------------------------------------------------------------

    def home(self, person: Person) -> Path:
        """Return the user directory of *person* in the mount."""
        return self.mountpoint / self._directories[person]

    def backing(self, path: Path) -> Path:
        """Return where the bytes of *path*, a path in the mount, lie."""
        return self.layout.managed / path.relative_to(self.mountpoint)

    def wait_state(self, path: Path, state: str, seconds: float = 30.0) -> None:
        """Wait until ``user.repofs.state`` of *path* is *state*."""
        until(lambda: fact(path, "state") == state, lambda: f"{path} {state}: it is {facts(path)}", seconds)

    def wait_counted(self) -> None:
        """Wait until the mount, the first of its repository, has looked for drops that nobody has counted."""
        until(lambda: "counted the bytes of all drops anew" in self.log.read_text(), "the drops counted")

    def wait_imported(self, *paths: Path, seconds: float = 30.0) -> None:
        for path in paths:
            self.wait_state(path, "imported", seconds)

    def originals(self) -> list[dict[str, object]]:
        """Return what the catalogue lists."""
        opened = engine.open_engine(self.layout.catalogue, read_only=True)
        try:
            with opened.begin() as conn:
                return list(objects.originals(conn))
        finally:
            opened.dispose()

    def originals_at(self, path: Path) -> list[dict[str, object]]:
        """Return the originals that were dropped as *path*."""
        return [one for one in self.originals() if one["path"] == str(path.relative_to(self.mountpoint))]

    def original_of(self, path: Path) -> Path:
        """Return the path in the mount at which the import directory shows what was dropped as *path*."""
        [original] = self.originals_at(path)
        return self.mountpoint / str(original["import_path"])


def _in_mode(settings: str) -> str:
    """Return *settings* with the one of this run, unless a test has its own."""
    if PASSTHROUGH != "off" or "passthrough" in settings:
        return settings
    before, found, after = settings.partition("[mount]\n")
    return f'{before}[mount]\npassthrough = "off"\n{after}' if found else f'{settings}\n[mount]\npassthrough = "off"\n'


def fact(path: Path, name: str) -> str | None:
    """Return ``user.repofs.`` *name* of *path*, or None when it has none."""
    try:
        return os.getxattr(path, f"user.repofs.{name}").decode()
    except OSError as error:
        if error.errno in (61, 2):  # ENODATA, ENOENT
            return None
        raise


def facts(path: Path) -> dict[str, str]:
    """Return all facts that *path* lists."""
    return {
        name.removeprefix("user.repofs."): os.getxattr(path, name).decode()
        for name in os.listxattr(path)
        if name.startswith("user.repofs.")
    }


def tell(path: Path, command: str) -> None:
    """Set ``user.repofs.import`` on *path*: now, retry or cancel."""
    os.setxattr(path, "user.repofs.import", command.encode())


@contextlib.contextmanager
def mounted(settings: str = QUICK, command: Sequence[str] = DAEMON, *, place: Path | None = None) -> Iterator[Drive]:
    """Make a repository in *place* and mount it for the time of the context; what must be so at its end is checked."""
    with scratch() if place is None else contextlib.nullcontext(place) as there:
        drive = Drive(there, settings)
        with running(drive, lambda: drive.start(command)):
            yield drive


@contextlib.contextmanager
def running(drive: Drive, start: Callable[[], None]) -> Iterator[None]:
    """Call *start*, stop *drive* at the end if it still runs, and check what must be so then."""
    try:
        start()
        yield
        if drive.daemon is not None:
            drive.check()
            drive.stop()
        drive.check()
        assert not (found := agreement.disagreements(drive)), "\n".join(found)
    finally:
        drive.clean_up()


def left_behind() -> list[str]:
    """Return, as sentences, what this run of the tests has left: mounts and processes."""
    left = [f"mount {one.mountpoint}" for one in mounts.all_mounts() if RUN in str(one.mountpoint)]
    return left + [f"process {pid}" for pid in processes.naming(RUN)]
