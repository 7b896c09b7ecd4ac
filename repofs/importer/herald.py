"""Tells the mount what has ended: from the catalogue, once it is committed, in the order of commits."""

from __future__ import annotations

from contextlib import suppress

import trio

from repofs.catalog import news
from repofs.catalog.engine import Engine
from repofs.events import RECENT, News
from repofs.importer.commits import Bell
from repofs.importer.wire import Channel, Hangup, Happened
from repofs.threads import in_thread

GATHER_SECONDS = 0.2  # that the first of several waits for others


class Herald:
    def __init__(self, channel: Channel, catalogue: Engine, committed: Bell) -> None:
        self._channel = channel
        self._catalogue = catalogue
        self._committed = committed

    async def run(self) -> None:
        """Tell the recent news, then what is new, until cancelled or the mount has gone."""
        number = await in_thread(self._begin)
        with suppress(Hangup):  # the receiving side sees it too, and ends all
            while True:
                committed = self._committed.next
                fresh = await in_thread(self._after, number)
                if fresh:
                    number = fresh[-1].number
                    await self._channel.send(Happened(tuple(fresh)))
                else:
                    await committed.wait()
                    await trio.sleep(GATHER_SECONDS)

    def _begin(self) -> int:
        with self._catalogue.begin() as conn:
            return news.newest(conn) - RECENT  # or fewer: an import that has newer news is not told twice

    def _after(self, number: int) -> list[News]:
        with self._catalogue.begin() as conn:
            return news.after(conn, number)
