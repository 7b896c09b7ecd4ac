"""Filesets that are moved to another group: in the catalogue first, then their import directories."""

from __future__ import annotations

import errno
import json
from collections.abc import Awaitable, Callable, Sequence

import structlog

from repofs.catalog import records
from repofs.catalog.engine import Engine
from repofs.catalog.moves import Place
from repofs.importer import transactions
from repofs.importer.commits import Commits
from repofs.importer.counting import Counting
from repofs.importer.refusal import refused
from repofs.importer.wire import Answer, Move
from repofs.model import FilesetId
from repofs.repository import import_directory
from repofs.repository.layout import Layout, load_key
from repofs.repository.log_records import LogRecords
from repofs.threads import in_thread

log = structlog.get_logger(__name__)


class MoveDesk:
    """Carries out each move; *sync* makes durable what was changed in the tree."""

    def __init__(
        self,
        layout: Layout,
        commits: Commits,
        catalogue: Engine,
        counting: Counting,
        sync: Callable[[], Awaitable[None]],
    ) -> None:
        self._layout = layout
        self._records = LogRecords(load_key(layout))
        self._commits = commits
        self._catalogue = catalogue
        self._counting = counting
        self._sync = sync

    async def see_to(self, move: Move) -> Answer:
        """Return how many filesets were moved, or why not."""
        try:
            places, changes = await self._commits.write(transactions.move, move)
            self._counting.add(changes)
            await self._give(places, move.gid)
        except OSError as error:
            return Answer(move.id, None, str(error), error.errno or errno.EIO)
        except Exception as error:  # noqa: BLE001 -- nothing was moved; told in the answer
            return refused(move.id, "filesets could not be moved to another group", error)
        return Answer(move.id, json.dumps(len(places)))

    async def _give(self, places: Sequence[Place], gid: int) -> None:
        """Give import directories to the group: all that can be, then raise the first OSError that came of one."""
        failed = None
        for fileset, user_directory, directory in places:
            try:
                record = await in_thread(self._record, fileset)
                await in_thread(import_directory.give, self._layout, user_directory, directory, gid, record)
            except OSError as error:  # the others are to be where the catalogue says
                log.error(
                    "an import directory keeps its group", path=user_directory + b"/" + directory, error=str(error)
                )
                failed = failed or error
        await self._sync()
        if failed is not None:
            raise failed

    def _record(self, fileset: FilesetId) -> bytes:
        with self._catalogue.begin() as conn:
            return self._records.lines(records.written(records.of_move(conn, fileset)))
