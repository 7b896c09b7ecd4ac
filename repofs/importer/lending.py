"""What a reader process gets to see of a drop: its own files, by descriptors for reading only, and the names beside it.

Blocking; run in threads. The names that readers use are below the directory that the drop lies in.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from repofs.importer.bringing import SMALL_BYTES
from repofs.repository import openat2

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY

BytesOf = Callable[[int], AbstractContextManager[int]]
"""Lends, for the descriptor of a file, the one that has its bytes: another one for a stand-in."""


class Lender(Protocol):
    """Answers what a reader asks. Each may raise OSError, which the reader is told."""

    at_hand: bool  # its bytes are on the repository's own disk, and open already: to open them anew is no wait
    is_small: bool  # and few: to look at it takes no time

    def has(self, name: bytes) -> bool: ...

    def names(self, directory: bytes) -> Sequence[bytes]: ...

    def open(self, name: bytes) -> int:
        """Return a descriptor of the file *name*, open for reading only, with a position of its own."""
        ...


Directory = Callable[[], AbstractContextManager[int]]
"""Lends a descriptor of a directory. Raises OSError when it is not there."""


class OneFile:
    """The file of *fd*, called *name*, and which names lie *beside* it, if that is known."""

    def __init__(
        self,
        name: bytes,
        fd: int,
        bytes_of: BytesOf = nullcontext,
        beside: Directory | None = None,
        *,
        at_hand: bool = False,
    ) -> None:
        self.at_hand = at_hand
        self.is_small = at_hand and os.fstat(fd).st_size <= SMALL_BYTES
        self._name = name
        self._fd = fd
        self._bytes_of = bytes_of
        self._beside = beside

    def has(self, name: bytes) -> bool:
        if name == self._name or self._beside is None:
            return name == self._name
        with self._beside() as directory:
            return _has(directory, name)

    def names(self, directory: bytes) -> Sequence[bytes]:
        if self._beside is None:
            return [] if directory else [self._name]
        with self._beside() as beside:
            return _names(beside, directory or b".")

    def open(self, name: bytes) -> int:
        if name != self._name:
            raise _strange(name)
        return _readable(self._fd, self._bytes_of)


class LentFiles:
    """The files *members* below the directory of the descriptor *fd*."""

    at_hand = is_small = False

    def __init__(self, fd: int, members: Collection[bytes], bytes_of: BytesOf = nullcontext) -> None:
        self._fd = fd
        self._members = members
        self._bytes_of = bytes_of

    def has(self, name: bytes) -> bool:
        return name in self._members

    def names(self, directory: bytes) -> Sequence[bytes]:
        above = directory.rstrip(b"/") + b"/" if directory else b""
        below = (name.removeprefix(above) for name in self._members if name.startswith(above))
        return sorted({first + slash for first, slash, _ in (name.partition(b"/") for name in below)})

    def open(self, name: bytes) -> int:
        if name not in self._members:
            raise _strange(name)
        with _beneath(self._fd, name, _READ) as file:
            return _readable(file, self._bytes_of)


class InDirectory:
    """All that lies in the directory of the descriptor *fd*, which is called *name*; b"": names are those in it."""

    at_hand = is_small = False

    def __init__(self, name: bytes, fd: int, bytes_of: BytesOf = nullcontext) -> None:
        self._above = name + b"/" if name else b""
        self._fd = fd
        self._bytes_of = bytes_of

    def has(self, name: bytes) -> bool:
        return _has(self._fd, self._below(name))

    def names(self, directory: bytes) -> Sequence[bytes]:
        return _names(self._fd, self._below(directory))

    def open(self, name: bytes) -> int:
        with _beneath(self._fd, self._below(name), _READ) as file:
            return _readable(file, self._bytes_of)

    def _below(self, name: bytes) -> bytes:
        if not (name + b"/").startswith(self._above):
            raise _strange(name)
        return name[len(self._above) :] or b"."


def _has(directory: int, name: bytes) -> bool:
    try:
        with _beneath(directory, name, os.O_PATH):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False


def _names(directory: int, below: bytes) -> Sequence[bytes]:
    try:
        with _beneath(directory, below, os.O_RDONLY | os.O_DIRECTORY) as fd, os.scandir(fd) as entries:
            return sorted(os.fsencode(entry.name) + b"/" * entry.is_dir(follow_symlinks=False) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def _beneath(directory: int, name: bytes, flags: int) -> Iterator[int]:
    fd = openat2.beneath(directory, name, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def _readable(fd: int, bytes_of: BytesOf) -> int:
    with bytes_of(fd) as has_bytes:
        if not stat.S_ISREG(os.fstat(has_bytes).st_mode):
            raise PermissionError(errno.EACCES, "it is no file")
        # Opened anew, for reading only and with a position of its own: the reader must not get ours.
        return os.open(f"/proc/self/fd/{has_bytes}", os.O_RDONLY | os.O_CLOEXEC)


def _strange(name: bytes) -> PermissionError:
    return PermissionError(errno.EACCES, "it is not of this fileset", name)
