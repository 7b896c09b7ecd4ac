"""Keeping in the tree what only the catalogue knows of the whole repository (`repository.kept`)."""

from __future__ import annotations

import msgspec
import structlog

from repofs.catalog import ids, users
from repofs.catalog.engine import Connection, Engine
from repofs.fault_points import Step, passed
from repofs.repository.kept import OFTEN, Counters, Kept
from repofs.repository.layout import Layout

_log = structlog.get_logger(__name__)


def keep_counters(layout: Layout, engine: Engine, *, alone: bool = False) -> Counters:
    """Let no id be given twice by *engine*, even if the catalogue is an older one by now than it was.

    *alone*: no other process gives any, so that those that the file is ahead are not a running daemon's.
    """
    counters = Counters(layout)
    marks = {kind: mark for kind, mark in counters.read().items() if kind != users.VERSION}
    with engine.begin() as conn:
        behind = ids.lift(conn, marks if alone else {k: mark for k, mark in marks.items() if k not in OFTEN})
    if behind:
        _log.info("ids stay unused: the last daemon was ended by force, or the catalogue is an older one", ids=behind)
    ids.before_commit(engine, counters.let_give)
    return counters


def end_counters(counters: Counters, engine: Engine) -> None:
    """Let the next process go on with the very next ids; for who gives ids alone."""
    with engine.begin() as conn:
        counters.end(ids.following(conn))


class KeptPeople:
    """The file of a repository's people."""

    def __init__(self, layout: Layout) -> None:
        self._kept = Kept(layout, layout.people)

    def read(self) -> users.Everybody | None:
        """Return who the file says there is; None when it says nothing."""
        kept = self._kept.read()
        return None if kept is None else msgspec.convert(kept, users.Everybody)

    def keep(self, conn: Connection) -> None:
        """Write down who there is now, unless the file knows of later changes than the catalogue does."""
        people, known = users.everybody(conn), self.read()
        if known is not None and known.version > people.version:
            _log.error("the catalogue is older than the tree: stop, and run repofs fsck --rebuild-catalogue")
        elif known != people:
            self._kept.write(msgspec.to_builtins(people))
            passed(Step.PEOPLE_KEPT)
