"""The daemon of a repository, as its lock names it: to wait for its end."""

from __future__ import annotations

import fcntl
import os
import select
from pathlib import Path

from repofs.cli.exit_codes import Timeout

END_SECONDS = 30.0  # a daemon finishes what is in hand within 10


def find(lock: Path) -> int | None:
    """Return a pidfd of the process that holds *lock*; None when nobody does, or the daemon is somebody else's."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _process(os.pread(descriptor, 64, 0))
    finally:
        os.close(descriptor)
    return None


def _process(text: bytes) -> int | None:
    try:
        return os.pidfd_open(int(text.split()[0]))
    except (IndexError, ProcessLookupError):  # it is just beginning, or ending: there is nothing to wait for
        return None


def wait_end(pidfd: int) -> None:
    """Wait until the process has ended and close *pidfd*; Timeout after END_SECONDS."""
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(END_SECONDS * 1000):
            raise Timeout(f"unmounted, but the daemon has not ended in {END_SECONDS:.0f} s: see daemon.log")
    finally:
        os.close(pidfd)
