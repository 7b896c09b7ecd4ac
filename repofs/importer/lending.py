"""What a reader process gets to see of a drop: its own files, by descriptors for reading only, and the names beside it.

Blocking; run in threads. The names that readers use are below the directory that the drop lies in.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from repofs.repository import openat2

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_LOOK = os.O_PATH


class Lender(Protocol):
    """Answers what a reader asks. Each may raise OSError, which the reader is told."""

    def has(self, name: bytes) -> bool: ...

    def names(self, directory: bytes) -> Sequence[bytes]: ...

    def open(self, name: bytes) -> int:
        """Return a descriptor of the file *name*, open for reading only, with a position of its own."""
        ...


BytesOf = Callable[[int], AbstractContextManager[int]]
"""Lends, for the descriptor of a file, the one that has its bytes: another one for a stand-in."""


class LentFiles:
    """Of the files below *directory* (a descriptor, the caller's) those that *mine* says may be opened.

    Without a directory nothing stands beside the one file that is *given*, name and descriptor.
    """

    def __init__(
        self,
        directory: int | None,
        mine: Callable[[bytes], bool],
        bytes_of: BytesOf = nullcontext,
        given: tuple[bytes, int] | None = None,
    ) -> None:
        self._directory = directory
        self._mine = mine
        self._bytes_of = bytes_of
        self._given = given

    def has(self, name: bytes) -> bool:
        try:
            with self._beneath(name, _LOOK):
                return True
        except (FileNotFoundError, NotADirectoryError):
            return False

    def names(self, directory: bytes) -> Sequence[bytes]:
        try:
            with self._beneath(directory or b".", os.O_RDONLY | os.O_DIRECTORY) as fd, os.scandir(fd) as entries:
                return sorted(os.fsencode(entry.name) + b"/" * entry.is_dir(follow_symlinks=False) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def open(self, name: bytes) -> int:
        if self._given is not None and name == self._given[0]:
            return self._readable(self._given[1])
        if not self._mine(name):
            raise PermissionError(errno.EACCES, "it is not of this fileset", name)
        with self._beneath(name, _READ) as fd:
            return self._readable(fd)

    def _readable(self, fd: int) -> int:
        with self._bytes_of(fd) as has_bytes:
            if not stat.S_ISREG(os.fstat(has_bytes).st_mode):
                raise PermissionError(errno.EACCES, "it is no file")
            # Opened anew, for reading only and with a position of its own: the reader must not get ours.
            return os.open(f"/proc/self/fd/{has_bytes}", os.O_RDONLY | os.O_CLOEXEC)

    @contextmanager
    def _beneath(self, name: bytes, flags: int) -> Iterator[int]:
        if self._directory is None:
            raise FileNotFoundError(errno.ENOENT, "nothing is known of what lies beside it", name)
        fd = openat2.beneath(self._directory, name, flags)
        try:
            yield fd
        finally:
            os.close(fd)


def only(fd: int, name: bytes) -> LentFiles:
    """Return what a reader sees of the one file *fd*, called *name*."""
    return LentFiles(None, lambda _: False, given=(name, fd))
