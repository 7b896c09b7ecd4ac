"""A number of places, given in turn between users: whose files are large must not hold up whose are small."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from repofs.importer.queue import FairQueue


class Turns:
    """At most *places* at a time, never all of them one user's: hers may be huge, or lie in a store that hangs."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._share = max(1, places - 1)
        self._held: Counter[bytes] = Counter()
        self._queue = FairQueue()
        self._calls: dict[int, trio.Event] = {}
        self._numbers = itertools.count()

    @asynccontextmanager
    async def turn(self, user: bytes) -> AsyncIterator[None]:
        """Wait for a place of *user*'s own, and hold it."""
        number, call = next(self._numbers), trio.Event()
        self._calls[number] = call
        self._queue.put(user, number)
        self._fill()
        try:
            await call.wait()
            yield
        finally:
            del self._calls[number]
            self._queue.remove(number)
            if call.is_set():
                self._free += 1
                self._held[user] -= 1
            self._fill()

    def _fill(self) -> None:
        while self._free and (next_one := self._queue.pop(passed_over=self._sated())):
            user, number = next_one
            self._free -= 1
            self._held[user] += 1
            self._calls[number].set()

    def _sated(self) -> list[bytes]:
        self._held = +self._held
        return [user for user, held in self._held.items() if held >= self._share]
