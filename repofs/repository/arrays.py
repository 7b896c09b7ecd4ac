"""The directory of a TileDB array in the backing tree, and what lies in it, whoever else renames there meanwhile."""

from __future__ import annotations

import errno
import os
import stat

from repofs.errors import InvalidValue, NotFound, NotPermitted
from repofs.repository.openat2 import beneath

_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO that lies there does not wait for its writer
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY

Listed = tuple[bytes, os.stat_result]


def open_array(managed: int, path: bytes) -> int:
    """Return a descriptor of the array directory at *path* below the backing tree *managed*.

    Raises NotFound; InvalidValue for a file, or a path that leads out, over a symlink or into another mount.
    """
    if not path or b"\0" in path:
        raise InvalidValue(f"{os.fsdecode(path)!r} is no path of an array")
    return _opened(managed, path, _DIRECTORY)


def open_in(array: int, below: bytes, *, directory: bool) -> int:
    """Return a descriptor, for reading, of the file or *directory* at *below* in an array; b"" is the array itself.

    Raises as `open_array` does, and NotPermitted for a FIFO, a socket or a device.
    """
    fd = _opened(array, below or b".", _DIRECTORY if directory else _READING)
    if not directory and not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotPermitted(f"{os.fsdecode(below)!r} is no file")
    return fd


def status_in(array: int, below: bytes) -> os.stat_result:
    """Return the status of the file or directory at *below*. NotFound for anything else, which is not shown."""
    fd = _opened(array, below or b".", os.O_PATH)
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise NotFound("an array has files and directories only: others are not shown")
    return status


def list_in(array: int, below: bytes) -> list[Listed]:
    """Return the files and directories in the directory *below*, by name; what vanishes meanwhile is not in it."""
    fd = open_in(array, below, directory=True)
    try:
        found = []
        for name in sorted(os.fsencode(name) for name in os.listdir(fd)):
            try:
                found.append((name, status_in(fd, name)))
            except (NotFound, InvalidValue):  # gone since it was listed; a symlink, a device, another mount
                continue
        return found
    finally:
        os.close(fd)


def _opened(directory: int, path: bytes, flags: int) -> int:
    where = repr(os.fsdecode(path))
    try:
        return beneath(directory, path, flags)
    except FileNotFoundError:
        raise NotFound(f"{where} is not there") from None
    except NotADirectoryError:
        raise InvalidValue(f"{where} is not a directory") from None
    except OSError as error:
        match error.errno:
            case errno.ELOOP:
                raise InvalidValue(f"{where} leads over a symbolic link: name the place that it leads to") from None
            case errno.EXDEV:
                raise InvalidValue(f"{where} leads out of the directory that it is looked up in") from None
            case errno.ENXIO | errno.ENODEV:
                raise NotPermitted(f"{where} is no file") from None
        raise
