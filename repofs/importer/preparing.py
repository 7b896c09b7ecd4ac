"""Arrivals made ready for the pipeline: a stand-in in `.arriving/N` for each of their files, which were opened with the
rights of who asks; and what these tell afterwards. Blocking; run in threads.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from repofs.catalog import filesets, origins
from repofs.catalog.engine import Engine
from repofs.errors import InvalidValue, NotFound, RepofsError
from repofs.importer.bringing import Bringing
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
    ObjectRef,
    Origin,
    Original,
    Outcome,
    Policy,
    Refused,
)
from repofs.people import People
from repofs.repository import stand_ins, transfers
from repofs.repository.as_user import Caller
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.outside import Root, open_beneath, require_linkable
from repofs.repository.sources import Sources
from repofs.repository.trees import Cursor, files_of, opened


class Excluded(RepofsError):
    """The owner has imported it before, in a way that whoever asks wants left out."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An arrival that has its stand-ins."""

    drop: Drop
    fd: int
    directory: Path  # .arriving/N


class Preparing:
    """For the arrivals of one repository."""

    def __init__(self, layout: Layout, sources: Sources, catalogue: Engine, people: Callable[[], People]) -> None:
        self._layout = layout
        self._sources = sources
        self._catalogue = catalogue
        self._people = people
        self._marks = Marks(load_key(layout))
        self._numbers = itertools.count(1)

    def place(self) -> Path:
        """Return where the stand-ins of one arrival may be made; it is to be removed when that has ended."""
        return self._layout.arriving / str(next(self._numbers))

    def prepare(self, arrival: Arrival, caller: Caller, root: Root | None, place: Path) -> Prepared:
        """Make the stand-ins of *arrival* in *place*. Raises Excluded, OSError."""
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
        return Prepared(_drop(arrival, self._source(arrival, root), os.fstat(fd).st_ino), fd, place)

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

    def _source(self, arrival: Arrival, root: Root | None) -> bytes:
        """Return what people are told of where it came from: NAME/path in a declared source, whatever the transfer."""
        if root is None:
            return os.path.join(os.fsencode(arrival.source), arrival.path)
        path = os.path.join(os.fsencode(root.path), arrival.path)
        located = self._sources.locate(path)
        return path if located is None else os.path.join(os.fsencode(located[0]), located[1])

    def without_bytes(self, arrival: Arrival, root: Root | None, place: Path) -> tuple[Drop, int]:
        """Return *arrival* as a drop that is to be refused, and a descriptor, the caller's, of an empty file in *place*
        for the bytes that could not be reached."""
        fd = _empty_file(place, arrival)
        drop = _drop(arrival, self._source(arrival, root), os.fstat(fd).st_ino)
        return replace(drop, is_directory=False, members=None), fd

    def refused(self, fd: int, told: Outcome, error: str) -> Arrived:
        """Return what is told of such a drop."""
        mark = self._marks.read(fd)
        return Arrived(told.state, error, log=mark.log if isinstance(mark, Refused) else None)

    def told(self, prepared: Prepared, outcome: Outcome) -> Arrived:
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


def clear(layout: Layout, bringing: Bringing) -> None:
    """Remove what arrivals have left that were in hand when the importer died; after `recovery.recover`. Blocking."""
    with opened(layout.arriving) as arriving:
        for name in os.listdir(arriving):
            for file in files_of(name, dir_fd=arriving):
                if not isinstance(bringing.marks.read(file), Original):
                    bringing.take_back(file)
            shutil.rmtree(layout.arriving / name)
