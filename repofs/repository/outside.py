"""Opening files outside the repository, beneath a declared root, with the caller's own rights.

A path is looked at once, by the kernel, which hands out a descriptor or refuses (openat2(2)). What that is, is asked
of the descriptor: between a check and a use nobody can swap a directory for a symlink, because there is no between.

A symlink anywhere below the root is refused, also one that stays beneath it: what is imported in place has to be
found again by its name, and a link can be turned by whoever owns it without a change to the file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType

from repofs.errors import AccessDenied, Busy, ChangedWhileReading, InvalidValue, NotFound, NotPermitted
from repofs.model import Identity
from repofs.repository.as_user import Caller, acting_as
from repofs.repository.openat2 import beneath
from repofs.repository.trees import remove_empty

_AT_EMPTY_PATH, _AT_EACCESS, _AT_FDCWD = 0x1000, 0x200, -100
_MAX_HANDLE_BYTES = 128
_OPEN_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class _FileHandle(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint), ("type", ctypes.c_int), ("handle", ctypes.c_ubyte * _MAX_HANDLE_BYTES))


_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_LOOK = os.O_PATH  # the thing itself, be it a symlink, without opening it
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Opened:
    """A file or directory open for reading. To be closed, be it by `with`.

    A directory's descriptor says nothing of the rights to what is in it: open that by its own path below the root.
    """

    fd: int
    identity: Identity

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Root:
    """A directory that the settings declare as a source, or that somebody has opened and handed over, held fast by a
    descriptor. To be closed, be it by `with`."""

    name: str  # "": handed over
    path: Path
    fd: int  # O_PATH: it can be looked up from, not read
    repository: bytes  # where the repository really is: nothing in there is outside

    @classmethod
    def open(cls, name: str, path: Path, *, repository: Path) -> Root:
        """Open the root; symlinks on the way to it are the administrator's and are followed.

        Raises NotFound when *path* is not there or no directory, InvalidValue when it is relative or in *repository*.
        """
        if not path.is_absolute():
            raise InvalidValue(f"the source {name} = {path}: write a path that starts with /")
        try:
            fd = os.open(path, _OPEN_ROOT)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"the source {name} = {path} is not a directory: make it, or mount it") from error
        root = cls(name, path, fd, _really(repository))
        if _lies_in(fd, root.repository):
            root.close()
            raise InvalidValue(f"the source {name} = {path} lies in the repository: a source is outside")
        return root

    @classmethod
    def given(cls, fd: int, path: Path, *, repository: Path) -> Root:
        """Return the directory that is open as *fd*, which is then this object's; who has opened it says *path*.

        Raises InvalidValue when it is no directory, or lies in *repository*; *fd* is closed then.
        """
        root = cls("", path, fd, _really(repository))
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                raise InvalidValue(f"{path} is not a directory")
            if _lies_in(fd, root.repository):
                raise InvalidValue(f"{path} lies in the repository: name a directory outside")
        except BaseException:
            root.close()
            raise
        return root

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Root:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_beneath(root: Root, path: bytes, caller: Caller | None, *, directory: bool | None = False) -> Opened:
    """Open the file (or *directory*; None: either) at *path* below *root* for reading, as *caller*; ``.`` is the root
    itself. Without a caller it is opened with the daemon's own rights: for a file that somebody was let to before.

    Raises AccessDenied when the caller may not read it, or reach it or the root; NotFound; NotPermitted for a FIFO,
    socket or device; Busy while a lease is on it; InvalidValue for a path that has ``..``, starts with ``/``, leads
    over a symlink, into another mount or into the repository, or to a file where a directory is asked for, and the
    reverse; OSError.
    """
    where = _where(root, path)
    fd = _opened(root, path, caller, _READ)
    try:
        status = os.fstat(fd)
        _check_kind(status.st_mode, where, directory=directory)
        if _lies_in(fd, root.repository):
            raise InvalidValue(f"{where} is in the repository: name a file outside")
        return Opened(fd, _identity(fd, status))
    except BaseException:
        os.close(fd)
        raise


def look_beneath(root: Root, path: bytes, caller: Caller | None) -> int:
    """Return an O_PATH descriptor of what lies at *path* below *root*, reached as *caller*: of a symlink, of the link.

    Raises as `open_beneath` does, but says nothing of the right to read it.
    """
    return _opened(root, path, caller, _LOOK)


def _opened(root: Root, path: bytes, caller: Caller | None, flags: int) -> int:
    where = _where(root, path)
    if not path or path.startswith(b"/") or b"\0" in path or b".." in path.split(b"/"):
        raise InvalidValue(f"{where}: write a path below {root.path}, without ..")
    with _acting_as(caller):
        if caller is not None:
            _reach(root, caller)
        return _open(root, path, caller, where, flags)


def remove_beneath(root: Root, path: bytes, identity: Identity, caller: Caller) -> None:
    """Unlink the file at *path* below *root* as *caller*, durably where its directory can be synced.

    Raises ChangedWhileReading unless it is the file of *identity*, of the same size and mtime; NotFound; AccessDenied.
    Between that look and the unlink somebody may rename another file to its place in the same directory: POSIX has no
    way to unlink an inode.
    """
    parent, _, name = path.rpartition(b"/")
    with open_beneath(root, parent or b".", caller, directory=True) as directory:
        here = replace(root, fd=directory.fd)  # not by the path again: another directory may have its name by now
        with open_beneath(here, name, None) as file:
            if not is_same(file.identity, identity):
                raise ChangedWhileReading(f"{_where(root, path)} is not the file that was imported")
        with acting_as(caller):
            try:
                os.unlink(name, dir_fd=directory.fd)
            except PermissionError as error:
                raise AccessDenied(f"{_where(root, path)}: uid {caller.uid} may not remove it") from error
        with suppress(OSError):  # it is removed; should a power cut bring it back, nothing is lost
            os.fsync(directory.fd)


def remove_empty_beneath(root: Root, path: bytes, caller: Caller) -> None:
    """Remove the directory at *path* below *root*, and those in it, as *caller*, as far as nothing is in them."""
    with open_beneath(root, path, caller, directory=True) as directory:
        below = [os.fsencode(entry.name) for entry in os.scandir(directory.fd) if entry.is_dir(follow_symlinks=False)]
    for name in below:
        remove_empty_beneath(root, path + b"/" + name, caller)
    parent, _, name = path.rpartition(b"/")
    with open_beneath(root, parent or b".", caller, directory=True) as above, acting_as(caller):
        remove_empty(name, dir_fd=above.fd)


def require_removable(root: Root, path: bytes, caller: Caller) -> None:
    """Refuse (AccessDenied) who could not unlink the file at *path* below *root*; says nothing of what will be then."""
    parent, _, name = path.rpartition(b"/")
    with open_beneath(root, parent or b".", caller, directory=True) as directory:
        with acting_as(caller):
            may = _libc.faccessat(directory.fd, b".", os.W_OK | os.X_OK, _AT_EACCESS) == 0
        above, file = os.fstat(directory.fd), os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    sticky = above.st_mode & stat.S_ISVTX and caller.uid not in (0, above.st_uid, file.st_uid)
    if not may or sticky:
        raise AccessDenied(f"{_where(root, path)}: uid {caller.uid} may not remove it, which this transfer does")


def require_linkable(opened: Opened, root: Root, path: bytes, caller: Caller) -> None:
    """Refuse (AccessDenied) a hard link of somebody else's file to who could not write it: its owner would never get
    rid of the bytes. The same rule as the kernel's for everybody, proc(5), fs.protected_hardlinks."""
    if caller.uid in (0, os.fstat(opened.fd).st_uid):
        return
    with acting_as(caller):
        may = _libc.faccessat(_AT_FDCWD, b"/proc/self/fd/%d" % opened.fd, os.R_OK | os.W_OK, _AT_EACCESS) == 0
    if not may:
        raise AccessDenied(f"{_where(root, path)} is not uid {caller.uid}'s to link: use ln_s, or cp")


def is_same(now: Identity, before: Identity) -> bool:
    """Whether *now* is the file that *before* was, with the same size and mtime.

    Not by its device, which has another number when its file system is mounted again, nor by ctime: a chmod, a link or
    its removal change that, and no bytes.
    """
    return is_same_inode(now, before) and (now.size, now.mtime_ns) == (before.size, before.mtime_ns)


def is_same_inode(now: Identity, before: Identity) -> bool:
    """Whether *now* is the file that *before* was, whatever has been written to it since."""
    return now.inode == before.inode and (now.handle == before.handle or not (now.handle and before.handle))


def _where(root: Root, path: bytes) -> str:
    return f"{os.fsdecode(path)!r} in {f'the source {root.name}' if root.name else root.path}"


def _acting_as(caller: Caller | None) -> AbstractContextManager[None]:
    return nullcontext() if caller is None else acting_as(caller)


@cache
def _really(repository: Path) -> bytes:
    """Return where *repository* is, without symlinks: it is not moved while a process has it."""
    return os.fsencode(repository.resolve())


def identity_of(fd: int) -> Identity:
    """Return the identity, as of now, of the file that is open as *fd*."""
    return _identity(fd, os.fstat(fd))


def _identity(fd: int, s: os.stat_result) -> Identity:
    return Identity(s.st_dev, s.st_ino, _handle(fd), s.st_size, s.st_mtime_ns, s.st_ctime_ns)


def _reach(root: Root, caller: Caller) -> None:
    """Refuse a caller who cannot come to the root by its path: a closed directory above it closes what is below.

    Who has handed over the directory has come to it.
    """
    if not root.name:
        return
    try:
        fd = os.open(root.path, _OPEN_ROOT)
    except PermissionError as error:
        raise AccessDenied(f"uid {caller.uid} may not enter {root.path}, the source {root.name}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"the source {root.name} = {root.path} is away") from error
    try:
        if not os.path.sameopenfile(fd, root.fd):
            raise NotFound(f"the source {root.name} = {root.path} is another directory than at start: start again")
    finally:
        os.close(fd)


def _open(root: Root, path: bytes, caller: Caller | None, where: str, flags: int) -> int:
    try:
        return beneath(root.fd, path, flags)
    except OSError as error:
        raise _refusal(error.errno or errno.EIO, caller, where) from None


def _refusal(code: int, caller: Caller | None, where: str) -> OSError:
    match code:
        case errno.EACCES:
            who = "the daemon" if caller is None else f"uid {caller.uid}"
            return AccessDenied(f"{where}: {who} may not read it: ask its owner")
        case errno.ENOENT | errno.ENOTDIR:
            return NotFound(f"{where} is not there")
        case errno.ELOOP:
            return InvalidValue(f"{where} leads over a symbolic link: name the place that it leads to")
        case errno.EXDEV:
            return InvalidValue(f"{where} is in another mount: have it declared as a source of its own")
        case errno.ENAMETOOLONG:
            return InvalidValue(f"{where} is too long a name")
        case errno.ENXIO | errno.ENODEV:
            return _not_a_file(where)
        case errno.EAGAIN:
            return Busy(f"{where} is held by a program that has a lease on it: try again")
    return OSError(code, os.strerror(code), where)


def _check_kind(mode: int, where: str, *, directory: bool | None) -> None:
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise _not_a_file(where)
    if directory and not stat.S_ISDIR(mode):
        raise InvalidValue(f"{where} is a file, not a directory")
    if directory is False and not stat.S_ISREG(mode):
        raise InvalidValue(f"{where} is a directory, not a file")


def _not_a_file(where: str) -> NotPermitted:
    return NotPermitted(f"{where} is a FIFO, a socket or a device: only files have bytes to import")


def _lies_in(fd: int, directory: bytes) -> bool:
    """Return whether what is open as *fd* was reached in *directory*: the kernel knows the way by which it came."""
    place = os.readlink(b"/proc/self/fd/%d" % fd)
    return place == directory or place.startswith(directory + b"/")


def _handle(fd: int) -> bytes:
    """Return type and bytes of the file handle; b"" on a file system that has none."""
    handle = _FileHandle(_MAX_HANDLE_BYTES)
    if _libc.name_to_handle_at(fd, b"", ctypes.byref(handle), ctypes.byref(ctypes.c_int()), _AT_EMPTY_PATH) != 0:
        if (code := ctypes.get_errno()) == errno.EOPNOTSUPP:
            return b""
        raise OSError(code, os.strerror(code))
    return bytes(handle)[4 : 8 + handle.size]
