"""Making directories and small files durable, and renameat2(2), which Python lacks."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
_SYNC_FILE_RANGE_WRITE = 2  # of sync_file_range(2), which Python lacks too
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Path = str | bytes | os.PathLike[str]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


def rename_no_replace(old: bytes, new: bytes, *, old_dir_fd: int, new_dir_fd: int) -> None:
    """Rename *old* to *new* unless that exists (FileExistsError; other OSErrors as rename(2) has them)."""
    if _libc.renameat2(old_dir_fd, old, new_dir_fd, new, RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(new))


def sync_directory(path: Path, *, dir_fd: int | None = None) -> None:
    """Make the names in the directory *path* durable."""
    fd = os.open(path, OPEN_DIRECTORY, dir_fd=dir_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_new(path: Path, content: bytes, mode: int, *, dir_fd: int | None = None) -> None:
    """Make the file *path*, durable but for its name; FileExistsError when it is there already."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    with open(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(content)
        file.flush()
        os.fsync(fd)


def write_whole(path: Path, content: bytes, new: Path | None = None) -> None:
    """Write the file *path*, its owner's only and durable, so that it is always whole: as it was, or as it is to be.

    The directory that it lies in is made, not those above. One that writes it at a time. Until it is whole it is
    called *new* (None: its name with a dot before it), and stays there when the writer dies.
    """
    directory, name = os.path.split(os.fsencode(path))
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
        sync_directory(os.path.dirname(directory) or b".")
    unfinished = os.path.join(directory, b"." + name) if new is None else os.fsencode(new)
    with suppress(FileNotFoundError):
        os.unlink(unfinished)  # of a writer that has died
    write_new(unfinished, content, 0o600)
    os.rename(unfinished, path)
    sync_directory(directory)


def own(fd: int, uid: int, gid: int, mode: int) -> None:
    """Give the inode of *fd* to *uid* and *gid* with *mode*.

    Changes only what differs: an ordinary user may not even chown to what already is.
    """
    status = os.fstat(fd)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.fchown(fd, uid, gid)
    os.fchmod(fd, mode)


def begin_to_write(fd: int, offset: int = 0, count: int = 0) -> None:
    """Have the disk begin with *count* bytes of the file of *fd* (0: all that follow *offset*), so that a later fsync
    has less to wait for. What fails is that fsync's to tell."""
    _libc.sync_file_range(fd, offset, count, _SYNC_FILE_RANGE_WRITE)
