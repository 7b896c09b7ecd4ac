"""The files that form one fileset with an arrival: found where it lies, with the rights of who asks for it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from repofs.catalog import origins
from repofs.catalog.engine import Engine
from repofs.config import Drops
from repofs.errors import InvalidValue, NotFound, ReaderFailed
from repofs.formats.candidates import as_main_says, lacks, main_beside, main_first
from repofs.image import ALONE, Members
from repofs.importer.answers import MOST_FILES
from repofs.importer.lending import OneFile
from repofs.importer.recognising import Recogniser
from repofs.lifecycle import State
from repofs.model import Arrival, Arrived, Identity
from repofs.repository.as_user import Caller
from repofs.repository.outside import Root, open_beneath
from repofs.repository.sources import Sources
from repofs.threads import in_thread

_PATTERN = b".pattern"  # of a file that names others which cannot know that
_LISTED_SECONDS = 1.0  # so that a directory of thousands is not listed for each of them


class Gathering:
    """Looks for the rest of filesets."""

    def __init__(self, sources: Sources, readers: Recogniser, catalogue: Engine, settings: Drops) -> None:
        self._sources = sources
        self._readers = readers
        self._catalogue = catalogue
        self._settings = settings
        # by the directory that was handed over or source, the directory, who asks
        self._patterns: dict[tuple[Path, bytes, Caller], _Patterns] = {}

    async def gather(
        self, arrival: Arrival, said: Members, caller: Caller, root: Root | None, *, came_along: bool
    ) -> Arrival | Arrived:
        """Return *arrival* with all files of the fileset that a reader says it is of, its main file first.

        Or what becomes of it: imported, when it was with others of these and *came along* with them, or in a watched
        folder, which tells of each file by itself; settling, while it waits for the rest. Raises NotFound when a file
        is missing, OSError as `open_beneath` does.
        """
        async with self._root(arrival, root) as place:
            if arrival.waits or came_along:
                known = await in_thread(self._imported_before, arrival, place, caller)
                if known is not None:
                    return Arrived(State.IMPORTED, fileset=known)
            look = _Look(place, arrival, caller, self._readers)
            own = os.path.basename(arrival.path)
            if said.key is not None:
                return await self._of_key(arrival, said.key, look)
            said = await self._of_main(own, said, look)
            return await self._of_names(arrival, said, look)

    async def main_of(self, arrival: Arrival, caller: Caller, root: Root | None) -> bytes | Arrived | None:
        """Return the path of the main file that the file of *arrival* belongs to and cannot know of, if there is one: a
        pattern beside it, or what a directory above it is called after.

        Settling, while it waits for that. Raises OSError, as `open_beneath` does, or when it has not come.
        """
        async with self._root(arrival, root) as place:
            above = _main_above(arrival.path)
            if above is None:
                return await self._pattern_of(arrival, caller, place)
            look = _Look(place, replace(arrival, path=above), caller, self._readers)
            if await look.has(os.path.basename(above)):
                return above
            if not arrival.waits:
                return None
            said = Members(os.fsdecode(os.path.basename(above)), ())
            own = _Look(place, arrival, caller, self._readers)
            left = await self._left(own, [os.path.basename(arrival.path)], self._settings.missing_seconds)
            return self._waits(said, [os.fsencode(said.main)], left)

    def _waits(self, said: Members, missing: Sequence[bytes], left: float) -> Arrived:
        """Return that it waits *left* seconds more for what is missing; NotFound when these are over."""
        if left > 0:
            return Arrived(State.SETTLING, f"waits {left:.0f} s more: {lacks(said, missing)}")
        raise NotFound(f"{lacks(said, missing)}: put what is missing beside it, then import again")

    async def _pattern_of(self, arrival: Arrival, caller: Caller, root: Root) -> bytes | None:
        directory, own = os.path.split(arrival.path)
        if own.lower().endswith(_PATTERN):
            return None
        look = _Look(root, arrival, caller, self._readers)
        for name in await self._patterns_beside(look, (root.path, directory, caller)):
            if os.fsdecode(own) in (await look.members(name)).names:
                return os.path.join(directory, name)
        return None

    async def _patterns_beside(self, look: _Look, key: tuple[Path, bytes, Caller]) -> list[bytes]:
        """Return the names of the pattern files in the directory of *look*, which one lists for all that wait."""
        if key not in self._patterns:
            self._patterns = {one: listed for one, listed in self._patterns.items() if listed.counts()}
        listed = self._patterns.setdefault(key, _Patterns())
        async with listed.lock:
            if not listed.counts():
                listed.names = [name for name in await in_thread(look.files) if name.lower().endswith(_PATTERN)]
                listed.until = trio.current_time() + _LISTED_SECONDS
        return listed.names

    @asynccontextmanager
    async def _root(self, arrival: Arrival, root: Root | None) -> AsyncIterator[Root]:
        if root is not None:
            yield root
            return
        with await in_thread(self._sources.root, arrival.source) as source:
            yield source

    def _imported_before(self, arrival: Arrival, root: Root, caller: Caller) -> int | None:
        """Return the fileset that the file, as it is now, was imported in with others, a moment ago."""
        with open_beneath(root, arrival.path, caller) as file:
            return self._find(arrival, root, file.identity)

    async def removed_before(self, arrival: Arrival, root: Root | None) -> int | None:
        """Return the fileset that the file, which is not there, was imported in with others and removed then."""
        try:
            async with self._root(arrival, root) as place:
                return await in_thread(self._find, arrival, place, None)
        except OSError:  # the source itself is away
            return None

    def _find(self, arrival: Arrival, root: Root, identity: Identity | None) -> int | None:
        path = arrival.path if arrival.source else os.path.join(os.fsencode(root.path), arrival.path)
        with self._catalogue.begin() as conn:
            return origins.find_in_set(conn, arrival.user_directory, arrival.source, path, identity)

    async def _of_main(self, own: bytes, said: Members, look: _Look) -> Members:
        """Return what the main file says, which names all that belong to it: now that it sees what is beside it."""
        main = os.fsencode(said.main)
        if not await look.has(main):
            return said
        mains = await look.members(main)
        if main == own:
            return mains if mains.names else said
        return as_main_says(own, said, mains)

    async def _of_names(self, arrival: Arrival, said: Members, look: _Look) -> Arrival | Arrived:
        own = os.path.basename(arrival.path)
        names = main_first(said, said.names)
        missing = [name for name in names if not await look.has(name)]
        left = await self._left(look, names, self._settings.missing_seconds) if arrival.waits and missing else 0.0
        if len(names) <= 1 or (missing and not said.certain and left <= 0):
            return replace(arrival, members=(own,))
        if missing:
            return self._waits(said, missing, left)
        return replace(arrival, path=os.path.join(look.directory, names[0]), members=names)

    async def _of_key(self, arrival: Arrival, key: str, look: _Look) -> Arrival | Arrived:
        names = await look.of_key(key, os.path.basename(arrival.path))
        if arrival.waits and (left := await self._left(look, names, self._settings.directory_settle_seconds)) > 0:
            return Arrived(State.SETTLING, f"waits {left:.0f} s for more files of its series")
        return replace(arrival, path=os.path.join(look.directory, names[0]), members=tuple(names))

    async def _left(self, look: _Look, names: Sequence[bytes], quiet_seconds: float) -> float:
        """Return for how many seconds more none of the files may change."""
        return await look.newest(names) + quiet_seconds - time.time()


def _main_above(path: bytes) -> bytes | None:
    """Return the path of the main file that *path* is a plane of by the names of the directories above it, or None."""
    above, name = os.path.split(path)
    while above:
        above, folder = os.path.split(above)
        main = main_beside(folder, name)
        if main is not None:
            return os.path.join(above, main)
        name = os.path.join(folder, name)
    return None


@dataclass(slots=True)
class _Patterns:
    """The pattern files of a directory, as they were a moment ago."""

    names: list[bytes] = field(default_factory=list)
    until: float = -math.inf  # in trio's time
    lock: trio.Lock = field(default_factory=trio.Lock)

    def counts(self) -> bool:
        return trio.current_time() < self.until


class _Look:
    """Looks at the files beside *arrival*, below *root*, as *caller*."""

    def __init__(self, root: Root, arrival: Arrival, caller: Caller, readers: Recogniser) -> None:
        self.directory = os.path.dirname(arrival.path)
        self._user = arrival.user_directory
        self._root = root
        self._caller = caller
        self._readers = readers

    async def has(self, name: bytes) -> bool:
        """Return whether the file *name* is there. Raises OSError when it cannot be told, or not be read."""
        return await in_thread(self._identity, name) is not None

    def _identity(self, name: bytes) -> Identity | None:
        try:
            with open_beneath(self._root, os.path.join(self.directory, name), self._caller) as file:
                return file.identity
        except NotFound:
            return None

    async def newest(self, names: Sequence[bytes]) -> float:
        """Return when the last of the files was changed, in seconds since the epoch."""
        return await in_thread(self._newest, names)

    def _newest(self, names: Sequence[bytes]) -> float:
        return max((one.ctime_ns / 1e9 for name in names if (one := self._identity(name)) is not None), default=0.0)

    async def members(self, name: bytes) -> Members:
        """Return what a reader says of the file *name*; ALONE when it says nothing."""
        with await in_thread(open_beneath, self._root, os.path.join(self.directory, name), self._caller) as file:
            try:
                found = await self._readers.look(name, OneFile(name, file.fd, beside=self._beside), self._user)
            except ReaderFailed:
                return ALONE
        return found if isinstance(found, Members) else ALONE

    async def of_key(self, key: str, own: bytes) -> list[bytes]:
        """Return the names of the files beside *own* that say the same *key*, and *own*, in order."""
        found = [own]
        for name in await in_thread(self.files):
            if name != own and (await self.members(name)).key == key:
                found.append(name)
        return sorted(found)

    @contextmanager
    def _beside(self) -> Iterator[int]:
        with open_beneath(self._root, self.directory or b".", self._caller, directory=True) as directory:
            yield directory.fd

    def files(self) -> list[bytes]:
        """Return the names of the files in the directory. Raises InvalidValue for more than a fileset may have."""
        with self._beside() as directory:
            with os.scandir(directory) as entries:
                names = [os.fsencode(entry.name) for entry in entries if entry.is_file(follow_symlinks=False)]
        if len(names) > MOST_FILES:
            raise InvalidValue(f"more than {MOST_FILES} files lie in one directory: divide it, then retry")
        return names
