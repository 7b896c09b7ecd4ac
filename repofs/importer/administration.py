"""People and groups in the importer process: requests are seen to, one at a time, and the mount hears who there is."""

from __future__ import annotations

import errno
import json
from contextlib import suppress

import structlog
import trio

from repofs.administration.office import Office
from repofs.administration.roster import Roster
from repofs.errors import RepofsError
from repofs.importer.wire import Administer, Answer, Channel, Hangup, PeopleAre, Ready
from repofs.people import People
from repofs.threads import in_thread

log = structlog.get_logger(__name__)


class Administration:
    """Tells the mount what the office knows, and only what differs from before."""

    def __init__(self, channel: Channel, office: Office, refresh_seconds: float) -> None:
        self._channel = channel
        self._office = office
        self._refresh_seconds = refresh_seconds
        self._told: People | None = None
        self._doubts: frozenset[str] = frozenset()
        self._turn = trio.Lock()  # the office serves one thread at a time, and news go in the order in which they came
        self._life = trio.CancelScope()

    async def begin(self) -> None:
        """Tell the mount that all is ready, and who there is: the first that it hears."""
        with suppress(Hangup):  # the receiving side sees it too, and ends all
            await self._tell(self._office.roster)

    async def run(self) -> None:
        """Ask the machine and the catalogue again and again until `end`."""
        with self._life, suppress(Hangup):
            while True:
                await trio.sleep(self._refresh_seconds)
                async with self._turn:
                    await self._tell(await in_thread(self._office.refreshed, abandon_on_cancel=True))

    def end(self) -> None:
        """Let `run` come to its end. Requests in hand are finished."""
        self._life.cancel()

    async def see_to(self, asked: Administer) -> None:
        """See to one request, tell the mount who there is then, and answer."""
        with suppress(Hangup):
            async with self._turn:
                answer = await self._answer(asked)
                await self._tell(self._office.roster)
                await self._channel.send(answer)

    async def _answer(self, asked: Administer) -> Answer:
        try:
            facts = await in_thread(self._office.see_to, asked.request, asked.uid, asked.audit_uid)
        except RepofsError as error:
            return Answer(asked.id, None, error.message, error.code)
        except OSError as error:  # the kernel's: no room for a user directory
            return Answer(asked.id, None, str(error), error.errno or errno.EIO)
        return Answer(asked.id, json.dumps(facts))

    async def _tell(self, roster: Roster) -> None:
        doubts = frozenset(roster.doubts)
        for doubt in doubts - self._doubts:
            log.warning("people", doubt=doubt)
        self._doubts = doubts
        if self._told is None:
            await self._channel.send(Ready(roster.people))
        elif roster.people != self._told:
            await self._channel.send(PeopleAre(roster.people))
        self._told = roster.people
