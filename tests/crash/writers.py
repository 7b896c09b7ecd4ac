"""Ways in which programs use the mount, each a process that notes in the ledger what it was told."""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.crash.ledger import BEGUN, CLOSED, IMPORTED, SYNCED, Ledger, Place, Version
from tests.helpers.command_line import repofs
from tests.helpers.mounting import Drive, fact, tell

LARGE_BYTES = 1_500_000  # more than the importer leaves to the sync that many imports share
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


class Died(Exception):
    """The daemon is gone, as it is meant to be."""


@dataclass(frozen=True)
class Writer:
    """One way of writing, for one round."""

    way: Callable[[Writer], None]
    folder: Path  # in the mount
    drive: Drive
    work: Path  # beside it, in a declared source
    ledger: Ledger
    files: int
    seed: str

    def run(self) -> None:
        """Write all files; returns early when the daemon dies."""
        try:
            self._prepare()
            self.way(self)
        except Died:
            return
        except OSError as error:
            if error.errno not in DEAD and not self._is_dead():
                raise

    def _prepare(self) -> None:
        self.work.mkdir(parents=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _is_dead(self) -> bool:
        try:
            os.statvfs(self.drive.mountpoint)  # which the kernel asks the daemon each time
        except OSError as error:
            return error.errno in DEAD
        return not os.path.ismount(self.drive.mountpoint)  # it died at its start, and the launcher has unmounted

    def names(self, suffix: str = "dat") -> Iterator[tuple[Path, Version]]:
        """Yield a name in the mount and what is to be written there, for each file."""
        sizes = random.Random(self.seed)
        for number in range(self.files):
            size = LARGE_BYTES if sizes.random() < 0.02 else sizes.randrange(1, 5000)
            path = self.folder / f"{number:03d}.{suffix}"
            yield path, Version(f"{self.seed}/{path.name}", size)

    def sources(self, suffix: str = "dat") -> dict[Path, tuple[Path, Version]]:
        """Make the files beside the mount; return for each name in the mount its source and its content."""
        made = {}
        for path, version in self.names(suffix):
            source = self.work / path.name
            source.write_bytes(version.content())
            made[path] = (source, version)
        return made

    def note(self, path: Path, version: Version, what: str) -> None:
        self.ledger.note(path, version, what)

    def move(self, path: Path, version: Version, to: Place, act: Callable[..., object], *how: str | Path) -> None:
        """Have *act* take a file to another place."""
        self.note(path, version, f"to the {to}")
        act(*how)
        self.note(path, version, f"in the {to}")

    def ask(self, *words: str) -> str:
        """Have the daemon do something, and return what it says."""
        answer = repofs("-C", self.drive.repository, *words)
        if answer.code != 0:
            self._end(f"{words} ended with {answer.code}: {answer.err}")
        return answer.out

    def remove(self, directory: Path) -> None:
        done = subprocess.run(["rm", "-r", directory], capture_output=True, text=True)
        if done.returncode != 0:
            self._end(f"rm -r ended with {done.returncode}: {done.stderr}")

    def _end(self, reason: str) -> NoReturn:
        raise Died if self._is_dead() else AssertionError(reason)

    def tool(self, made: dict[Path, tuple[Path, Version]], *command: str | Path) -> None:
        """Have a program bring in what was *made*; its 0 acknowledges all, a source that it has removed the one."""
        for path, (_, version) in made.items():
            self.note(path, version, BEGUN)
        done = subprocess.run(command, capture_output=True, text=True)
        for path, (source, version) in made.items():
            if done.returncode == 0 or not source.exists():
                self.note(path, version, CLOSED)
        if done.returncode != 0:
            self._end(f"{command[0]} ended with {done.returncode}: {done.stderr}")


def cp(one: Writer) -> None:
    made = one.sources("tif")
    one.tool(made, "cp", *(source for source, _ in made.values()), one.folder)
    for path, (_, version) in made.items():
        if fact(path, "state") == "imported":
            one.note(path, version, IMPORTED)


def mv(one: Writer) -> None:
    made = one.sources()
    one.tool(made, "mv", *(source for source, _ in made.values()), one.folder)


def rsync(one: Writer) -> None:
    made = one.sources()
    one.tool(made, "rsync", "-a", f"{one.work}/", f"{one.folder}/")


def append(one: Writer) -> None:
    """Write a file in three goes, each synced and closed; what is imported meanwhile is as it was after the last."""
    for path, whole in one.names():
        cuts = sorted({1 + whole.size // 3, 1 + whole.size // 2, whole.size})
        for before, after in zip((0, *cuts), cuts, strict=False):
            version = Version(whole.key, after)
            try:
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            except PermissionError:  # it is being imported, or is: nothing is added any more
                break
            one.note(path, version, BEGUN)
            os.write(fd, whole.content()[before:after])
            os.fsync(fd)
            one.note(path, version, SYNCED)
            os.close(fd)
            one.note(path, version, CLOSED)


def mapped(one: Writer) -> None:
    for path, version in one.names():
        one.note(path, version, BEGUN)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(fd, version.size)
        with mmap.mmap(fd, version.size) as memory:
            memory[:] = version.content()
            memory.flush()
        os.close(fd)
        one.note(path, version, CLOSED)


def dup(one: Writer) -> None:
    """Close one of two descriptors half way: that is no end."""
    for path, version in one.names():
        content = version.content()
        one.note(path, version, BEGUN)
        first = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        second = os.dup(first)
        os.write(first, content[: version.size // 2])
        os.close(first)
        os.write(second, content[version.size // 2 :])
        os.close(second)
        one.note(path, version, CLOSED)


def fork(one: Writer) -> None:
    """A child writes the second half, and closes last."""
    for path, version in one.names():
        content = version.content()
        one.note(path, version, BEGUN)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, content[: version.size // 2])
        child = os.fork()
        if child == 0:
            _in_child(fd, content[version.size // 2 :])
        os.close(fd)
        _, status = os.waitpid(child, 0)
        if status != 0:
            raise Died if one._is_dead() else AssertionError("the child could not write")
        one.note(path, version, CLOSED)


def _in_child(fd: int, content: bytes) -> None:
    code = 1
    try:
        os.write(fd, content)
        os.close(fd)
        code = 0
    finally:
        os._exit(code)


def truncate(one: Writer) -> None:
    for path, version in one.names():
        longer = Version(version.key, 2 * version.size)
        one.note(path, version, BEGUN)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, longer.content())
        os.ftruncate(fd, version.size)
        os.close(fd)
        one.note(path, version, CLOSED)


def rename_over(one: Writer) -> None:
    """Replace each file once by a newer, as editors do."""
    for path, version in one.names():
        for number in (1, 2):
            newer = Version(f"{version.key}/{number}", version.size)
            temporary = path.with_name(f".{path.name}.tmp")
            with temporary.open("wb") as file:
                file.write(newer.content())
                file.flush()
                os.fsync(file.fileno())
            one.note(path, newer, BEGUN)
            os.rename(temporary, path)
            one.note(path, newer, CLOSED)


def in_place(one: Writer) -> None:
    """Links and transfers from a declared source."""
    made = one.sources()
    transfers = ("ln_s", "ln", "ln_rm", "cp_rm", "upload")
    for number, (path, (source, version)) in enumerate(made.items()):
        transfer = transfers[number % len(transfers)]
        one.note(path, version, BEGUN)
        if transfer == "ln_s":
            os.symlink(source, path)
        else:
            value = json.dumps({"source": str(source), "transfer": transfer})
            os.setxattr(one.folder, "user.repofs.import.link", value.encode())
        one.note(path, version, CLOSED)


def failing(one: Writer) -> None:
    """Files whose target does not exist: refused, kept, and refused again when they are tried again."""
    os.setxattr(one.folder, "user.repofs.target", b"Dataset:999999")
    for path, version in one.names():
        one.note(path, version, BEGUN)
        path.write_bytes(version.content())
        one.note(path, version, CLOSED)


def cancelled(one: Writer) -> None:
    """Files that are incomplete by their owner's word, are written anew, and imported by her word."""
    for path, whole in one.names():
        half = Version(whole.key, 1 + whole.size // 2)
        one.note(path, half, BEGUN)
        path.write_bytes(half.content())
        one.note(path, half, CLOSED)
        tell(path, "cancel")
        try:
            file = path.open("r+b")
        except PermissionError:  # it was being imported already
            continue
        one.note(path, whole, BEGUN)
        with file:
            file.write(whole.content())
        one.note(path, whole, CLOSED)
        tell(path, "now")


WAYS = (cp, mv, rsync, append, mapped, dup, fork, truncate, rename_over, in_place, failing, cancelled)
