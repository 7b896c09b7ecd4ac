"""Sources that a transfer removes: unlinked after the commit of their import, with the rights of who asked for it.

The row says "due" from the commit on. Each is looked at once more: the file that was imported, of the same size and
mtime, else it is kept, and the row says why. After a crash those that are due are seen to at the next start, and after
a full disk of the catalogue when there is room.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import structlog
import trio

from repofs.catalog import origins
from repofs.catalog.engine import Connection
from repofs.catalog.filesets import FinishedImport
from repofs.catalog.origins import DONE, Due
from repofs.errors import NotFound, StoreFull
from repofs.fault_points import Step, passed
from repofs.importer.commits import FULL_SECONDS, Commits
from repofs.model import Drop, Origin, OriginalFileId
from repofs.repository import as_user
from repofs.repository.outside import remove_beneath, remove_empty_beneath
from repofs.repository.sources import Sources
from repofs.threads import in_thread

log = structlog.get_logger(__name__)

Ended = tuple[OriginalFileId, str]
"""An original, and DONE or why its source was kept."""


class Removals:
    """Of the sources of one repository."""

    def __init__(self, commits: Commits, sources: Sources) -> None:
        self._commits = commits
        self._sources = sources
        self._left = trio.Event()  # some are due that nobody sees to
        self._left.set()

    async def after(self, drop: Drop, finished: FinishedImport) -> str | None:
        """Remove the sources that are due now that the import is durable; return why one was kept, or None."""
        files = [file for file in finished.entries if file.origin is not None and file.removal_due]
        if not files:
            return None
        due = [Due(file.original_id, file.origin, drop.actor_uid) for file in files if file.origin is not None]
        ended = await self._see_to(due)
        if drop.is_directory:
            origin, name = due[0].origin, files[0].name
            await in_thread(remove_directory, self._sources, origin, name, drop.actor_uid)
        return next((how for _, how in ended if how != DONE), None)

    async def of_kept(self, fileset: int, source: str, path: bytes, actor_uid: int) -> str | None:
        """Remove the source of an original that was imported by a transfer which removes, and was kept then, now that
        *actor_uid* asks for the same again. Returns DONE, or why it is kept; None when there is none to be removed."""
        file = await self._commits.write(_owed, (fileset, source, path))
        if file is None:
            return None
        [(_, how)] = await self._see_to([Due(file.original_id, file.origin, actor_uid)])
        return how

    async def _see_to(self, due: Sequence[Due]) -> list[Ended]:
        ended = await in_thread(remove, self._sources, due)
        passed(Step.SOURCE_REMOVED)
        await self._note(ended)
        passed(Step.REMOVAL_COMMITTED)
        return ended

    async def run(self) -> None:
        """See to what was due when the importer died, and to what was left since, until cancelled."""
        while True:
            await self._left.wait()
            self._left = trio.Event()
            due = await self._commits.write(_due, None)
            if due:  # some in another task's hands, perhaps: each is removed once, and whoever comes second finds it so
                ended = await in_thread(remove, self._sources, due)
                passed(Step.SOURCE_RESUMED)
                await self._note(ended)
            if self._left.is_set():
                await trio.sleep(FULL_SECONDS)

    async def _note(self, ended: list[Ended]) -> None:
        try:
            await self._commits.write(_noted, ended)
        except StoreFull as error:
            log.warning("how the removal of sources has ended is written when there is room", error=error.message)
            self._left.set()


def remove(sources: Sources, due: Sequence[Due]) -> list[Ended]:
    """Remove what is *due*, as far as it is still what was imported; return how each ended. Blocking."""
    return [(one.original_id, _remove(sources, one)) for one in due]


def _remove(sources: Sources, one: Due) -> str:
    try:
        with sources.root(one.origin.source) as root:
            path = os.fsencode(one.origin.path)
            try:
                remove_beneath(root, path, one.origin.identity, as_user.by_account(one.actor_uid))
            except NotFound:  # removed, and the importer died before it could say so
                if os.fstat(root.fd).st_dev != one.origin.identity.device:  # or its store is not mounted
                    raise
    except OSError as error:
        log.warning("a source is kept", path=one.origin.path, reason=str(error))
        return f"kept: {error}"
    return DONE


def remove_directory(sources: Sources, file: Origin, name: bytes, actor_uid: int) -> None:
    """Remove what is empty of the directory that *file*, called *name* in its drop, came from. Blocking."""
    _, _, below = name.partition(b"/")
    top = os.fsencode(file.path)[: -len(below) - 1]
    try:
        with sources.root(file.source) as root:
            remove_empty_beneath(root, top, as_user.by_account(actor_uid))
    except OSError as error:
        log.info("an empty directory is kept", path=top, reason=str(error))


def _owed(conn: Connection, items: Sequence[tuple[int, str, bytes]]) -> Sequence[Due | None]:
    return [origins.owe(conn, *item) for item in items]


def _due(conn: Connection, items: Sequence[None]) -> Sequence[list[Due]]:
    return [origins.due(conn)] * len(items)


def _noted(conn: Connection, items: Sequence[Sequence[Ended]]) -> Sequence[None]:
    origins.removed(conn, [one for ended in items for one in ended])
    return [None] * len(items)
