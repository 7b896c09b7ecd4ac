"""The lock of a repository: one daemon, or one repair, at a time. The kernel lets go of it with the process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from repofs.errors import Busy
from repofs.repository.layout import Layout

log = structlog.get_logger()


@contextmanager
def held(layout: Layout, doing: str) -> Iterator[None]:
    """Hold the lock; *doing* says what for: "has mounted it on /mnt". Busy when somebody else does, and what for."""
    fd = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "r+", encoding="utf-8", errors="surrogateescape") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, what = lock.read().partition("\n")
            raise Busy(f"{layout.root} is in use: process {pid} {what.strip()}") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n{doing}\n")
        lock.flush()
        yield
        try:
            lock.truncate(0)
        except OSError as error:  # of a disk that has failed; the kernel lets go of the lock all the same
            log.warning("the lock keeps the name of this process", error=str(error))
