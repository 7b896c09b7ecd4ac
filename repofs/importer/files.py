"""The files of a drop: opened beneath its descriptor, examined, marked. Blocking; run in threads.

The drop is sealed: nobody changes it through the mount. What a descriptor, a mapping or a hard link from outside
still does to the bytes is found out here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Container, Iterator
from dataclasses import dataclass

from repofs.errors import ChangedWhileReading, InvalidValue
from repofs.lifecycle import State
from repofs.model import Closed, Drop, Mark, Original, Refused
from repofs.repository.checksum import checksum
from repofs.repository.marks import ORIGINAL_BIT, Marks

SMALL_BYTES = 1 << 20  # larger files are synced alone, so that the sync that many share does not wait for them

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Examined:
    """One file of a drop, its bytes hashed."""

    path: bytes  # as dropped, below the user directory
    name: bytes  # below the import directory
    size: int
    mtime_ns: int
    checksum: str


def opened(drop: Drop, fd: int) -> Iterator[tuple[bytes, int]]:
    """Yield the name below the drop's own directory and a descriptor of each regular file of *drop*, in order of name.

    The descriptor is closed when the next is asked for; that of a file that is the drop is *fd* itself.
    """
    name = os.path.basename(drop.path)
    if not drop.is_directory:
        yield name, fd
        return
    for directory, below, names, directory_fd in os.fwalk(b".", dir_fd=fd, onerror=_raise):
        below.sort()
        for entry in sorted(names):
            if not stat.S_ISREG(os.stat(entry, dir_fd=directory_fd, follow_symlinks=False).st_mode):
                continue
            file = os.open(entry, _OPEN, dir_fd=directory_fd)
            try:
                yield os.path.normpath(os.path.join(name, directory, entry)), file
            finally:
                os.close(file)


def _raise(error: OSError) -> None:
    raise error


def new_ones(drop: Drop, fd: int, marks: Marks) -> Iterator[tuple[bytes, int]]:
    """Yield of the files of *drop* those that are no originals yet: a directory may have been imported before."""
    for name, file in opened(drop, fd):
        if not isinstance(marks.read(file), Original):
            yield name, file


def named(drop: Drop, fd: int, names: Container[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the files of *drop* that have one of *names*."""
    return ((name, file) for name, file in opened(drop, fd) if name in names)


def examine(drop: Drop, fd: int, marks: Marks, algorithm: str, groups: Container[int] = ()) -> list[Examined]:
    """Return the new files of *drop*, each read whole.

    Raises ChangedWhileReading when somebody writes one, InvalidValue when one in a directory was never ended well, or
    belongs to another of *groups* (gids) than the drop: whoever sees that group would see it.
    """
    parent = os.path.dirname(drop.path)
    examined = []
    for name, file in new_ones(drop, fd, marks):
        if drop.is_directory:
            _require_closed(name, file, marks)
        _require_group(drop, name, file, groups)
        status, digest = _hashed(file, algorithm)
        path = os.path.join(parent, name)
        examined.append(Examined(path, name, status.st_size, status.st_mtime_ns, digest))
    return examined


def _require_closed(name: bytes, fd: int, marks: Marks) -> None:
    if _incomplete(marks.read(fd)):
        shown = name.decode(errors="backslashreplace")
        raise InvalidValue(f"{shown} is incomplete, its writer did not end well: write or rename it, then retry")


def _require_group(drop: Drop, name: bytes, fd: int, groups: Container[int]) -> None:
    gid = os.fstat(fd).st_gid
    if drop.is_directory and gid != drop.gid and gid in groups:
        shown = name.decode(errors="backslashreplace")
        raise InvalidValue(f"{shown} belongs to another group than the directory: chgrp the directory, then retry")


def _incomplete(mark: Mark | None) -> bool:
    return mark is None or (isinstance(mark, Refused) and mark.state is State.INCOMPLETE)


def _hashed(fd: int, algorithm: str) -> tuple[os.stat_result, str]:
    before = os.fstat(fd)
    if before.st_size > SMALL_BYTES:
        os.fsync(fd)
    digest = checksum(fd, algorithm)
    _require_no_writer(fd)
    after = os.fstat(fd)
    if _version(before) != _version(after):
        raise ChangedWhileReading("the file was changed while it was read: it is imported when it is quiet")
    return after, digest


def require_still(fd: int, size: int, mtime_ns: int) -> None:
    """Raise ChangedWhileReading unless the file is as it was when it was hashed, and nobody has it open for writing."""
    _require_no_writer(fd)
    status = os.fstat(fd)
    if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
        raise ChangedWhileReading("the file was changed after it was read: it is imported when it is quiet")


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _require_no_writer(fd: int) -> None:
    """Ask the kernel for a read lease, which it grants only if nobody has the file open (or mapped) for writing."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise ChangedWhileReading("it is open for writing: it is imported when it is closed") from None
        if error.errno != errno.EINVAL:  # the file system knows no leases: size and times must do
            raise
    else:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def mark_closed(fd: int, marks: Marks, actor_uid: int | None) -> None:
    """Make the file of *fd*, which *actor_uid* had dropped, a drop again, whole as it is."""
    status = os.fstat(fd)
    marks.write(fd, Closed(status.st_size, status.st_mtime_ns, actor_uid))
    os.fchmod(fd, stat.S_IMODE(status.st_mode) & ~ORIGINAL_BIT)


def refuse(drop: Drop, fd: int, marks: Marks, state: State, error: str, log: str) -> None:
    """Leave *state* and *error* on each file of the drop; one that is incomplete stays so, an original too."""
    for _, file in new_ones(drop, fd, marks):
        mark = marks.read(file)
        if drop.is_directory and _incomplete(mark):
            continue
        status = os.fstat(file)
        marks.write(file, Refused(status.st_size, status.st_mtime_ns, state, error, log))
