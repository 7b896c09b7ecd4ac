"""One watched folder: looked at where something happened, and everywhere once in a while. What is new waits for its
clock and is put into the queue. One task does all this, so nothing here is locked.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
import trio

from repofs.catalog.dropbox import File, FileState, Place, directories, enqueue, files_in, forget, put
from repofs.catalog.dropbox import forget_directories as forget_all
from repofs.catalog.engine import Engine
from repofs.config import Dropbox, Settings
from repofs.errors import NotFound
from repofs.importer.commits import Commits
from repofs.importer.dropbox.clocks import Clocks, Waiting, confirm, failed
from repofs.importer.dropbox.directory import Directory
from repofs.importer.dropbox.looking import Look, Looker
from repofs.importer.dropbox.rules import Rules
from repofs.importer.dropbox.users import User, users
from repofs.importer.dropbox.watch import Watch
from repofs.people import People
from repofs.repository.layout import Layout
from repofs.threads import in_thread

GATHER_SECONDS = 0.2  # that events are gathered before they are looked after
SELDOM = 60  # periods of scan_seconds between scans where events tell of everything
BATCH = 256  # files confirmed in one thread, and written in one transaction

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Walk:
    """What a walk has come upon."""

    looked_at: set[bytes] = field(default_factory=set)  # directories
    wrong: set[str] = field(default_factory=set)  # sentences


class Folder:
    """Fills the queue from the watched folder of *dropbox*."""

    def __init__(
        self,
        dropbox: Dropbox,
        settings: Settings,
        layout: Layout,
        commits: Commits,
        reading: Engine,
        people: Callable[[], People],
    ) -> None:
        self.dropbox = dropbox
        self._rules = Rules(settings.drops, dropbox)
        self._directory = Directory(dropbox, settings, layout, self._rules)
        self._commits = commits
        self._reading = reading
        self._people = people
        self._watch: Watch | None = None
        self._clocks = Clocks()
        self._changes: dict[bytes, set[bytes]] = {}  # names to look at, by directory
        self._next_scan = -math.inf
        self._seen_people: People | None = None  # at the last scan
        self._users: tuple[People, dict[bytes, User]] | None = None  # made of these people
        self._awake = trio.Event()
        self._told: frozenset[str] = frozenset()  # what is wrong, as it stands in the log
        self.in_hand: Collection[Place] = ()  # files that are being imported
        self.queued: Callable[[], None] = lambda: None  # called when the queue has grown
        self.failed: Callable[[File], Awaitable[None]] = _nobody_told  # called for what cannot even be queued

    def users(self) -> dict[bytes, User]:
        """Return whose directories there may be, by name. Raises NotFound when the folder's group is none."""
        people = self._people()
        if self._users is None or self._users[0] is not people:
            self._users = people, users(people, self.dropbox.group)
        return self._users[1]

    async def ask(self, user: User, question: Callable[..., T], *arguments: object) -> T:
        """Return what *question*, called with a Looker and *arguments*, finds with the rights of *user*."""
        return await in_thread(self._directory.ask, user, None, question, *arguments, abandon_on_cancel=True)

    def look_again(self, place: Place) -> None:
        """Look at *place* soon, as if something had happened there."""
        self._note({place.directory: {place.name}})

    # --- the one task ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Attend to the folder until cancelled."""
        try:
            self._watch = Watch()
        except OSError as error:
            log.warning("nothing tells of changes: raise fs.inotify.max_user_instances", error=str(error))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear)
                while True:
                    if await self._is_scan_due():
                        await self._scan()
                    await self._look_at_changes()
                    await self._end_clocks()
                    await self._sleep()
        finally:
            if self._watch is not None:
                self._watch.close()

    async def _is_scan_due(self) -> bool:
        if trio.current_time() >= self._next_scan or self._people() != self._seen_people:
            return True
        return await in_thread(self._directory.is_another, abandon_on_cancel=True)

    async def _sleep(self) -> None:
        """Wait until something happens or a clock ends, but not so long that a change of people or mounts is missed."""
        soon = trio.current_time() + self.dropbox.scan_seconds
        with trio.move_on_at(min(self._next_scan, self._clocks.next_deadline(), soon)):
            await self._awake.wait()
        self._awake = trio.Event()

    async def _hear(self) -> None:
        while self._watch is not None:
            await trio.lowlevel.wait_readable(self._watch.fileno())
            await trio.sleep(GATHER_SECONDS)
            changes, lost = self._watch.read()
            if lost:
                self._next_scan = trio.current_time()
            self._note(changes)

    def _note(self, changes: Mapping[bytes, set[bytes]]) -> None:
        for directory, names in changes.items():
            self._changes.setdefault(directory, set()).update(names)
        self._awake.set()

    def _scan_soon(self, error: OSError) -> None:
        """The folder is away, or was when it was looked at: a scan finds out."""
        log.info("a watched folder cannot be looked at", dropbox=self.dropbox.name, error=str(error))
        self._next_scan = min(self._next_scan, trio.current_time() + self.dropbox.scan_seconds)

    # --- looks -----------------------------------------------------------------------------------

    async def _scan(self) -> None:
        """Look at everything, and say in the log what is wrong that was not before."""
        walk = _Walk()
        self._seen_people = self._people()
        try:
            await self._look_everywhere(walk)
        except OSError as error:
            walk.wrong = {str(error)}
        for sentence in walk.wrong - self._told:
            log.warning("a watched folder", dropbox=self.dropbox.name, trouble=sentence)
        self._told = frozenset(walk.wrong)
        sees_all = self._directory.local and self._watch is not None and not (self._watch.exhausted or walk.wrong)
        self._next_scan = trio.current_time() + self.dropbox.scan_seconds * (SELDOM if sees_all else 1)

    async def _look_everywhere(self, walk: _Walk) -> None:
        self._changes.clear()
        if self._watch is not None:
            self._watch.exhausted = False
        known = self.users()
        for name in await in_thread(self._directory.names, self._watch, abandon_on_cancel=True):
            if name in known:
                await self._walk(known[name], name, None, walk)
            else:
                walk.wrong.add(f"{os.fsdecode(name)!r} is no user's name: what is in it is not imported")
        if self._watch is not None and self._watch.exhausted:
            walk.wrong.add("not every directory can be watched, so all are scanned: raise fs.inotify.max_user_watches")
        gone = [directory for directory in await in_thread(self._directories) if directory not in walk.looked_at]
        if gone:
            await self._commits.write(forget_all, (self.dropbox.name, gone))

    async def _look_at_changes(self) -> None:
        if not self._changes:
            return
        changes, self._changes = self._changes, {}
        try:
            known = self.users()
        except NotFound as error:
            self._scan_soon(error)
            return
        for directory, names in changes.items():
            if directory == b".":
                self._next_scan = min(self._next_scan, trio.current_time() if names - known.keys() else math.inf)
                for name in names & known.keys():
                    await self._walk(known[name], name, None, _Walk())
            elif (user := known.get(directory.partition(b"/")[0])) is not None:
                await self._walk(user, directory, None if self._rules.marker in names else names, _Walk())

    async def _walk(self, user: User, directory: bytes, names: set[bytes] | None, walk: _Walk) -> None:
        """Look at *names* in *directory*, or at all that is in it, and at everything below."""
        ahead = [(directory, names)]
        while ahead:
            directory, names = ahead.pop()
            try:
                look = await self._look(user, directory, names)
            except NotFound:  # it has gone meanwhile
                continue
            except OSError as error:
                walk.wrong.add(str(error))
            else:
                await self._compare(user, directory, names, look)
                ahead += [(directory + b"/" + name, None) for name in look.inside]
            walk.looked_at.add(directory)

    async def _look(self, user: User, directory: bytes, names: set[bytes] | None) -> Look:
        """Look at a directory, which is watched then."""
        ask = self._directory.ask
        return await in_thread(ask, user, self._watch, Looker.look, directory, names, abandon_on_cancel=True)

    async def _compare(self, user: User, directory: bytes, names: set[bytes] | None, look: Look) -> None:
        """Compare what was seen with what is known: start clocks, write down what cannot be, forget what has gone."""
        known = await in_thread(self._files, directory, names)
        refused = []
        for found in look.found:
            place = Place(self.dropbox.name, directory, found.name)
            file = known.pop(found.name, None)
            same = file is not None and (file.version, file.is_directory) == (found.version, found.is_directory)
            if found.error is not None:
                if file is None or not same or file.error != found.error:
                    refused.append(failed(place, found, found.error))
            elif not same and look.marked:
                self._start_clock(Waiting(place, user, found))
        await self._fail(refused)
        gone = [file.place for file in known.values() if file.state is not FileState.QUEUED]
        if gone:
            await self._commits.write(forget, gone)
        for name in (names or set()) - {one.name for one in look.found} - set(look.inside):
            await self._forget_directory(directory + b"/" + name)

    async def _forget_directory(self, path: bytes) -> None:
        """Forget what lay below *path*, if that was a directory that was watched."""
        if self._watch is not None and self._watch.forget(path):
            await self._commits.write(forget_all, (self.dropbox.name, [path]))

    def _files(self, directory: bytes, names: Collection[bytes] | None) -> dict[bytes, File]:
        with self._reading.begin() as conn:
            return files_in(conn, self.dropbox.name, directory, names)

    def _directories(self) -> list[bytes]:
        with self._reading.begin() as conn:
            return directories(conn, self.dropbox.name)

    async def _fail(self, files: Sequence[File]) -> None:
        for file in files:
            log.info("not imported", dropbox=file.place.dropbox, path=file.place.path, error=file.error)
        if files:
            await self._commits.write(put, files)
        for file in files:
            await self.failed(file)

    # --- clocks ----------------------------------------------------------------------------------

    def _start_clock(self, waiting: Waiting) -> None:
        found = waiting.found
        seconds = self._rules.settle_seconds(found.version.size, is_directory=found.is_directory)
        self._clocks.start(waiting, trio.current_time() + seconds)

    async def _end_clocks(self) -> None:
        """Put into the queue what is still as it was when its clock was started."""
        due: dict[User, list[Waiting]] = defaultdict(list)
        for waiting in self._clocks.due(trio.current_time()):
            if waiting.place in self.in_hand:  # what becomes of that is known soon
                self._start_clock(waiting)
            else:
                due[waiting.user].append(waiting)
        for user, files in due.items():
            for start in range(0, len(files), BATCH):
                await self._end(user, files[start : start + BATCH])

    async def _end(self, user: User, batch: Sequence[Waiting]) -> None:
        confirmed: Sequence[File | Waiting]
        try:
            confirmed = await self.ask(user, confirm, batch)
        except OSError as error:
            self._scan_soon(error)
            confirmed = batch
        for one in confirmed:
            if isinstance(one, Waiting):
                self._start_clock(one)
        files = [one for one in confirmed if isinstance(one, File)]
        await self._fail([file for file in files if file.state is FileState.FAILED])
        quiet = [file for file in files if file.state is FileState.QUEUED]
        if quiet:
            await self._commits.write(enqueue, quiet)
            self.queued()


async def _nobody_told(_: File) -> None:
    return
