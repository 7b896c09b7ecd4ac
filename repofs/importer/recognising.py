"""What is in a drop: the readers are asked, and get to see what is the drop's."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Protocol

from repofs.errors import Busy, ReaderFailed
from repofs.image import Members, Recognised
from repofs.importer.import_log import ImportLog
from repofs.importer.lending import InDirectory, Lender, LentFiles, OneFile
from repofs.importer.placement import Placement
from repofs.lifecycle import State
from repofs.model import Drop
from repofs.repository.outside import Root
from repofs.repository.sources import OriginLost


class Recogniser(Protocol):
    """readers.Readers, as imports see it."""

    async def look(self, name: bytes, files: Lender, user: bytes) -> Members | Recognised: ...

    async def read(self, name: bytes, files: Lender, user: bytes) -> Recognised: ...


class Recognising:
    """For the imports of one repository."""

    def __init__(self, readers: Recogniser, placement: Placement) -> None:
        self._readers = readers
        self._placement = placement

    async def look(self, drop: Drop, fd: int, root: Root | None, log: ImportLog) -> Members | Recognised:
        """Return what the drop holds; or, when no reader was asked yet, which files form one fileset with it.

        Raises OriginLost, OSError when its bytes cannot be had.
        """
        try:
            with log.step("looked at by the readers"):
                found = await self._ask(drop, fd, root)
        except ReaderFailed as error:
            found = Recognised(note=str(error))
        except (Busy, OriginLost) as error:
            if isinstance(error, OriginLost) and error.state is not State.ALTERED:
                raise
            found = Recognised(note=str(error))  # its source is being written: whoever brings the bytes has it wait
        if isinstance(found, Recognised):
            log.note(f"format {found.format or 'unknown'}, images: {len(found.images)}")
            if found.note:
                log.note(found.note)
        return found

    async def _ask(self, drop: Drop, fd: int, root: Root | None) -> Members | Recognised:
        name, user = os.path.basename(drop.path), drop.user_directory

        def bytes_of(file: int) -> AbstractContextManager[int]:
            return self._placement.bringing.bytes_of(file, root)

        if drop.is_directory:
            return await self._readers.read(name + b"/", InDirectory(name, fd, bytes_of), user)
        if not drop.is_one_file:
            lent = LentFiles(fd, frozenset(drop.members or ()), bytes_of)
            return await self._readers.read(name, lent, user)
        beside = None if drop.source else self._placement.directory_of(drop)
        alone = OneFile(name, fd, bytes_of, beside, at_hand=self._placement.marks.origin(fd) is None)
        ask = self._readers.look if drop.members is None else self._readers.read
        return await ask(name, alone, user)
