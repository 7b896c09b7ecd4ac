"""What `repofs fsck` asks the catalogue: is it whole in itself, and what does it say that lies in the tree?

All is read in portions, so that neither memory nor one long transaction holds the whole of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, func, insert, select, text, update

from repofs.catalog import originals
from repofs.catalog.forms import now, shown
from repofs.catalog.ids import reserve
from repofs.catalog.originals import Held
from repofs.catalog.schema import annotations as _annotations
from repofs.catalog.schema import (
    arrivals,
    datasets,
    experimenters,
    fileset_entries,
    filesets,
    groups,
    ids,
    images,
    imports,
    original_files,
    projects,
    trash,
)
from repofs.errors import StoreFailed
from repofs.lifecycle import State
from repofs.model import FilesetId, ImportId, Original
from repofs.trash import Whereabouts

_COUNTED = {
    "Annotation": _annotations.c.id,
    "Arrival": arrivals.c.id,
    "Dataset": datasets.c.id,
    "Ending": imports.c.ending,
    "Experimenter": experimenters.c.id,
    "ExperimenterGroup": groups.c.id,
    "Fileset": filesets.c.id,
    "Image": images.c.id,
    "Import": imports.c.id,
    "OriginalFile": original_files.c.id,
    "Project": projects.c.id,
}
_TRASHED = {"Fileset": filesets.name, "Image": images.name, "OriginalFile": original_files.name}

KEPT = frozenset({State.IMPORTED, State.ALTERED, State.MISSING, State.OFFLINE})
"""The states of an import that has a fileset."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One fileset, and where it lies."""

    fileset_id: FilesetId
    import_id: ImportId
    user_directory: bytes
    import_directory: bytes  # below the user directory
    transfer: str
    imported: str  # ISO 8601, UTC
    note: str | None
    actor_uid: int
    gid: int  # of its group; -1: the catalogue has no such group
    images: tuple[int, ...]

    @property
    def path(self) -> bytes:
        """Its import directory, below the mount."""
        return self.user_directory + b"/" + self.import_directory


@dataclass(frozen=True, slots=True)
class KeptFile:
    """One original of a fileset."""

    fileset: Kept
    held: Held
    name: bytes  # below the import directory

    def mark(self) -> Original:
        """Return the mark that its inode should bear."""
        fileset, origin = self.fileset, self.held.origin
        return Original(
            original=self.held.original_id,
            fileset=fileset.fileset_id,
            images=fileset.images,
            checksum=self.held.checksum,
            transfer=fileset.transfer if origin is None else origin.transfer,
            imported=fileset.imported,
            user_directory=shown(fileset.user_directory),
            import_directory=shown(fileset.import_directory),
            name=shown(self.name),
            importing=fileset.import_id,
            note=fileset.note,
            actor_uid=fileset.actor_uid,
            stands=self.held.stands,
        )


def integrity(engine: Engine) -> list[str]:
    """Return what SQLite finds damaged in its own file, at most a hundred sentences."""
    try:
        with engine.begin() as conn:
            found = [str(row[0]) for row in conn.execute(text("PRAGMA integrity_check"))]
    except StoreFailed as error:
        if isinstance(error.__cause__, sqlite3.OperationalError):
            raise  # of the disk
        return [str(error.__cause__)]  # so damaged that it cannot even be looked through
    return [] if found == ["ok"] else found


def dangling(conn: Connection) -> Iterator[tuple[str, str]]:
    """Yield (table, sentence) for each row that points to one that is not there."""
    for table, row, parent, _ in conn.execute(text("PRAGMA foreign_key_check")):
        yield table, ("one row" if row is None else f"row {row}") + f" names one of {parent} that is not there"


def counters(conn: Connection) -> dict[str, int]:
    """Return the next id of each kind."""
    return {row.kind: row.next for row in conn.execute(select(ids))}


def highest(conn: Connection) -> dict[str, int]:
    """Return the highest id in use of each kind, those in the trash among them; 0 for none."""
    found = {kind: conn.execute(select(func.max(column))).scalar() or 0 for kind, column in _COUNTED.items()}
    for rows in _trashed_rows(conn):
        for kind, table in _TRASHED.items():
            found[kind] = max(found[kind], *(row["id"] for row in rows.get(table, ())), 0)
    return found


def _trashed_rows(conn: Connection) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Yield the rows of each fileset in the trash, by table."""
    for kept in conn.execute(select(trash.c.rows).execution_options(yield_per=100)).scalars():
        yield json.loads(kept).get("rows", {})


def filesets_count(conn: Connection) -> int:
    """Return how many filesets there are."""
    return conn.execute(select(func.count()).select_from(filesets)).scalar_one()


def after(conn: Connection, last: int, count: int) -> list[Kept]:
    """Return the next *count* filesets after Fileset:*last*."""
    return _kept(conn, _filesets().where(filesets.c.id > last).order_by(filesets.c.id).limit(count))


def known(conn: Connection, numbers: Sequence[int]) -> dict[int, Kept]:
    """Return those of the filesets *numbers* (a few hundred at most) that there are, by id."""
    return {one.fileset_id: one for one in _kept(conn, _filesets().where(filesets.c.id.in_(numbers)))}


def file(conn: Connection, original_id: int) -> KeptFile | None:
    """Return one original."""
    entry = fileset_entries.c
    fileset_id = conn.execute(select(entry.fileset_id).where(entry.original_id == original_id)).scalar()
    kept = [] if fileset_id is None else list(known(conn, [fileset_id]).values())
    return next((one for one in files(conn, kept) if one.held.original_id == original_id), None) if kept else None


def counts(conn: Connection, numbers: Sequence[int]) -> dict[int, int]:
    """Return how many originals each of the filesets *numbers* (a few hundred at most) has, by id."""
    entry = fileset_entries.c
    query = select(entry.fileset_id, func.count()).where(entry.fileset_id.in_(numbers)).group_by(entry.fileset_id)
    return {fileset_id: count for fileset_id, count in conn.execute(query)}


def names(conn: Connection, fileset_id: int) -> set[bytes]:
    """Return the names of a fileset's originals, below its import directory."""
    return set(conn.execute(select(fileset_entries.c.name).where(fileset_entries.c.fileset_id == fileset_id)).scalars())


def at(conn: Connection, user_directory: bytes, import_directory: bytes) -> Kept | None:
    """Return the fileset of an import directory. Without an index: for the few that say nothing of themselves."""
    place = and_(filesets.c.user_directory == user_directory, filesets.c.import_directory == import_directory)
    return next(iter(_kept(conn, _filesets().where(place))), None)


def _filesets() -> Select[Any]:
    first = select(func.min(images.c.id)).where(images.c.fileset_id == filesets.c.id).scalar_subquery()
    count = select(func.count(images.c.id)).where(images.c.fileset_id == filesets.c.id).scalar_subquery()
    source = filesets.outerjoin(imports, imports.c.id == filesets.c.import_id)
    source = source.outerjoin(groups, groups.c.id == filesets.c.group_id)
    more = (imports.c.actor_uid, groups.c.gid, first.label("first_image"), count.label("image_count"))
    return select(filesets, *more).select_from(source)


def _kept(conn: Connection, query: Select[Any]) -> list[Kept]:
    return [
        Kept(
            fileset_id=row.id,
            import_id=row.import_id,
            user_directory=row.user_directory,
            import_directory=row.import_directory,
            transfer=row.transfer,
            imported=row.imported,
            note=row.note,
            actor_uid=row.actor_uid,
            gid=-1 if row.gid is None else row.gid,
            images=tuple(range(row.first_image, row.first_image + row.image_count)) if row.image_count else (),
        )
        for row in conn.execute(query)
    ]


def files(conn: Connection, of: Sequence[Kept]) -> Iterator[KeptFile]:
    """Yield the originals of some filesets that come one after another, in order."""
    by_id = {one.fileset_id: one for one in of}
    entry = fileset_entries.c
    query = originals.query().where(entry.fileset_id.between(min(by_id), max(by_id)))
    for row in conn.execute(query.order_by(entry.fileset_id, entry.position).execution_options(yield_per=1000)):
        if (whole := by_id.get(row.fileset_id)) is not None:
            yield KeptFile(whole, originals.of_row(row), row.name)


def trashed(conn: Connection) -> dict[int, Whereabouts]:
    """Return the filesets in the trash, and where their files are: as many as the days that they are kept for bring."""
    return {row.fileset_id: Whereabouts(row.step) for row in conn.execute(select(trash.c.fileset_id, trash.c.step))}


def is_trashed(conn: Connection, fileset_id: int) -> bool:
    """Return whether a fileset is in the trash."""
    return conn.execute(select(trash.c.fileset_id).where(trash.c.fileset_id == fileset_id)).first() is not None


def images_in_trash(conn: Connection) -> set[int]:
    """Return the images of filesets in the trash."""
    return {row["id"] for rows in _trashed_rows(conn) for row in rows.get(images.name, ())}


def is_deleted(conn: Connection, import_id: int) -> bool:
    """Return whether what an import has brought was deleted."""
    return conn.execute(select(imports.c.state).where(imports.c.id == import_id)).scalar() == State.DELETED


# --- rows that contradict each other ------------------------------------------------------------


def wrong_states(conn: Connection) -> Iterator[tuple[ImportId, State]]:
    """Yield the imports that have a fileset and are in a state that says they have none."""
    query = select(imports.c.id, imports.c.state).join(filesets, filesets.c.import_id == imports.c.id)
    for row in conn.execute(query.where(imports.c.state.not_in(KEPT)).order_by(imports.c.id)):
        yield row.id, State(row.state)


def imports_without_fileset(conn: Connection) -> Iterator[ImportId]:
    """Yield the imports that say they are done and have no fileset; what became of one in the trash is known there."""
    query = select(imports.c.id).outerjoin(filesets, filesets.c.import_id == imports.c.id)
    yield from conn.execute(query.where(imports.c.state.in_(KEPT), filesets.c.id.is_(None))).scalars()


def originals_without_fileset(conn: Connection) -> Iterator[int]:
    """Yield the originals that are in no fileset."""
    entries = fileset_entries
    query = select(original_files.c.id).outerjoin(entries, entries.c.original_id == original_files.c.id)
    yield from conn.execute(query.where(entries.c.original_id.is_(None))).scalars()


def filesets_without_original(conn: Connection) -> Iterator[FilesetId]:
    """Yield the filesets that have no original."""
    query = select(filesets.c.id).outerjoin(fileset_entries, fileset_entries.c.fileset_id == filesets.c.id)
    yield from conn.execute(query.where(fileset_entries.c.fileset_id.is_(None))).scalars()


# --- what is mended -----------------------------------------------------------------------------


def raise_counter(conn: Connection, kind: str, number: int) -> None:
    """Let the next id of *kind* be *number* at least."""
    if not conn.execute(update(ids).where(ids.c.kind == kind, ids.c.next < number).values(next=number)).rowcount:
        conn.execute(insert(ids).prefix_with("OR IGNORE").values(kind=kind, next=number))


def settle_as_imported(conn: Connection, import_id: ImportId) -> None:
    """Say of an import whose fileset is there that it is imported: its rows were committed in one transaction."""
    [ending] = reserve(conn, "Ending", 1)
    values = {"state": State.IMPORTED.value, "error": None, "ended": now(), "ending": ending}
    conn.execute(update(imports).where(imports.c.id == import_id, imports.c.state.not_in(KEPT)).values(values))
