"""What the importer process tells the mount, which counts bytes: what is about to come, and what has changed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress

import trio

from repofs.catalog import holdings
from repofs.catalog.engine import Engine
from repofs.errors import QuotaExceeded
from repofs.importer.wire import Channel, Coming, Counted, Hangup, Holdings, Room
from repofs.quotas import Held, summed
from repofs.threads import in_thread


class Counting:
    """Of one life of the importer process."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count(1)
        self._asked: dict[int, trio.Event] = {}
        self._answers: dict[int, Room] = {}
        self._changes: list[Held] = []  # that are not told yet
        self._inodes: list[int] = []
        self._added = trio.Event()

    async def begin(self, catalogue: Engine, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell the mount all that originals hold now, however long that is summed. Started when changes may come."""

        def sum_up() -> list[Held]:
            with catalogue.begin() as conn:
                holdings.fix(conn)
                trio.from_thread.run_sync(task_status.started)
                return holdings.held(conn)

        with suppress(Hangup):  # the receiving side sees it too, and ends all
            await self._channel.send(Holdings(tuple(await in_thread(sum_up))))

    async def come(self, held: Held) -> None:
        """Return when the bytes that *held* says are coming have been counted. Raises QuotaExceeded.

        Who calls tells afterwards that they come no more, whatever became of them.
        """
        number = next(self._numbers)
        self._asked[number] = asked = trio.Event()
        try:
            await self._channel.send(Coming(number, held))
            await asked.wait()
        except Hangup:
            await trio.sleep_forever()  # this process ends
        finally:
            del self._asked[number]
        refusal = self._answers.pop(number).refusal
        if refusal is not None:
            raise QuotaExceeded(refusal)

    def answered(self, room: Room) -> None:
        """Take in the mount's answer."""
        if room.id in self._asked:
            self._answers[room.id] = room
            self._asked[room.id].set()

    def add(self, changes: Sequence[Held], inodes: Sequence[int] = ()) -> None:
        """Have it told what is held more or less; *inodes* are those of files that were drops and are originals now."""
        self._changes += changes
        self._inodes += inodes
        self._added.set()

    async def run(self) -> None:
        """Tell what is added, until cancelled."""
        while True:
            await self._added.wait()
            self._added = trio.Event()
            await self.tell()

    async def tell(self) -> None:
        """Tell all that was added, in one message, before whatever is sent next."""
        if not self._changes:
            return
        counted = Counted(tuple(summed(self._changes)), tuple(self._inodes))
        self._changes, self._inodes = [], []
        with suppress(Hangup):
            await self._channel.send(counted)
