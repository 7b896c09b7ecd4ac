"""What is asked for several times and is to arrive once: at the same time, or soon after with others of its set."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio

from repofs.lifecycle import State
from repofs.model import Arrival, Arrived
from repofs.repository.outside import Root

SOON_SECONDS = 600.0  # in which a command asks for all files of one fileset

_Place = tuple[bytes, Path | str, bytes]  # user directory, directory that was handed over or source, path below it


class Meanwhile:
    """Of the arrivals of one repository."""

    def __init__(self) -> None:
        self._along: dict[_Place, float] = {}  # files that came along with another, until when that counts
        self._in_hand: dict[tuple[_Place, str], trio.Event] = {}

    @asynccontextmanager
    async def alone(self, arrival: Arrival, root: Root | None, fileset: str = "") -> AsyncIterator[None]:
        """Let the same file, or the *fileset* that it is of, arrive once at a time: who asks for it meanwhile waits,
        and then hears of a duplicate, or of the fileset."""
        key = _place(arrival, root, os.path.dirname(arrival.path) if fileset else arrival.path), fileset
        while key in self._in_hand:
            await self._in_hand[key].wait()
        ended = self._in_hand[key] = trio.Event()
        try:
            yield
        finally:
            del self._in_hand[key]
            ended.set()

    @asynccontextmanager
    async def none_in_hand(self, arrival: Arrival, root: Root | None) -> AsyncIterator[None]:
        """Keep those who ask for a file of the set *arrival* from looking at it: it may be removed under their eyes."""
        directory = os.path.dirname(arrival.path)
        async with AsyncExitStack() as stack:
            for name in sorted(arrival.members or ()):
                await stack.enter_async_context(self.alone(replace(arrival, path=os.path.join(directory, name)), root))
            yield

    def note(self, arrival: Arrival, root: Root | None, asked: bytes, ended: Arrived) -> None:
        """Remember which files came along with the one at *asked*: who asks for one of them soon, as a command does
        that names a whole directory, hears of the fileset and not of a duplicate."""
        if ended.state is not State.IMPORTED:
            return
        now = trio.current_time()
        self._along = {place: until for place, until in self._along.items() if until > now}
        directory = os.path.dirname(arrival.path)
        paths = {os.path.join(directory, os.fsencode(name)) for name in ended.files} - {asked}
        self._along |= {_place(arrival, root, path): now + SOON_SECONDS for path in paths}

    def came_along(self, arrival: Arrival, root: Root | None, asked: bytes) -> bool:
        """Whether the file at *asked* came along with another one; that is told once."""
        return self._along.pop(_place(arrival, root, asked), 0.0) > trio.current_time()


def _place(arrival: Arrival, root: Root | None, path: bytes) -> _Place:
    return arrival.user_directory, root.path if root is not None else arrival.source, path
