"""Thumbnails of what was imported, made in the background: one at a time, and imports go first.

The catalogue is the queue: an image without a word about its thumbnail is to be looked at. Every look ends with such a
word, so that none is taken twice. When the directory of thumbnails is missing all are made anew.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
import trio

from repofs.catalog import thumbnails
from repofs.catalog.engine import Engine
from repofs.catalog.thumbnails import Due, Looked, Thumbnail
from repofs.errors import ReaderFailed
from repofs.fault_points import Step, passed
from repofs.image import Appearance, Picture
from repofs.importer.bringing import Bringing
from repofs.importer.commits import Commits
from repofs.importer.lending import InDirectory, Lender
from repofs.model import ObjectRef, Skip
from repofs.repository.durable import write_whole
from repofs.repository.layout import Layout
from repofs.repository.trees import opened
from repofs.threads import in_thread

GATHER_SECONDS = 0.5  # that the first of several new images waits for others
PATIENCE_SECONDS = 5.0  # for a moment without an import; then one picture is made all the same
SLOW_SECONDS = 5.0  # that a picture takes; whose did has the next when nobody else waits for one
PAUSE_SECONDS = 60.0  # after something unforeseen

log = structlog.get_logger(__name__)


class Painter(Protocol):
    """readers.Readers, as it is seen from here."""

    async def picture(
        self, name: bytes, files: Lender, series: int, appearance: Appearance, user: bytes
    ) -> Picture: ...


class Thumbnails:
    def __init__(
        self,
        layout: Layout,
        commits: Commits,
        catalogue: Engine,
        readers: Painter,
        bringing: Bringing,
        idle: Callable[[], Awaitable[None]],
    ) -> None:
        self._layout = layout
        self._commits = commits
        self._catalogue = catalogue
        self._readers = readers
        self._bringing = bringing
        self._idle = idle
        self._slow: set[bytes] = set()  # user directories

    async def run(self) -> None:
        """Make what is to be made until cancelled. Nothing that is met with ends it, nor the imports."""
        while True:
            try:
                await self._next()
                continue
            except trio.BrokenResourceError:
                return  # the catalogue takes nothing more: the importer ends
            except Exception:
                log.exception("thumbnails cannot be made now", again_in_seconds=PAUSE_SECONDS)
            await trio.sleep(PAUSE_SECONDS)

    async def _next(self) -> None:
        """Look at one image, or wait until there may be one."""
        committed = self._commits.committed.next
        await self._make_directory()
        due = await in_thread(self._due)
        if due is None:
            await committed.wait()
            await trio.sleep(GATHER_SECONDS)
            return
        await self._turn()
        before = trio.current_time()
        looked = await self._look(due)
        slow = trio.current_time() - before > SLOW_SECONDS
        (self._slow.add if slow else self._slow.discard)(due.user_directory)
        if not await self._commits.write(thumbnails.record, looked):  # deleted meanwhile, and perhaps gone for good
            await in_thread(self._layout.thumbnail(due.image).unlink, True)  # missing_ok

    async def _make_directory(self) -> None:
        """Make the directory of thumbnails unless it is there; what the catalogue says was in it is to be made anew."""
        if await in_thread(self._layout.thumbnails.is_dir):
            return
        while await self._commits.write(thumbnails.again, None):
            pass
        await in_thread(self._layout.make_thumbnails)

    def _due(self) -> Due | None:
        with self._catalogue.begin() as conn:
            return thumbnails.due(conn, self._slow)

    async def _turn(self) -> None:
        """Wait until nothing is imported, but not for ever."""
        with trio.move_on_after(PATIENCE_SECONDS):
            await self._idle()

    async def _look(self, due: Due) -> Looked:
        """Make what is wanted of one image. What fails is logged once, here."""
        image = str(ObjectRef("Image", due.image))
        try:
            picture = await self._picture(due)
            if Skip.THUMBNAILS not in due.skipped:
                with self._commits.health.heeding("a thumbnail"):
                    place, new = self._layout.thumbnail(due.image), self._layout.new_thumbnail
                    await in_thread(write_whole, place, picture.png, new)
                passed(Step.THUMBNAIL_WRITTEN)
        except (ReaderFailed, FileNotFoundError) as error:  # its files go when it is deleted
            log.info("an image has no thumbnail", image=image, reason=str(error))
            return Looked(due.image, Thumbnail.FAILED)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # later, when there is room
            log.warning("a thumbnail cannot be made", image=image, reason=str(error))
            return Looked(due.image, Thumbnail.FAILED)
        except Exception:  # a fault of ours is no reason to leave all others without a thumbnail
            log.exception("a thumbnail cannot be made", image=image)
            return Looked(due.image, Thumbnail.FAILED)
        made = Thumbnail.SKIPPED if Skip.THUMBNAILS in due.skipped else Thumbnail.MADE
        return Looked(due.image, made, () if Skip.MINMAX in due.skipped else picture.ranges)

    async def _picture(self, due: Due) -> Picture:
        place = os.path.join(os.fsencode(self._layout.managed), due.user_directory, due.import_directory)
        with opened(place) as directory:  # all that is in it is of this fileset
            files = InDirectory(b"", directory, self._bringing.bytes_of)
            return await self._readers.picture(due.main, files, due.series, due.appearance, due.user_directory)
