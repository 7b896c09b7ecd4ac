"""A drive whose Python notes what it is asked, and files that nobody has seen: for what is answered without it."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import kernel
from tests.helpers import noted_names
from tests.helpers.administered import Administered
from tests.helpers.mounting import QUICK, running, scratch
from tests.helpers.people import Person

LAB = 61000
ALICE = Person("alice", 61001, LAB)
BOB = Person("bob", 61002, LAB)
numbers = itertools.count()


class Noted:
    """A drive of two people, and what its Python was asked about."""

    def __init__(self, drive: Administered, notes: Path) -> None:
        self.drive = drive
        self._notes = notes
        self._elsewhere = drive.home(ALICE) / "elsewhere"
        ALICE.do(os.mkdir, self._elsewhere)

    def asked(self, what: str) -> list[str]:
        """Return what Python was asked to "list", "lookup", or (by number) "getattr" or "open" since the last call."""
        lines = self._notes.read_text().splitlines()
        self._notes.write_text("")
        return [name for kind, name in (line.split(" ", 1) for line in lines) if kind == what]

    def forget(self) -> None:
        """Have the kernel forget all, and the daemon hear of it."""
        kernel.drop_cache(self.drive.mountpoint)
        kernel.wait_idle(self.drive.pid)

    def told_by_python(self, directory: Path, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Return `all_of` the names, of which each is looked up just after one in another directory: by Python."""
        names = list(names)
        self.forget()
        self.asked("lookup")
        told = {}
        for name in names:
            assert not os.path.lexists(self._elsewhere / "nothing")
            told[name] = what(directory / name)
        assert set(names) <= set(self.asked("lookup"))
        return told


class Folder:
    """A directory of Alice's, with files made behind the mount: nobody has seen them, and they are not counted."""

    def __init__(self, noted: Noted, path: Path) -> None:
        self.path = path
        self.behind = noted.drive.backing(path)
        self._noted = noted
        self._made: list[Path] = []

    def fill(self, names: Iterable[str]) -> None:
        """Put empty files there."""
        for name in names:
            self._made.append(self.behind / name)
            self._made[-1].touch()
            os.chown(self._made[-1], ALICE.uid, LAB)
        self._noted.forget()  # the numbers of files that were removed are given again

    def clear(self) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)


@contextmanager
def noted_drive() -> Iterator[Noted]:
    with scratch() as place:
        notes = place / "notes"
        notes.touch()
        notes.chmod(0o666)  # for the daemon
        os.environ[noted_names.NOTES] = str(notes)
        drive = Administered(place, QUICK)

        def start() -> None:
            drive.add_group("lab", LAB, "read-annotate")
            for person in (ALICE, BOB):
                drive.add_user(person, "lab")
            drive.start((sys.executable, "-m", "tests.helpers.noted_names"))

        try:
            with running(drive, start):
                yield Noted(drive, notes)
        finally:
            del os.environ[noted_names.NOTES]


@contextmanager
def made_folder(noted: Noted) -> Iterator[Folder]:
    path = noted.drive.home(ALICE) / f"folder-{next(numbers)}"
    ALICE.do(os.mkdir, path)
    folder = Folder(noted, path)
    yield folder
    folder.clear()


def what(path: Path) -> tuple[int, ...]:
    """Return all that is shown of a file or directory."""
    one = os.lstat(path)
    owner = one.st_mode, one.st_nlink, one.st_uid, one.st_gid
    size = one.st_size, one.st_blocks, one.st_blksize
    return one.st_ino, *owner, *size, one.st_atime_ns, one.st_mtime_ns, one.st_ctime_ns


def all_of(directory: Path, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return what is shown of each of *names*."""
    return {name: what(directory / name) for name in names}
