"""What the kernel keeps is the machine's: tests that count what it asks for, and tests that drop it, take turns."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_DROP = Path("/proc/sys/vm/drop_caches")
PAGES, NAMES = "1", "2"


@contextlib.contextmanager
def _turn(how: int) -> Iterator[None]:
    tests = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(tests, how)
        yield
    finally:
        os.close(tests)


def kept() -> contextlib.AbstractContextManager[None]:
    """Nothing is dropped meanwhile."""
    return _turn(fcntl.LOCK_SH)


def drop(what: str) -> None:
    """Have the kernel forget what it keeps without need: PAGES of files, or NAMES with the inodes of them."""
    with _turn(fcntl.LOCK_EX):
        _DROP.write_text(what)
