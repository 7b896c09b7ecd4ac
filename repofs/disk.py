"""The file system of a directory: made durable with one call, and asked whether it has not gone.

fsync(2) may return 0 for what is lost: on ext4, in the moment in which the file system shuts itself down, when another
thread had its commit of the journal under way (13 of 120 cuts, Linux 6.18). syncfs(2) did so always before Linux 6.15.
From that moment on no file of it is read: not even no bytes at all, which costs nothing to ask for (0 of 240 cuts).
"""

from __future__ import annotations

import ctypes
import os
from types import TracebackType

from repofs.errors import is_store_failure

_libc = ctypes.CDLL(None, use_errno=True)


class Disk:
    """Of the directory *path*, below the descriptor *dir_fd*."""

    def __init__(self, path: str | bytes | os.PathLike[str], dir_fd: int | None = None) -> None:
        # Kept open: Linux tells an error of writing back once, to the descriptors that are open when it comes.
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
        self._file = _unnamed(self.fd)

    def sync(self) -> None:
        """Make everything on it durable: cheaper than many fsyncs. Raises OSError."""
        if _libc.syncfs(self.fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self.require()

    def require(self) -> None:
        """Raise OSError when it has shut itself down: what a sync has said just before is not to be relied on."""
        if self._file is not None:
            os.pread(self._file, 0, 0)

    def close(self) -> None:
        os.close(self.fd)
        if self._file is not None:
            os.close(self._file)

    def __enter__(self) -> Disk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, way: TracebackType | None
    ) -> None:
        self.close()


def _unnamed(directory: int) -> int | None:
    """Return a file without a name there, or None where there can be none: it is full, or knows no such files."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        if is_store_failure(error):
            raise
        return None
