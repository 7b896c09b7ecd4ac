"""Files that are hashed while they are still written, so that at their end only the rest is left to do.

The mount says of a file that it is long and has been written front to back so far. What is in it is hashed, and on its
way to the disk, as it grows. Whether that counts is known at its end: only when nothing was written twice, which the
mount says of it too (`Drop.in_order`).
"""

from __future__ import annotations

import os
import threading
import time

import structlog
import trio

from repofs.repository.checksum import Checksum
from repofs.repository.durable import begin_to_write
from repofs.threads import in_thread

STEP_BYTES = 64 << 20  # at most, before other files have their turn, or the end of the file is seen to
PAUSE_SECONDS = 0.05
IDLE_SECONDS = 60.0  # without growth, after which a file is let go, and hashed whole at its end

log = structlog.get_logger(__name__)


class Ahead:
    """Those of one importer, *most* at a time. `grows` is called on the event loop, `take` in threads."""

    def __init__(self, algorithm: str, most: int) -> None:
        self._algorithm = algorithm
        self._most = most
        self._growing: dict[tuple[int, int], _Growing] = {}
        self._some = trio.Event()

    def grows(self, fd: int) -> None:
        """Begin with the file of *fd*, which is ours to close; not when there are enough."""
        key = _key(fd)
        if len(self._growing) >= self._most or key in self._growing:
            os.close(fd)
            return
        self._growing[key] = _Growing(fd, Checksum(self._algorithm))
        self._some.set()

    def take(self, fd: int, algorithm: str) -> Checksum | None:
        """Return how far the file of *fd* is hashed, for the caller to go on with; None: not at all, or otherwise.

        It is not hashed ahead any more.
        """
        growing = self._growing.pop(_key(fd), None)
        if growing is None:
            return None
        growing.end()
        return growing.checksum if algorithm == self._algorithm else None

    async def run(self) -> None:
        """Hash until cancelled."""
        try:
            while True:
                await self._some.wait()
                for key, growing in list(self._growing.items()):
                    if not await in_thread(growing.go_on):
                        self._growing.pop(key, None)
                        growing.end()
                if not self._growing:
                    self._some = trio.Event()
                await trio.sleep(PAUSE_SECONDS)
        finally:
            for growing in self._growing.values():
                growing.end()


class _Growing:
    def __init__(self, fd: int, checksum: Checksum) -> None:
        self.checksum = checksum
        self._fd: int | None = fd
        self._grown = time.monotonic()
        self._lock = threading.Lock()

    def go_on(self) -> bool:
        """Hash what has come, and have the disk begin with it; False when it is not worth it any more."""
        with self._lock:
            if self._fd is None:
                return False
            begin = self.checksum.offset
            try:
                self.checksum.read_on(self._fd, most=STEP_BYTES)
                count = self.checksum.offset - begin
                begin_to_write(self._fd, begin, count)
                there = os.fstat(self._fd).st_nlink > 0
            except OSError as error:  # it will be met again when the file is read whole
                log.warning("a file cannot be hashed while it is written", error=str(error))
                return False
            if count:
                self._grown = time.monotonic()
            return there and time.monotonic() - self._grown < IDLE_SECONDS

    def end(self) -> None:
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None


def _key(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
