"""Which of the files that lie outside the mount would become one fileset, and what the readers find in it.

The same readers that the importer has are asked here, in processes of this command with the rights of nobody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from repofs import config
from repofs.errors import ReaderFailed
from repofs.formats.candidates import Candidate, as_main_says, main_first, names_others
from repofs.image import ALONE, Members, Recognised
from repofs.importer.lending import InDirectory, LentFiles, OneFile
from repofs.importer.readers import Readers

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

Looked = Callable[[Candidate], None]
"""Told of each file that was looked at."""


@dataclass(frozen=True, slots=True)
class Fileset:
    """Files that would be imported together, the main one first."""

    candidates: tuple[Candidate, ...]
    recognised: Recognised
    missing: tuple[str, ...] = ()  # files that it names and that are not there

    @property
    def directory(self) -> bytes:
        return self.candidates[0].directory

    @property
    def files(self) -> Iterator[bytes]:
        """The absolute paths of all its files."""
        return (path for one in self.candidates for path in one.paths)


@dataclass(slots=True)
class _Grouped:
    candidates: list[Candidate] = field(default_factory=list)  # the main one first
    missing: tuple[str, ...] = ()


def group(found: Sequence[Candidate], settings: config.Readers, looked: Looked) -> list[Fileset]:
    """Return the filesets of what was *found*, in order of their main files."""
    return trio.run(_group, found, settings, looked)


async def _group(found: Sequence[Candidate], settings: config.Readers, looked: Looked) -> list[Fileset]:
    async with Readers(settings) as readers:
        look = _Look(readers, looked)
        async with trio.open_nursery() as nursery:
            for candidate in found:
                await look.places.acquire()
                nursery.start_soon(look.at, candidate)
        made = [await look.whole(grouped) for grouped in _grouped(found, look.said)]
    return sorted(made, key=lambda fileset: fileset.candidates[0].path)


class _Look:
    """What the readers say of each candidate."""

    def __init__(self, readers: Readers, looked: Looked) -> None:
        self.said: dict[bytes, Members | Recognised] = {}  # by path
        self.places = trio.Semaphore(64)  # files that are open
        self._readers = readers
        self._looked = looked

    async def at(self, candidate: Candidate) -> None:
        try:
            self.said[candidate.path] = await self._ask(candidate)
        except ReaderFailed as error:
            self.said[candidate.path] = Recognised(note=error.message)
        except OSError as error:
            self.said[candidate.path] = Recognised(note=f"it cannot be read: {error.strerror or error}")
        finally:
            self.places.release()
            self._looked(candidate)

    async def _ask(self, candidate: Candidate) -> Members | Recognised:
        with opened(candidate.path) as fd:
            if candidate.is_directory:
                return await self._readers.read(candidate.name + b"/", InDirectory(candidate.name, fd))

            @contextmanager
            def beside() -> Iterator[int]:
                with opened(candidate.directory) as directory:
                    yield directory

            return await self._readers.look(candidate.name, OneFile(candidate.name, fd, beside=beside))

    async def whole(self, grouped: _Grouped) -> Fileset:
        """Return the fileset of these candidates, with what a reader finds in it."""
        candidates = tuple(grouped.candidates)
        said = self.said[candidates[0].path]
        if isinstance(said, Recognised):
            return Fileset(candidates, said)
        top = os.path.join(candidates[0].directory, b"")
        names = [path.removeprefix(top) for one in candidates for path in one.paths]
        try:
            with opened(top) as directory:
                found = await self._readers.read(candidates[0].name, LentFiles(directory, names))
        except ReaderFailed as error:
            found = Recognised(note=error.message)
        return Fileset(candidates, found, grouped.missing)


def _grouped(found: Iterable[Candidate], said: Mapping[bytes, Members | Recognised]) -> list[_Grouped]:
    """Divide the candidates, those that name others first: what these name is theirs."""
    there = {one.path: one for one in found}
    grouped: dict[bytes, _Grouped] = {}  # by the path of the main file, or the directory and the key
    named: set[bytes] = set()
    for path, candidate in sorted(there.items(), key=lambda item: (not names_others(item[1].name), item[0])):
        if path in named:
            continue
        members = _members(candidate, there, said)
        if members.key is not None:
            grouped.setdefault(_beside(candidate, members.key), _Grouped()).candidates.append(candidate)
            continue
        missing = tuple(one for one in members.names if not os.path.lexists(_beside(candidate, one)))
        if not members.names or (missing and not members.certain):
            grouped[path] = _Grouped([candidate])
        else:
            paths = [_beside(candidate, os.fsdecode(name)) for name in main_first(members, members.names)]
            grouped[paths[0]] = _Grouped([there[one] for one in paths if one in there], missing)
            named.update(paths)
    return list(grouped.values())


def _members(
    candidate: Candidate, there: Mapping[bytes, Candidate], said: Mapping[bytes, Members | Recognised]
) -> Members:
    own = said[candidate.path]
    if isinstance(own, Recognised):
        return ALONE
    main = there.get(_beside(candidate, own.main))
    mains = None if main is None else said[main.path]
    return as_main_says(candidate.name, own, mains if isinstance(mains, Members) else None)


def _beside(candidate: Candidate, name: str) -> bytes:
    return os.path.join(candidate.directory, os.fsencode(name))


@contextmanager
def opened(path: bytes) -> Iterator[int]:
    """Lend a descriptor of *path*, for reading."""
    fd = os.open(path, _OPEN)
    try:
        yield fd
    finally:
        os.close(fd)
