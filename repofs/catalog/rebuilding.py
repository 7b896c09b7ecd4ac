"""Filling a new catalogue with what the tree tells: people, then filesets in batches, then what follows from all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Table, insert, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError

from repofs.catalog import arrivals, consistency, filesets, ids, imports, schema, trashed_rows
from repofs.catalog.containers import ContainerRow, Home
from repofs.catalog.filesets import FinishedImport
from repofs.catalog.imports import NewImport
from repofs.catalog.records import Filled
from repofs.catalog.users import Everybody
from repofs.lifecycle import State
from repofs.model import OriginalFileId

BY_MARKS = 0  # attempts of an import of which no record tells


@dataclass(frozen=True, slots=True)
class Restored:
    """An import as the tree tells it."""

    finished: FinishedImport
    intent: NewImport
    state: State
    filled: tuple[Filled, ...]
    at: str  # when *filled* was so
    removals: Mapping[OriginalFileId, str]  # how the removal of sources ended
    stands: Mapping[OriginalFileId, State]  # of those that were found otherwise than they were imported


class Rebuilding:
    """Fills one catalogue that was empty, in one transaction a call."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._projects: dict[int, tuple[str, ContainerRow]] = {}  # what is written of each, and of when that is
        self._homes: dict[int, tuple[str, Home]] = {}  # the same, by dataset

    def add_people(self, people: Everybody) -> None:
        """Write groups, experimenters and memberships. Raises IntegrityError."""
        for table, rows in (
            (schema.groups, people.groups),
            (schema.experimenters, people.experimenters),
            (schema.memberships, people.memberships),
        ):
            if rows:
                self._conn.execute(insert(table), [asdict(row) for row in rows])

    def add(self, batch: Sequence[Restored]) -> Iterator[tuple[Restored, str]]:
        """Write many imports; yield each that cannot be, and why: an id is taken already, or its owner unknown."""
        before = dict(self._projects), dict(self._homes)
        try:
            with self._conn.begin_nested():
                self._write(batch)
        except IntegrityError as error:
            self._projects, self._homes = before
            if len(batch) == 1:
                yield batch[0], str(error.orig)
                return
            for one in batch:
                yield from self.add([one])

    def add_trash(self, rows: dict[str, Any]) -> str | None:
        """Write a deleted fileset (`trashed_rows`); return why it cannot be."""
        try:
            with self._conn.begin_nested():
                trashed_rows.put(self._conn, rows)
        except IntegrityError as error:
            return str(error.orig)
        return None

    def has(self, fileset: int) -> bool:
        """Return whether a fileset was written."""
        return bool(consistency.known(self._conn, [fileset]))

    def _write(self, batch: Sequence[Restored]) -> None:
        if not batch:
            return
        rows = [(one.finished.import_id, one.intent, one.state, one.finished.imported) for one in batch]
        imports.restore(self._conn, rows)
        # The links are in `filled`, as they are by now: a target would be looked up anew.
        filesets.add_rows(self._conn, [replace(one.finished, target=None) for one in batch])
        links = []
        for one in batch:
            for filled in one.filled:
                self._add_home(filled.home, one.at)
                links += [{"dataset_id": filled.home.dataset.id, "image_id": image} for image in filled.images]
            for original, how in one.removals.items():
                own = schema.origins.c.original_id == original
                self._conn.execute(update(schema.origins).where(own).values(removal=how))
            for original, stands in one.stands.items():
                files = schema.original_files
                self._conn.execute(update(files).where(files.c.id == original).values(stands=stands.value))
        if links:
            self._conn.execute(insert(schema.dataset_image_links), links)

    def _add_home(self, home: Home, at: str) -> None:
        for project in home.projects:
            project_at, known = self._projects.get(project.id, ("", None))
            if project_at <= at:
                self._projects[project.id] = at, project
                if project != known:
                    self._put(schema.projects, project)
        at_before, before = self._homes.get(home.dataset.id, ("", None))
        if at_before <= at:
            self._homes[home.dataset.id] = at, home
            if home != before:
                self._write_home(home)

    def _write_home(self, home: Home) -> None:
        links = schema.project_dataset_links
        self._put(schema.datasets, home.dataset)
        self._conn.execute(links.delete().where(links.c.dataset_id == home.dataset.id))
        rows = [{"project_id": project.id, "dataset_id": home.dataset.id} for project in home.projects]
        if rows:
            self._conn.execute(insert(links), rows)

    def _put(self, table: Table, row: ContainerRow) -> None:
        values = asdict(row)
        self._conn.execute(upsert(table).values(values).on_conflict_do_update(index_elements=["id"], set_=values))


def conclude(conn: Connection, marks: Mapping[str, int], arrived: Mapping[int, str], trashed: Collection[int]) -> None:
    """Put right what follows from all that is there.

    In the trash are only those of *trashed*. The ends of imports are numbered, and no hook tells of one again; the
    next ids are beyond all that are there and all *marks*; *arrived* are arrivals that may be queued and came to their
    end at those times.
    """
    trashed_rows.keep(conn, trashed)
    following = imports.number_endings(conn)
    conn.execute(update(schema.hooks).values(delivered=following - 1))
    for number, at in arrived.items():
        arrivals.ended(conn, number, State.IMPORTED, None, at)
    wanted = dict(marks) | {"Ending": max(following, marks.get("Ending", 0))}
    for kind, largest in consistency.highest(conn).items():
        wanted[kind] = max(wanted.get(kind, 0), largest + 1)
    ids.lift(conn, wanted)
