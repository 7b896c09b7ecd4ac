"""Reading very much without being in anybody's way: at the lowest priority for the disk, within a budget, and leaving
the page cache to those whose files are in it."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Pace = Callable[[int], None]
"""Told how many bytes were just read; returns when reading may go on, or raises what ends it."""

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_GET = {"x86_64": 252, "aarch64": 31}
_WHO_THREAD = 1  # IOPRIO_WHO_PROCESS: with 0 the calling thread, and the threads that it starts
_IDLE = 3 << 13  # ioprio_set(2): IOPRIO_CLASS_IDLE
_NOT_CACHED = (errno.EAGAIN, errno.EOPNOTSUPP)  # the second: of a file system that cannot tell

_syscall = ctypes.CDLL(None, use_errno=True).syscall


@contextmanager
def idle_priority() -> Iterator[None]:
    """Let the calling thread read only when the disk has nothing else to do, as far as its scheduler heeds that."""
    machine = platform.machine()
    before = _syscall(_IOPRIO_GET[machine], _WHO_THREAD, 0)
    _syscall(_IOPRIO_SET[machine], _WHO_THREAD, 0, _IDLE)
    try:
        yield
    finally:
        _syscall(_IOPRIO_SET[machine], _WHO_THREAD, 0, before)


class Budget:
    """So many bytes a second, over all threads that read."""

    def __init__(self, bytes_per_second: float | None) -> None:
        """None: as fast as it goes."""
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0  # time.monotonic() seconds

    def spend(self, count: int) -> float:
        """Return how many seconds who has read *count* bytes is to wait."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            return self._free_at - now


class GentleReader:
    """Reads as `os.preadv` with one buffer, and keeps nothing in the page cache that was not in it before."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def __call__(self, fd: int, buffer: memoryview, offset: int) -> int:
        """Fill *buffer* from *offset* and return how many bytes have come, 0 at the end.

        Raises OSError, and what the pace raises.
        """
        if offset == 0:  # no reading ahead: it could not be told from what others have had read
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        count = _cached(fd, buffer, offset)
        if count < len(buffer):
            fresh = os.preadv(fd, [buffer[count:]], offset + count)
            if fresh:
                os.posix_fadvise(fd, offset + count, fresh, os.POSIX_FADV_DONTNEED)
            count += fresh
        self._pace(count)
        return count


def _cached(fd: int, buffer: memoryview, offset: int) -> int:
    """Read what is in the page cache, as far as it goes."""
    try:
        return os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno not in _NOT_CACHED:
            raise
        return 0
