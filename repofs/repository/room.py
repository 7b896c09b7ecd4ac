"""Room on the repository's disk: users may fill it down to a reserve, with which the repository can go on.

Within the reserve marks are written, what was dropped is imported, and the catalogue commits.
"""

from __future__ import annotations

import os
import time

from repofs.errors import StoreFull

_MOST_RESERVED = 64 << 20  # bytes, where the settings say nothing
_PART_RESERVED = 100  # of the file system, one of so many: where that is less
_LOOK_SECONDS = 0.5  # between two looks, while there is more room than is asked for


class Room:
    """Of the file system of the directory *fd*; *reserve_bytes* as in the settings."""

    def __init__(self, fd: int, reserve_bytes: int | None) -> None:
        self._fd = fd
        self._reserve_bytes = reserve_bytes
        self._left = 0  # bytes, as of the last look, less what was taken since
        self._looks_again = 0.0  # by time.monotonic

    def reserve(self, there: os.statvfs_result) -> int:
        """Return how many bytes are kept free of the file system that is *there*."""
        if self._reserve_bytes is not None:
            return self._reserve_bytes
        return min(_MOST_RESERVED, there.f_blocks * there.f_frsize // _PART_RESERVED)

    def take(self, size: int) -> None:
        """Let a user have *size* bytes more. StoreFull when they would be of the reserve."""
        if size > self._left or time.monotonic() > self._looks_again:
            there = os.fstatvfs(self._fd)
            self._left = there.f_bavail * there.f_frsize - self.reserve(there)
            self._looks_again = time.monotonic() + _LOOK_SECONDS
        if size > self._left:
            raise StoreFull("the disk of the repository is full but for its reserve: remove files, or have it enlarged")
        self._left -= size

    def require_to_import(self) -> None:
        """Raise StoreFull when not even the repository itself should go on: three quarters of the reserve are spent."""
        there = os.fstatvfs(self._fd)
        if there.f_bavail * there.f_frsize < self.reserve(there) // 4:
            raise StoreFull("the disk of the repository is full: make room")
