"""Filesets from outside the mount on their way in: what commands and watched folders ask for.

    opened as who asks ─ not excluded ─ stand-ins in .arriving/N/ ─ the pipeline, as any drop ─ .arriving/N/ removed

A file that is of a fileset of several is found out in the pipeline; it then arrives once more, with the others. The
caller decides who may ask for it (`reception` does so for commands); what may be read is the kernel's to say.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import structlog
import trio

from repofs.catalog.origins import DONE
from repofs.errors import NotFound, RepofsError
from repofs.image import Members
from repofs.importer.gathering import Gathering
from repofs.importer.meanwhile import Meanwhile
from repofs.importer.pipeline import Pipeline
from repofs.importer.preparing import Excluded, Prepared, Preparing
from repofs.importer.turns import Turns
from repofs.lifecycle import State
from repofs.model import REMOVED, Arrival, Arrived
from repofs.people import People
from repofs.repository import as_user, transfers
from repofs.repository.as_user import Caller
from repofs.repository.outside import Root
from repofs.threads import in_thread

PLACES = 64  # arrivals in hand at a time

log = structlog.get_logger(__name__)


class Arrivals:
    """Imports any number of arrivals, in turn between users."""

    def __init__(
        self, pipeline: Pipeline, preparing: Preparing, gathering: Gathering, people: Callable[[], People]
    ) -> None:
        self._pipeline = pipeline
        self._preparing = preparing
        self._gathering = gathering
        self._people = people
        self._turns = Turns(PLACES)
        self._meanwhile = Meanwhile()

    async def take(
        self, arrival: Arrival, *, caller: Caller | None = None, root: Root | None = None, queued: int | None = None
    ) -> Arrived:
        """Import *arrival* and return what became of it.

        *caller* is who asks, else the account of her uid; *root* is the directory that she has handed over, if any;
        *queued* is its row in the catalogue, if any, which is imported with it.
        Raises only what `Pipeline.take` raises.
        """
        try:
            if caller is None:
                caller = await in_thread(as_user.by_account, arrival.actor_uid)
            main = await self._main_of(arrival, caller, root)
        except OSError as error:
            return await self._gone(arrival, root, error) or await self.refuse(arrival, _sentence(error), root)
        if isinstance(main, Arrived):
            return main
        asked, arrival = arrival.path, replace(arrival, path=main or arrival.path)
        async with self._meanwhile.alone(arrival, root), self._turns.turn(arrival.user_directory):
            ended = await self._take(arrival, caller, root, queued)
        if isinstance(ended, Arrived):
            return ended
        async with self._meanwhile.alone(arrival, root, ended.key or ended.main):
            came_along = self._meanwhile.came_along(arrival, root, asked)
            ended = await self._take_whole(arrival, ended, caller, root, queued, came_along=came_along)
            self._meanwhile.note(arrival, root, asked, ended)
        return ended

    async def _main_of(self, arrival: Arrival, caller: Caller, root: Root | None) -> bytes | Arrived | None:
        """Return the main file that names the file of *arrival*, which is then taken in its place, if there is one."""
        if arrival.is_directory:
            return None
        async with self._turns.turn(arrival.user_directory):
            return await self._gathering.main_of(arrival, caller, root)

    async def _take_whole(
        self,
        arrival: Arrival,
        said: Members,
        caller: Caller,
        root: Root | None,
        queued: int | None,
        *,
        came_along: bool,
    ) -> Arrived:
        """Import *arrival* with the files that form one fileset with it, unless it *came along* with one of these."""
        try:
            async with self._turns.turn(arrival.user_directory):
                gathered = await self._gathering.gather(arrival, said, caller, root, came_along=came_along)
        except OSError as error:
            gone = await self._gone(arrival, root, error)
            return gone or replace(await self.refuse(arrival, _sentence(error), root), files=said.names)
        if isinstance(gathered, Arrived):
            return gathered
        async with self._meanwhile.none_in_hand(gathered, root), self._turns.turn(arrival.user_directory):
            ended = await self._take(gathered, caller, root, queued)
        assert isinstance(ended, Arrived), "no reader is asked twice"
        return ended

    async def _gone(self, arrival: Arrival, root: Root | None, error: OSError) -> Arrived | None:
        """Return what became of *arrival* when it is not there because it was imported with others, and removed."""
        known = await self._gathering.removed_before(arrival, root) if isinstance(error, NotFound) else None
        return None if known is None else Arrived(State.IMPORTED, fileset=known, source=REMOVED)

    async def _take(self, arrival: Arrival, caller: Caller, root: Root | None, queued: int | None) -> Arrived | Members:
        """Import *arrival*; or return which files form one fileset with it, if it does not say that."""
        async with self._place() as place:
            prepared = await self._prepared(arrival, caller, root, place)
            if isinstance(prepared, Arrived):
                return prepared
            outcome = await self._pipeline.take(replace(prepared.drop, queued=queued), prepared.fd, root)
            if outcome.members is not None:
                return outcome.members
            return await self._removed_now(arrival, await in_thread(self._preparing.told, prepared, outcome))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[Path]:
        """Lend a place for stand-ins, which are removed then."""
        place = self._preparing.place()
        try:
            yield place
        finally:
            with trio.CancelScope(shield=True):
                await in_thread(shutil.rmtree, place, True)

    async def _prepared(self, arrival: Arrival, caller: Caller, root: Root | None, place: Path) -> Prepared | Arrived:
        """Return *arrival* ready for the pipeline, or what became of it when it cannot be."""
        try:
            return await in_thread(self._preparing.prepare, arrival, caller, root, place)
        except Excluded as error:
            return Arrived(State.DUPLICATE, str(error))
        except OSError as error:
            if (gone := await self._gone(arrival, root, error)) is not None:
                return gone
            reason = _sentence(error)
        except Exception as error:
            log.exception("an arrival failed unexpectedly", path=arrival.path)
            reason = f"the importer failed ({type(error).__name__}): the daemon's log says where"
        return await self.refuse(arrival, reason, root)

    async def refuse(self, arrival: Arrival, error: str, root: Root | None = None) -> Arrived:
        """Have it known to people that *arrival* cannot be imported, by *error*, as of any import that has failed."""
        home = self._people().homes.get(arrival.user_directory)
        if home is None or home.uid is None:
            return Arrived(State.FAILED, error)
        async with self._place() as place:
            drop, fd = await in_thread(self._preparing.without_bytes, arrival, root, place)
            try:
                told = await self._pipeline.refuse(drop, os.dup(fd), error)
                return self._preparing.refused(fd, told, error)
            finally:
                os.close(fd)

    async def _removed_now(self, arrival: Arrival, arrived: Arrived) -> Arrived:
        """Who asks once more for a transfer that removes gets a source removed that was kept the first time."""
        if arrived.state is not State.DUPLICATE or arrived.fileset is None or not arrival.is_one_file:
            return arrived
        if not transfers.named(arrival.transfer).removes:
            return arrived
        how = await self._pipeline.removals.of_kept(arrived.fileset, arrival.source, arrival.path, arrival.actor_uid)
        return arrived if how is None else replace(arrived, source=REMOVED if how == DONE else how)


def _sentence(error: OSError) -> str:
    return error.message if isinstance(error, RepofsError) else f"{error.strerror or error}: try again"
