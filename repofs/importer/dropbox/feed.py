"""From the queue to the pipeline: first come, first served, as many at a time as the machine has use for."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import structlog
import trio

from repofs.catalog.dropbox import File, FileState, Place, Version, forget, put, queued, resume
from repofs.catalog.engine import Engine
from repofs.config import Drops
from repofs.errors import NotFound
from repofs.importer.commits import Commits
from repofs.importer.dropbox.folder import Folder
from repofs.importer.dropbox.looking import Looker
from repofs.importer.dropbox.rules import target
from repofs.importer.dropbox.users import User, require_import
from repofs.lifecycle import State
from repofs.model import KEPT, REMOVED, Arrival, Arrived
from repofs.people import People
from repofs.repository import transfers
from repofs.threads import in_thread

IN_HAND = 64  # files at a time; the pipeline has places of its own for what costs much

Arrive = Callable[[Arrival], Awaitable[Arrived]]
"""Imports a fileset and tells what became of it. Raises OSError when it cannot even be begun."""

Refuse = Callable[[Arrival, str], Awaitable[object]]
"""Has it known to people why a fileset cannot be imported."""

log = structlog.get_logger(__name__)

_ENDED = {State.IMPORTED: FileState.IMPORTED, State.DUPLICATE: FileState.DUPLICATE, State.FAILED: FileState.FAILED}


class Feed:
    """Empties the queue of *folders*, which are given by name."""

    def __init__(
        self,
        folders: Mapping[str, Folder],
        drops: Drops,
        people: Callable[[], People],
        commits: Commits,
        reading: Engine,
        arrive: Arrive,
        refuse: Refuse,
    ) -> None:
        self._folders = folders
        self._drops = drops
        self._people = people
        self._commits = commits
        self._reading = reading
        self._arrive = arrive
        self._refuse = refuse
        self._in_hand: set[Place] = set()
        self._awake = trio.Event()
        for folder in folders.values():
            folder.in_hand = self._in_hand
            folder.queued = self._wake
            folder.failed = functools.partial(self._failed, folder)

    async def run(self, nursery: trio.Nursery) -> None:
        """Import what is in the queue, in tasks of *nursery*, until cancelled: those in hand then are left to it."""
        await self._commits.write(resume, tuple(self._folders))
        while True:
            for file in await self._next():
                self._in_hand.add(file.place)
                nursery.start_soon(self._import, file)
            await self._awake.wait()
            self._awake = trio.Event()

    async def _next(self) -> list[File]:
        """Return the files whose turn it is; none while many are in hand, so that each query fetches many."""
        busy = set(self._in_hand)  # as it was before: what has ended meanwhile may still look queued
        if len(busy) > IN_HAND // 2:
            return []
        waiting = await in_thread(self._queued, IN_HAND + len(busy))
        return [file for file in waiting if file.place not in busy][: IN_HAND - len(busy)]

    def _queued(self, limit: int) -> list[File]:
        with self._reading.begin() as conn:
            return queued(conn, tuple(self._folders), limit)

    def _wake(self) -> None:
        self._awake.set()

    # --- one file --------------------------------------------------------------------------------

    async def _import(self, file: File) -> None:
        folder = self._folders[file.place.dropbox]
        try:
            await self._conclude(folder, file, await self._arrived(folder, file))
        finally:
            self._in_hand.remove(file.place)
            self._wake()

    async def _failed(self, folder: Folder, file: File) -> None:
        try:
            arrival = self._arrival(folder, file)
        except OSError as error:  # whose it would be has gone meanwhile
            log.info("nobody is told", path=file.place.path, error=str(error))
        else:
            await self._refuse(arrival, file.error or "it cannot be imported")

    async def _arrived(self, folder: Folder, file: File) -> Arrived:
        try:
            return await self._arrive(self._arrival(folder, file))
        except OSError as error:
            return Arrived(State.FAILED, error=str(error))

    def _arrival(self, folder: Folder, file: File) -> Arrival:
        user = _user(folder, file)
        require_import(self._people(), user)
        return Arrival(
            user_directory=user.user_directory,
            source=folder.dropbox.name,
            path=file.place.path,
            is_directory=file.is_directory,
            transfer=folder.dropbox.transfer,
            actor_uid=user.uid,
            actor=user.login.decode(errors="backslashreplace"),
            gid=user.gid,
            target=target(file.place.directory),
            waits=True,
            duplicates=self._drops.duplicates,
            skip=self._drops.skip,
        )

    async def _conclude(self, folder: Folder, file: File, arrived: Arrived) -> None:
        """Write down what became of *file*, as it lies there now; nothing of one that has gone."""
        state = _ENDED.get(arrived.state)
        version = await self._version(folder, file, arrived)
        if state is None or version is None:  # somebody writes it, so its clock starts anew; or it has gone
            await self._commits.write(forget, (file.place,))
            folder.look_again(file.place)
            return
        await self._tell_others(folder, file, arrived)
        error = arrived.error if arrived.source in (KEPT, REMOVED) else arrived.source
        if error is not None:
            log.info("not imported, or not removed", dropbox=file.place.dropbox, path=file.place.path, error=error)
        ended = replace(file, state=state, error=error, fileset=arrived.fileset, since="")
        if (
            replace(version, ctime_ns=file.version.ctime_ns) == file.version
        ):  # its bytes are the same: a link changes ctime
            ended = replace(ended, version=version)
        else:
            folder.look_again(file.place)
        await self._commits.write(put, (ended,))

    async def _tell_others(self, folder: Folder, file: File, arrived: Arrived) -> None:
        """Have the files looked at anew that were imported together with *file*: what was said of them is over."""
        names = {os.fsencode(name) for name in arrived.files if arrived.originals} - {file.place.name}
        paths = (os.path.join(file.place.directory, name) for name in names)
        others = [file.place._replace(directory=os.path.dirname(path), name=os.path.basename(path)) for path in paths]
        others = [place for place in others if place not in self._in_hand]
        if others:
            await self._commits.write(forget, others)
        for place in others:
            folder.look_again(place)

    async def _version(self, folder: Folder, file: File, arrived: Arrived) -> Version | None:
        """Return what *file* is by now; None when there is none that could be imported."""
        if arrived.source == REMOVED:
            return None
        if arrived.state is State.IMPORTED and not transfers.named(folder.dropbox.transfer).in_place:
            return file.version  # nothing was done to it, and what others did is found out as ever
        try:
            look = await folder.ask(_user(folder, file), Looker.look, file.place.directory, (file.place.name,))
        except OSError:  # a scan tells what is wrong
            return None
        return next((found.version for found in look.found), None)


def _user(folder: Folder, file: File) -> User:
    login = file.place.directory.partition(b"/")[0]
    user = folder.users().get(login)
    if user is None:
        raise NotFound(f"{login.decode(errors='backslashreplace')} is no experimenter: repofs user add adds one")
    return user
