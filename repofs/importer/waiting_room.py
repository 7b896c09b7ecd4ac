"""Arrivals that nobody waits for (`repofs import --no-wait`): kept in the catalogue until they have been seen to.

What was imported is not queued any more with the same commit. After a crash or a restart the others are offered again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog
import trio

from repofs.catalog import arrivals
from repofs.catalog.arrivals import Queued
from repofs.catalog.engine import Connection, Engine
from repofs.errors import Busy
from repofs.importer.arrivals import Arrivals
from repofs.importer.commits import Commits
from repofs.lifecycle import State
from repofs.model import Arrival, Arrived
from repofs.threads import in_thread

AGAIN_SECONDS = 30.0  # before a source that is being written is looked at again

log = structlog.get_logger(__name__)


class WaitingRoom:
    """Hands on what is queued."""

    def __init__(self, taking: Arrivals, commits: Commits, catalogue: Engine) -> None:
        self._taking = taking
        self._commits = commits
        self._catalogue = catalogue
        self._send, self._receive = trio.open_memory_channel[Queued](math.inf)  # as many as the catalogue has, not more

    async def queue(self, arrival: Arrival) -> int:
        """Return the number of *arrival*; from then on it is certain to be seen to. Busy when it cannot be kept now."""
        try:
            number = await self._commits.write(_queue, arrival)
        except Exception as error:
            log.exception("an arrival could not be queued")
            raise Busy(f"the catalogue cannot be written now: {error}") from error
        self._send.send_nowait(Queued(number, arrival))
        return number

    async def run(self) -> None:
        """See to what is queued, what an earlier life has left first, until cancelled."""
        async with trio.open_nursery() as nursery:
            for one in await in_thread(self._left):
                nursery.start_soon(self._see_to, one)
            async for one in self._receive:
                nursery.start_soon(self._see_to, one)

    def _left(self) -> list[Queued]:
        with self._catalogue.begin() as conn:
            return arrivals.queued(conn)

    async def _see_to(self, one: Queued) -> None:
        arrived = await self._taking.take(one.arrival, queued=one.id)
        while arrived.state is State.SETTLING:
            await trio.sleep(AGAIN_SECONDS)
            arrived = await self._taking.take(one.arrival, queued=one.id)
        if arrived.state is State.FAILED:
            log.warning("an arrival failed", number=one.id, path=one.arrival.path, error=arrived.error)
        await self._commits.write(_ended, (one.id, arrived))


def _queue(conn: Connection, items: Sequence[Arrival]) -> Sequence[int]:
    return [arrivals.queue(conn, arrival) for arrival in items]


def _ended(conn: Connection, items: Sequence[tuple[int, Arrived]]) -> Sequence[None]:
    for number, arrived in items:
        arrivals.ended(conn, number, arrived.state, arrived.error)
    return [None] * len(items)
