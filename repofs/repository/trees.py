"""Directories by descriptor: no path gets long, no symlink is followed, one descriptor whatever the depth.

A `Cursor` goes up by "..": it, and what uses it, is for trees that nobody else changes, staged or published. `walk` is
for those of users.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog

from repofs.repository import openat2
from repofs.repository.durable import OPEN_DIRECTORY, Path, own

_log = structlog.get_logger(__name__)


@contextmanager
def opened(path: Path, *, dir_fd: int | None = None) -> Iterator[int]:
    """Lend a descriptor of the directory *path*."""
    with lent(os.open(path, OPEN_DIRECTORY, dir_fd=dir_fd)) as fd:
        yield fd


@contextmanager
def lent(fd: int) -> Iterator[int]:
    """Lend *fd*, which is closed then."""
    try:
        yield fd
    finally:
        os.close(fd)


class Cursor:
    """A place in a tree, moved down and up. *names* lead there from the top."""

    def __init__(self, top: Path, *, dir_fd: int) -> None:
        self.fd = os.open(top, OPEN_DIRECTORY, dir_fd=dir_fd)
        self.names: list[bytes] = []

    def down(self, name: bytes) -> None:
        self._move(name)
        self.names.append(name)

    def up(self) -> None:
        self._move(b"..")
        self.names.pop()

    def make_way(self, names: Sequence[bytes]) -> None:
        """Go to the directory *names* below the top; directories that are missing are made, mode 0700."""
        common = 0
        while common < min(len(names), len(self.names)) and names[common] == self.names[common]:
            common += 1
        while len(self.names) > common:
            self.up()
        for name in names[common:]:
            if not exists(name, dir_fd=self.fd):
                os.mkdir(name, 0o700, dir_fd=self.fd)
            self.down(name)

    def _move(self, name: bytes) -> None:
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = fd

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def walk(top: int, *, passing: Collection[int] = ()) -> Iterator[tuple[bytes, list[bytes], list[bytes], int]]:
    """Yield of each directory at and below the one of descriptor *top*, as deep as it goes: its path from there, b"" of
    the first, the directories and the other names in it, by name, and a descriptor that is lent until the next.

    Directories that are taken out of their list are not walked. Each is opened from *top* on: what is renamed meanwhile
    is found or not, and leads nowhere else. Raises OSError, but for the errnos *passing*: these are passed by.
    """
    pending = [b""]
    while pending:
        path = pending.pop()
        try:
            fd = openat2.beneath(top, path or b".", OPEN_DIRECTORY)
        except OSError as error:
            if error.errno not in passing:
                raise
            continue
        with lent(fd):
            directories, names = _listed(fd)
            yield path, directories, names, fd
        pending += [os.path.join(path, name) for name in reversed(directories)]


def _listed(fd: int) -> tuple[list[bytes], list[bytes]]:
    directories: list[bytes] = []
    others: list[bytes] = []
    with os.scandir(fd) as entries:
        for entry in entries:
            kind = directories if entry.is_dir(follow_symlinks=False) else others
            kind.append(os.fsencode(entry.name))
    return sorted(directories), sorted(others)


def is_within(path: bytes, directory: bytes) -> bool:
    """Return whether *path* is that of *directory* or of something below it."""
    return path == directory or path.startswith(directory + b"/")


def exists(name: bytes, *, dir_fd: int) -> bool:
    """Return whether *name* is there, be it a symlink that leads nowhere."""
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def bottom_up(top: Path, *, dir_fd: int) -> Iterator[int]:
    """Yield a descriptor of each directory of the tree *top*, deepest first, *top* last."""
    with Cursor(top, dir_fd=dir_fd) as cursor:
        waiting = [_directories(cursor.fd)]
        while True:
            if waiting[-1]:
                cursor.down(waiting[-1].pop())
                waiting.append(_directories(cursor.fd))
                continue
            yield cursor.fd
            waiting.pop()
            if not waiting:
                return
            cursor.up()


def _directories(fd: int) -> list[bytes]:
    with os.scandir(fd) as entries:
        return [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]


def files_of(top: Path, *, dir_fd: int) -> Iterator[int]:
    """Yield a descriptor of each regular file in the tree *top*, lent until the next."""
    for directory in bottom_up(top, dir_fd=dir_fd):
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    fd = os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                    try:
                        yield fd
                    finally:
                        os.close(fd)


def remove_links(top: Path, *, dir_fd: int) -> None:
    """Remove the tree *top* but for the last name of any inode, which stays with a warning; no error when absent."""
    try:
        for fd in bottom_up(top, dir_fd=dir_fd):
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        remove_empty(entry.name, dir_fd=fd)
                    elif entry.stat(follow_symlinks=False).st_nlink > 1:
                        os.unlink(entry.name, dir_fd=fd)
                    else:
                        _log.warning("kept: the only name that these bytes have left", name=entry.name, top=top)
        remove_empty(top, dir_fd=dir_fd)
    except FileNotFoundError:
        return


def remove_empty(name: Path, *, dir_fd: int) -> bool:
    """Remove the directory *name* if it is there and empty; return whether it is gone."""
    try:
        os.rmdir(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # POSIX allows both
            raise
        return False
    return True


def remove_all(top: Path, *, dir_fd: int) -> None:
    """Remove the tree *top*, the last names of its inodes too; no error when absent. May run again."""
    with suppress(FileNotFoundError):
        for fd in bottom_up(top, dir_fd=dir_fd):
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        os.rmdir(entry.name, dir_fd=fd)
                    else:
                        os.unlink(entry.name, dir_fd=fd)
        os.rmdir(top, dir_fd=dir_fd)


def remove_empty_way(way: Sequence[bytes], *, dir_fd: int, keep: int = 0) -> None:
    """Remove the directory *way* leads to and those above it, as far as they are empty; the first *keep* stay."""
    for depth in range(len(way), keep, -1):
        *above, name = way[:depth]
        try:
            with lent(openat2.beneath(dir_fd, b"/".join(above) or b".", OPEN_DIRECTORY)) as parent:
                if not remove_empty(name, dir_fd=parent):
                    return
        except FileNotFoundError:
            continue


@contextmanager
def way(path: bytes, *, dir_fd: int, uid: int, gid: int) -> Iterator[int]:
    """Lend a descriptor of the directory *path*; those that are missing are made, for *uid* and *gid* alone."""
    here = openat2.beneath(dir_fd, b".", OPEN_DIRECTORY)
    try:
        for name in filter(None, path.split(b"/")):
            made = not exists(name, dir_fd=here)
            if made:
                os.mkdir(name, 0o700, dir_fd=here)
            above, here = here, os.open(name, OPEN_DIRECTORY, dir_fd=here)
            os.close(above)
            if made:
                own(here, uid, gid, 0o700)
        yield here
    finally:
        os.close(here)
