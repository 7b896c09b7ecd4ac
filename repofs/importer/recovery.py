"""What an importer that died has left half done is undone or finished, before anything new is begun.

The commit point is the final row of an import: with it, what is in the tree stays; without it, nothing does, and
the files are drops again. The work is as much as was in flight, whatever the size of the repository. Recovery may
itself die, and run again.
"""

from __future__ import annotations

import os

import structlog

from repofs.catalog import imports
from repofs.catalog.engine import Engine
from repofs.errors import NotFound
from repofs.fault_points import Step, passed
from repofs.importer import files, preparing
from repofs.importer.bringing import Bringing
from repofs.importer.job import Deaths
from repofs.importer.pipeline import Interrupted
from repofs.lifecycle import State
from repofs.model import ImportId, Original
from repofs.repository import import_directory
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.sources import Sources

_COMMITTED = (State.IMPORTED, State.ALTERED, State.MISSING, State.OFFLINE, State.DELETED)

log = structlog.get_logger(__name__)


def recover(layout: Layout, engine: Engine) -> Interrupted:
    """Put tree and catalogue right; return how often each drop was interrupted.

    What cannot be put right because of the disk is logged and left for the next time.
    """
    for importing in import_directory.staged(layout):
        try:
            _settle(layout, engine, importing)
        except OSError as error:
            log.error("an import cannot be taken back now", importing=importing, error=str(error))
    try:
        preparing.clear(layout, Bringing(Marks(load_key(layout)), Sources((), layout.root), os.fspath(layout.linked)))
    except OSError as error:
        log.error("what has arrived cannot be cleared away now", error=str(error))
    passed(Step.ARRIVALS_CLEARED)
    interrupted = _release(engine)
    passed(Step.RELEASED)
    return interrupted


def _settle(layout: Layout, engine: Engine, importing: ImportId) -> None:
    """Finish or undo what the import has in the tree."""
    if _state(engine, importing) in _COMMITTED:
        import_directory.finish(layout, importing)
        passed(Step.FINISHED)
        return
    marks = Marks(load_key(layout))
    for fd in import_directory.linked(layout, importing):
        mark = marks.read(fd)
        if isinstance(mark, Original) and mark.importing == importing:
            files.mark_closed(fd, marks, mark.actor_uid, mark.size)
    import_directory.undo(layout, importing)


def _state(engine: Engine, importing: ImportId) -> State | None:
    with engine.begin() as conn:
        try:
            return imports.get(conn, importing).state
        except NotFound:
            return None


def _release(engine: Engine) -> Interrupted:
    """Give up the unfinished rows; their drops come again by themselves, with a row of their own."""
    with engine.begin() as conn:
        rows = imports.unfinished(conn)
        for row in rows:
            imports.advance(conn, row.id, State.IMPORTING, State.SETTLING, error="the importer was interrupted")
    if rows:
        log.warning("imports were interrupted and will be tried again", imports=[row.id for row in rows])
    alone = len(rows) == 1
    return {(row.intent.device, row.intent.inode): Deaths(row.intent.attempts, alone) for row in rows}
