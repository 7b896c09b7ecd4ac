"""Transfers: how the bytes of a file from outside come into the repository, by OMERO's names.

| name | the bytes | the source |
|---|---|---|
| ``upload`` ``cp`` | are copied (copy_file_range(2)) | stays |
| ``upload_rm`` ``cp_rm`` | are copied | is removed once they are imported |
| ``reflink`` | are shared with the source until one of the two is written (ioctl FICLONE) | stays |
| ``ln`` | stay where they are, by a hard link | stays |
| ``ln_rm`` | stay where they are, by a hard link | its name is removed once they are imported |
| ``ln_s`` | stay where they are, and are found by the source's name | must stay |

A third party's transfer is a class with the methods of `Transfer`, named by an entry point of the group
``repofs.transfers``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol

from repofs.errors import InvalidValue, RepofsError, on_the_store
from repofs.fault_points import Step, passed
from repofs.repository.durable import OPEN_DIRECTORY

ENTRY_POINTS = "repofs.transfers"

_FICLONE = 0x40049409  # linux/fs.h
_CHUNK_BYTES = 1 << 30
_BUFFER_BYTES = 1 << 20
_CANNOT_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class CannotTransfer(RepofsError):
    """The transfer does not work between these two places; its errno says why."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.errno = code


class Transfer(Protocol):
    """One way to bring bytes in. Without state: one instance serves all."""

    name: str
    in_place: bool  # the stand-in gets no bytes: they are read from the source, or from `linked`
    removes: bool  # the source is removed once its import is durable
    linked: bool  # in place, by a hard link of the repository's own

    def check(self, source: int, repository: int) -> None:
        """Refuse (CannotTransfer) what cannot work from the file or directory *source* to the directory *repository*,
        as far as that is known before anything is done."""
        ...

    def bring(self, source: int, stand_in: int, linked: int) -> None:
        """Bring the bytes of the file *source* to *stand_in*, a descriptor open for reading; *linked* is the directory
        for hard links. May be done again. Raises CannotTransfer, OSError."""
        ...

    def take_back(self, stand_in: int, linked: int) -> None:
        """Undo `bring`, however far it got."""
        ...


class _Copying:
    """The stand-in gets bytes of its own."""

    in_place = linked = False

    def __init__(self, name: str, *, removes: bool) -> None:
        self.name = name
        self.removes = removes

    def check(self, source: int, repository: int) -> None:
        return

    def bring(self, source: int, stand_in: int, linked: int) -> None:
        target = _writable(stand_in)
        try:
            os.ftruncate(target, 0)
            self._fill(source, target)
            with on_the_store("fsync"):
                os.fsync(target)
            passed(Step.COPIED)
        finally:
            os.close(target)

    def _fill(self, source: int, target: int) -> None:
        _copy(source, target)

    def take_back(self, stand_in: int, linked: int) -> None:
        size = os.fstat(stand_in).st_size
        target = _writable(stand_in)
        try:
            os.ftruncate(target, 0)
            os.ftruncate(target, size)
        finally:
            os.close(target)


class _Reflink(_Copying):
    def check(self, source: int, repository: int) -> None:
        if os.fstat(source).st_dev != os.fstat(repository).st_dev:
            raise CannotTransfer(errno.EXDEV, "reflink works within one file system only: use cp")
        if stat.S_ISREG(os.fstat(source).st_mode):
            trial = os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=repository)
            try:
                self._fill(source, trial)
            finally:
                os.close(trial)

    def _fill(self, source: int, target: int) -> None:
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
                raise CannotTransfer(
                    errno.EOPNOTSUPP, "the file system of the repository cannot reflink (XFS and Btrfs can): use cp"
                ) from error
            if error.errno == errno.EXDEV:
                raise CannotTransfer(errno.EXDEV, "reflink works within one file system only: use cp") from error
            raise


class _Link:
    """The bytes stay in the inode of the source, which the repository holds by a name of its own."""

    in_place = linked = True

    def __init__(self, name: str, *, removes: bool) -> None:
        self.name = name
        self.removes = removes

    def check(self, source: int, repository: int) -> None:
        if os.fstat(source).st_dev != os.fstat(repository).st_dev:
            raise CannotTransfer(
                errno.EXDEV, f"{self.name} needs the source on the repository's file system: use ln_s or cp"
            )

    def bring(self, source: int, stand_in: int, linked: int) -> None:
        name = link_name(stand_in)
        try:
            os.link(f"/proc/self/fd/{source}", name, dst_dir_fd=linked, follow_symlinks=True)
        except FileExistsError:  # of a try that was interrupted, or of a stand-in that had this inode number before
            there = os.stat(name, dir_fd=linked, follow_symlinks=False)
            if not os.path.samestat(there, os.fstat(source)):
                # Set aside, for fsck: it may be the last name of what a stand-in stands for elsewhere by now.
                os.rename(name, b"%s.%d" % (name, there.st_ino), src_dir_fd=linked, dst_dir_fd=linked)
                self.bring(source, stand_in, linked)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                raise
            raise CannotTransfer(
                error.errno, f"no hard link can be made of it ({error.strerror}): use ln_s or cp"
            ) from error
        passed(Step.LINKED)

    def take_back(self, stand_in: int, linked: int) -> None:
        try:
            os.unlink(link_name(stand_in), dir_fd=linked)
        except FileNotFoundError:
            return


class _InPlace:
    """The bytes stay where they are, and nothing but their name tells where."""

    name = "ln_s"
    in_place = True
    removes = linked = False

    def check(self, source: int, repository: int) -> None:
        return

    def bring(self, source: int, stand_in: int, linked: int) -> None:
        return

    def take_back(self, stand_in: int, linked: int) -> None:
        return


@cache
def transfers() -> dict[str, Transfer]:
    """Return every transfer by its name, OMERO's first."""
    own: list[Transfer] = [
        _Copying("upload", removes=False),
        _Copying("upload_rm", removes=True),
        _Link("ln", removes=False),
        _Link("ln_rm", removes=True),
        _InPlace(),
        _Copying("cp", removes=False),
        _Copying("cp_rm", removes=True),
        _Reflink("reflink", removes=False),
    ]
    others = [point.load()() for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)]
    return {one.name: one for one in (*others, *own)}  # nobody's takes the place of one of OMERO's


def named(name: str) -> Transfer:
    """Return the transfer of that *name*; InvalidValue when there is none."""
    if name not in transfers():
        raise InvalidValue(f"{name!r} is no transfer: there are {', '.join(transfers())}")
    return transfers()[name]


def link_name(stand_in: int) -> bytes:
    """Return what the hard link behind *stand_in* is called in the directory of links."""
    return b"%d" % os.fstat(stand_in).st_ino


def open_link(directory: bytes, inode: int) -> int:
    """Open the hard link behind the stand-in of that *inode* number. FileNotFoundError when there is none."""
    fd = os.open(directory, OPEN_DIRECTORY)
    try:
        return os.open(b"%d" % inode, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    finally:
        os.close(fd)


def _writable(stand_in: int) -> int:
    return os.open(f"/proc/self/fd/{stand_in}", os.O_WRONLY | os.O_CLOEXEC)


def _copy(source: int, target: int) -> None:
    """Copy the whole file *source* to *target*, from the start of both; the offsets do not move."""
    offset = 0
    try:
        while done := os.copy_file_range(source, target, _CHUNK_BYTES, offset, offset):
            offset += done
        if offset or not os.fstat(source).st_size:
            return  # some file systems answer 0 at once where they cannot
    except OSError as error:
        if error.errno not in _CANNOT_RANGE:
            raise
    while data := os.pread(source, _BUFFER_BYTES, offset):
        view = memoryview(data)
        while view:
            done = os.pwrite(target, view, offset)
            view, offset = view[done:], offset + done
