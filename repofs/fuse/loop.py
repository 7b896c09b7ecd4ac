"""pyfuse3's loop, without a turn of trio's scheduler for each request: it takes the next one that waits already.

pyfuse3 looks trio up as an attribute of its module, which is how `pyfuse3.asyncio.enable` puts another in its place.
Ours differs in two things. Waiting for a request that is there already, or comes in no time, returns without a turn of
the scheduler, some times in a row; then all other tasks have theirs. And the lock of its workers goes to who asks
first: trio's suspends whoever takes it.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pyfuse3
import trio

from repofs.fuse import native

BURST = 64  # requests in a row before other tasks have their turn
NO_TIME_SECONDS = 50e-6  # that a processor is kept for the next request: to go to sleep and to wake takes as long
SOON_SECONDS = 200e-6  # between two requests of somebody who asks one after another


class Lock:
    """One worker at a time waits for a request. Who releases it may take it again before who was woken runs."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        while self._taken:
            await self._waiting.park()
        self._taken = True

    async def __aexit__(self, *_: object) -> None:
        self._taken = False
        self._waiting.unpark()


class Requests:
    """The device of one mount, waited for."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._fd = -1
        self._in_a_row = 0
        self._asks_on = False  # whoever asks now has asked just before

    async def wait_readable(self, fd: int) -> None:
        """Return when a request can be read, without a turn of the scheduler if that is so already, or in no time."""
        if fd != self._fd:
            self._fd = fd
            self._poll.register(fd, select.POLLIN)
        self._in_a_row += 1
        if self._in_a_row < BURST and (self._poll.poll(0) or (self._asks_on and self._comes())):
            return
        self._in_a_row = 0
        if native is not None:
            native.turn(BURST)
        began = time.perf_counter()
        await trio.lowlevel.wait_readable(fd)
        self._asks_on = time.perf_counter() - began < SOON_SECONDS

    def _comes(self) -> bool:
        """Whether a request comes in no time. Who has something to do on this processor does it meanwhile."""
        end = time.perf_counter() + NO_TIME_SECONDS
        while time.perf_counter() < end:
            os.sched_yield()
            if self._poll.poll(0):
                return True
        return False


@contextmanager
def in_bursts() -> Iterator[None]:
    """Have `pyfuse3.main` take requests in bursts within the context."""
    module: Any = pyfuse3
    lowlevel = SimpleNamespace(**{**vars(trio.lowlevel), "wait_readable": Requests().wait_readable})
    module.trio = SimpleNamespace(**{**vars(trio), "Lock": Lock, "lowlevel": lowlevel})
    try:
        yield
    finally:
        module.trio = trio
