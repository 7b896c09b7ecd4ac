"""Filesets from outside the mount on their way in: what commands and watched folders ask for.

    opened as who asks ─ not excluded ─ stand-ins in .arriving/N/ ─ the pipeline, as any drop ─ .arriving/N/ removed

The caller decides who may ask for it (`reception` does so for commands); what may be read is the kernel's to say.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
import trio

from repofs.catalog import filesets, origins
from repofs.catalog.engine import Engine
from repofs.catalog.origins import DONE
from repofs.errors import InvalidValue, NotFound, RepofsError
from repofs.importer.bringing import Bringing
from repofs.importer.gathering import Gathering
from repofs.importer.pipeline import Pipeline
from repofs.importer.turns import Turns
from repofs.lifecycle import State
from repofs.model import (
    KEPT,
    REMOVED,
    Arrival,
    Arrived,
    Drop,
    Event,
    Exclusion,
    Identity,
    Members,
    ObjectRef,
    Origin,
    Original,
    Outcome,
    Policy,
    Refused,
)
from repofs.people import People
from repofs.repository import as_user, stand_ins, transfers
from repofs.repository.as_user import Caller
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.outside import Root, open_beneath, require_linkable
from repofs.repository.sources import Sources
from repofs.repository.trees import Cursor, files_of, opened
from repofs.threads import in_thread

PLACES = 64  # arrivals in hand at a time
BROUGHT_SECONDS = 600.0  # in which a command asks for all files of one fileset

log = structlog.get_logger(__name__)


class Excluded(RepofsError):
    """The owner has imported it before, in a way that whoever asks wants left out."""


@dataclass(frozen=True, slots=True)
class _Brought:
    """In which fileset a file was imported that came along with another, and for how long that is remembered."""

    fileset: int
    source: str  # as of Arrived
    until: float  # by trio's clock


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An arrival that has its stand-ins."""

    drop: Drop
    fd: int
    directory: Path  # .arriving/N


class Arrivals:
    """Imports any number of arrivals, in turn between users."""

    def __init__(
        self,
        layout: Layout,
        pipeline: Pipeline,
        sources: Sources,
        catalogue: Engine,
        people: Callable[[], People],
        gathering: Gathering,
    ) -> None:
        self._layout = layout
        self._pipeline = pipeline
        self._gathering = gathering
        self._sources = sources
        self._catalogue = catalogue
        self._people = people
        self._marks = Marks(load_key(layout))
        self._turns = Turns(PLACES)
        self._numbers = itertools.count(1)
        self._brought: dict[tuple[bytes, Path | str, bytes], _Brought] = {}
        self._in_hand: dict[tuple[bytes, Path | str, bytes, str], trio.Event] = {}

    async def take(
        self, arrival: Arrival, *, caller: Caller | None = None, root: Root | None = None, queued: int | None = None
    ) -> Arrived:
        """Import *arrival* and return what became of it.

        *caller* is who asks, else the account of her uid; *root* is the directory that she has handed over, if any;
        *queued* is its row in the catalogue, if any, which is imported with it.
        Raises only what `Pipeline.take` raises.
        """
        async with self._alone(arrival, root), self._turns.turn(arrival.user_directory):
            ended = await self._take(arrival, caller, root, queued)
        if isinstance(ended, Arrived):
            return ended
        who = caller or as_user.by_account(arrival.actor_uid)
        async with self._alone(arrival, root, ended.key or ended.main):
            return await self._take_whole(arrival, ended, who, root, queued)

    async def _take_whole(
        self, arrival: Arrival, said: Members, caller: Caller, root: Root | None, queued: int | None
    ) -> Arrived:
        """Import *arrival* with the files that form one fileset with it."""
        top = root.path if root is not None else arrival.source
        known = self._brought.pop((arrival.user_directory, top, arrival.path), None)
        if known is not None and known.until > trio.current_time():
            return Arrived(State.IMPORTED, fileset=known.fileset, source=known.source)
        try:
            async with self._turns.turn(arrival.user_directory):
                gathered = await self._gathering.gather(arrival, said, caller, root)
        except OSError as error:
            gone = await self._gone(arrival, root, error)
            return gone or replace(await self.fail(arrival, root, _sentence(error)), files=said.names)
        if isinstance(gathered, Arrived):
            return gathered
        async with self._none_in_hand(gathered, root), self._turns.turn(arrival.user_directory):
            ended = await self._take(gathered, caller, root, queued)
        assert isinstance(ended, Arrived), "no reader is asked twice"
        if ended.state is State.IMPORTED:
            self._note_brought(arrival, top, ended)
        return ended

    def _note_brought(self, arrival: Arrival, top: Path | str, ended: Arrived) -> None:
        """Remember which files came along with *arrival*: who asks for one of them soon, as a command does that names a
        whole directory, hears of the fileset and not of a duplicate."""
        now = trio.current_time()
        self._brought = {key: one for key, one in self._brought.items() if one.until > now}
        directory = os.path.dirname(arrival.path)
        for name in ended.files:
            path = os.path.join(directory, os.fsencode(name))
            if path != arrival.path and ended.fileset is not None:
                brought = _Brought(ended.fileset, ended.source, now + BROUGHT_SECONDS)
                self._brought[arrival.user_directory, top, path] = brought

    @asynccontextmanager
    async def _none_in_hand(self, arrival: Arrival, root: Root | None) -> AsyncIterator[None]:
        """Keep those who ask for a file of the set *arrival* from looking at it: it may be removed under their eyes."""
        directory = os.path.dirname(arrival.path)
        async with AsyncExitStack() as stack:
            for name in sorted(arrival.members or ()):
                await stack.enter_async_context(self._alone(replace(arrival, path=os.path.join(directory, name)), root))
            yield

    async def _gone(self, arrival: Arrival, root: Root | None, error: OSError) -> Arrived | None:
        """Return what became of *arrival* when it is not there because it was imported with others, and removed."""
        known = await self._gathering.removed_before(arrival, root) if isinstance(error, NotFound) else None
        return None if known is None else Arrived(State.IMPORTED, fileset=known, source=REMOVED)

    async def _take(
        self, arrival: Arrival, caller: Caller | None, root: Root | None, queued: int | None
    ) -> Arrived | Members:
        """Import *arrival*; or return which files form one fileset with it, if it does not say that."""
        place = self._layout.arriving / str(next(self._numbers))
        try:
            prepared = await self._stand_ins(arrival, caller, root, place)
            if isinstance(prepared, Arrived):
                return prepared
            outcome = await self._pipeline.take(replace(prepared.drop, queued=queued), prepared.fd, root)
            if outcome.members is not None:
                return outcome.members
            return await self._removed_now(arrival, await in_thread(self._told, prepared, outcome))
        finally:
            with trio.CancelScope(shield=True):
                await in_thread(shutil.rmtree, place, True)

    async def _stand_ins(
        self, arrival: Arrival, caller: Caller | None, root: Root | None, place: Path
    ) -> _Prepared | Arrived:
        """Return *arrival* ready for the pipeline, or what became of it when it cannot be."""
        try:
            return await in_thread(self._prepare, arrival, caller, root, place)
        except Excluded as error:
            return Arrived(State.DUPLICATE, str(error))
        except OSError as error:
            if (gone := await self._gone(arrival, root, error)) is not None:
                return gone
            reason = _sentence(error)
        except Exception as error:
            log.exception("an arrival failed unexpectedly", path=arrival.path)
            reason = f"the importer failed ({type(error).__name__}): the daemon's log says where"
        return await self._refuse(arrival, root, place, reason)

    async def refuse(self, arrival: Arrival, error: str) -> None:
        """Have it known to people that *arrival* cannot be imported, by *error*, as of any import that has failed."""
        await self.fail(arrival, None, error)

    async def fail(self, arrival: Arrival, root: Root | None, error: str) -> Arrived:
        """The same, for what lies in *root*; return what is told of it."""
        place = self._layout.arriving / str(next(self._numbers))
        try:
            return await self._refuse(arrival, root, place, error)
        finally:
            with trio.CancelScope(shield=True):
                await in_thread(shutil.rmtree, place, True)

    async def _refuse(self, arrival: Arrival, root: Root | None, place: Path, error: str) -> Arrived:
        """Fail in the pipeline, with an empty file in *place* for the bytes that could not be reached."""
        home = self._people().homes.get(arrival.user_directory)
        if home is None or home.uid is None:
            return Arrived(State.FAILED, error)
        fd = await in_thread(_empty_file, place, arrival)
        drop = _drop(arrival, self._source(arrival, root), os.fstat(fd).st_ino)
        drop = replace(drop, is_directory=False, members=None)
        try:
            told = await self._pipeline.refuse(drop, os.dup(fd), error)
            mark = self._marks.read(fd)
        finally:
            os.close(fd)
        return Arrived(told.state, error, log=mark.log if isinstance(mark, Refused) else None)

    @asynccontextmanager
    async def _alone(self, arrival: Arrival, root: Root | None, fileset: str = "") -> AsyncIterator[None]:
        """Let the same file, or the *fileset* that it is of, arrive once at a time: who asks for it meanwhile waits,
        and then hears of a duplicate, or of the fileset."""
        top = root.path if root is not None else arrival.source
        key = (arrival.user_directory, top, arrival.path if not fileset else os.path.dirname(arrival.path), fileset)
        while key in self._in_hand:
            await self._in_hand[key].wait()
        ended = self._in_hand[key] = trio.Event()
        try:
            yield
        finally:
            del self._in_hand[key]
            ended.set()

    def _prepare(self, arrival: Arrival, caller: Caller | None, root: Root | None, place: Path) -> _Prepared:
        """Make the stand-ins of *arrival* in *place*. Raises Excluded, OSError."""
        caller = caller or as_user.by_account(arrival.actor_uid)
        transfers.named(arrival.transfer)
        home = self._people().homes.get(arrival.user_directory)
        if home is None or home.uid is None:
            raise NotFound(f"{os.fsdecode(arrival.user_directory)!r} is the directory of no experimenter")
        if root is not None:
            found = list(_look(root, arrival, caller))
        else:
            with self._sources.root(arrival.source) as source:
                found = list(_look(source, arrival, caller))
        if not found:
            raise InvalidValue(f"there is no file in {os.fsdecode(arrival.path)!r}")
        self._require_not_excluded(arrival, root, found[0][0])
        name = os.path.basename(arrival.path)
        place.mkdir(mode=0o700)
        self._make(arrival, root, place, found, home.uid)
        several = not (arrival.is_directory or arrival.is_one_file)
        fd = os.open(place if several else os.path.join(os.fsencode(place), name), os.O_RDONLY | os.O_CLOEXEC)
        return _Prepared(_drop(arrival, self._source(arrival, root), os.fstat(fd).st_ino), fd, place)

    def _make(
        self, arrival: Arrival, root: Root | None, place: Path, found: Sequence[tuple[bytes, Identity]], uid: int
    ) -> None:
        """Make a stand-in in *place*, *uid*'s, for each file that was found."""
        above = os.path.dirname(arrival.path)
        with opened(place.parent) as arriving, Cursor(os.fsencode(place.name), dir_fd=arriving) as cursor:
            for path, identity in found:
                *way, name = os.path.relpath(path, above or b".").split(b"/")
                cursor.make_way(way)
                shown = path if root is None else os.path.join(os.fsencode(root.path), path)
                origin = Origin(arrival.source, os.fsdecode(shown), identity, arrival.transfer)
                stand_ins.make(
                    cursor.fd, name, origin, uid=uid, gid=arrival.gid, actor_uid=arrival.actor_uid, marks=self._marks
                )

    def _require_not_excluded(self, arrival: Arrival, root: Root | None, path: bytes) -> None:
        """Raise Excluded when the owner has the file at *path* already, by one of the ways that *arrival* excludes.

        Content is the pipeline's to find.
        """
        if not arrival.exclude:
            return
        with self._catalogue.begin() as conn:
            if Exclusion.FILENAME in arrival.exclude:
                below = os.path.relpath(path, os.path.dirname(arrival.path) or b".")
                _refuse(filesets.find_named(conn, arrival.user_directory, below), "a file of this name")
            if Exclusion.CLIENTPATH in arrival.exclude:
                for place in self._places(arrival, root, path):
                    _refuse(origins.find_from(conn, arrival.user_directory, *place), "the file of this path")

    def _places(self, arrival: Arrival, root: Root | None, path: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield all (source, path) under which the catalogue may know the file."""
        if root is None:
            yield arrival.source, path
            shown = os.path.join(os.fsencode(self._sources.path(arrival.source)), path)
        else:
            shown = os.path.join(os.fsencode(root.path), path)
            located = self._sources.locate(shown)
            if located is not None:
                yield located
        yield "", shown

    async def _removed_now(self, arrival: Arrival, arrived: Arrived) -> Arrived:
        """Who asks once more for a transfer that removes gets a source removed that was kept the first time."""
        if arrived.state is not State.DUPLICATE or arrived.fileset is None or not arrival.is_one_file:
            return arrived
        if not transfers.named(arrival.transfer).removes:
            return arrived
        how = await self._pipeline.remove_kept(arrived.fileset, arrival.source, arrival.path, arrival.actor_uid)
        return arrived if how is None else replace(arrived, source=REMOVED if how == DONE else how)

    def _source(self, arrival: Arrival, root: Root | None) -> bytes:
        """Return what people are told of where it came from: NAME/path in a declared source, whatever the transfer."""
        if root is None:
            return os.path.join(os.fsencode(arrival.source), arrival.path)
        path = os.path.join(os.fsencode(root.path), arrival.path)
        located = self._sources.locate(path)
        return path if located is None else os.path.join(os.fsencode(located[0]), located[1])

    def _told(self, prepared: _Prepared, outcome: Outcome) -> Arrived:
        """Return what *outcome* and the marks of the stand-ins tell."""
        arriving, name = os.path.split(os.fsencode(prepared.directory))
        with opened(arriving) as fd:
            files = [(os.fstat(file).st_size, self._marks.read(file)) for file in files_of(name, dir_fd=fd)]
        size = sum(size for size, _ in files)
        mark = files[0][1]
        names = tuple(map(os.fsdecode, prepared.drop.members or ())) if len(files) > 1 else ()
        if outcome.state is not State.IMPORTED or outcome.fileset is None or not isinstance(mark, Original):
            failed_log = mark.log if isinstance(mark, Refused) else None
            known = outcome.fileset if outcome.state is State.DUPLICATE else None
            return Arrived(outcome.state, outcome.error, known, size=size, log=failed_log, files=names)
        directory = f"{mark.user_directory}/{mark.import_directory}"
        removed = transfers.named(mark.transfer).removes and outcome.kept is None
        return Arrived(
            State.IMPORTED,
            fileset=outcome.fileset,
            images=mark.images,
            originals=tuple(one.original for _, one in files if isinstance(one, Original)),
            checksum=mark.checksum if len(files) == 1 else None,
            size=size,
            import_directory=directory,
            log=f"{directory}.log",
            source=REMOVED if removed else outcome.kept or KEPT,
            files=names,
        )


def _look(root: Root, arrival: Arrival, caller: Caller) -> Iterator[tuple[bytes, Identity]]:
    """Yield path below *root* and identity of each file of *arrival*, opened as *caller*, in order of path.

    Raises OSError: AccessDenied, NotFound and what else `open_beneath` says.
    """
    if not os.path.basename(arrival.path) or os.path.basename(arrival.path) == b".":
        raise InvalidValue(f"{root.path} itself cannot be imported: declare the directory above it as a source")
    if not arrival.is_directory:
        above = os.path.dirname(arrival.path)
        for name in arrival.members or (os.path.basename(arrival.path),):
            path = os.path.join(above, name)
            yield path, _identity(root, path, arrival, caller)
        return
    waiting = [arrival.path]
    while waiting:
        here = waiting.pop()
        with open_beneath(root, here, caller, directory=True) as directory:
            kinds = {os.fsencode(name): _kind(name, directory.fd) for name in os.listdir(directory.fd)}
        for name in sorted(kinds):
            path = os.path.join(here, name)
            if stat.S_ISDIR(kinds[name]):
                waiting.append(path)
            elif stat.S_ISREG(kinds[name]):
                yield path, _identity(root, path, arrival, caller)


def _identity(root: Root, path: bytes, arrival: Arrival, caller: Caller) -> Identity:
    with open_beneath(root, path, caller) as file:
        if transfers.named(arrival.transfer).linked:
            require_linkable(file, root, path, caller)
        return file.identity


def _empty_file(place: Path, arrival: Arrival) -> int:
    """Return a descriptor of an empty file in *place*, of the group that *arrival* would have been of."""
    with suppress(FileExistsError):
        place.mkdir(mode=0o700)
    fd = os.open(place, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        os.fchown(fd, -1, arrival.gid)
    return fd


def _kind(name: str, directory: int) -> int:
    return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode


def _refuse(known: ObjectRef | None, what: str) -> None:
    if known is not None:
        raise Excluded(f"excluded: its owner has imported {what} already, in {known}")


def _drop(arrival: Arrival, source: bytes, token: int) -> Drop:
    now = Event(time.time_ns(), f"arrived from {_shown(arrival)} by {arrival.transfer}, asked for by {arrival.actor}")
    return Drop(
        token=token,
        user_directory=arrival.user_directory,
        path=os.path.basename(arrival.path),
        is_directory=arrival.is_directory,
        target=arrival.target,
        policy=Policy(0.0, arrival.duplicates, skip=arrival.skip),
        events=(now,),
        actor_uid=arrival.actor_uid,
        actor=arrival.actor,
        gid=arrival.gid,
        transfer=arrival.transfer,
        source=source,
        name=arrival.name,
        checksum_algorithm=arrival.checksum_algorithm,
        members=arrival.members,
    )


def _shown(arrival: Arrival) -> str:
    path = os.fsdecode(arrival.path)
    return f"{path!r} in the source {arrival.source}" if arrival.source else repr(path)


def _sentence(error: OSError) -> str:
    return error.message if isinstance(error, RepofsError) else f"{error.strerror or error}: try again"


def clear(layout: Layout, bringing: Bringing) -> None:
    """Remove what arrivals have left that were in hand when the importer died; after `recovery.recover`. Blocking."""
    with opened(layout.arriving) as arriving:
        for name in os.listdir(arriving):
            for file in files_of(name, dir_fd=arriving):
                if not isinstance(bringing.marks.read(file), Original):
                    bringing.take_back(file)
            shutil.rmtree(layout.arriving / name)
