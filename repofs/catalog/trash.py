"""The trash: a deleted fileset leaves all tables, its rows are kept as JSON in one row, and may come back."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from repofs.access import Whose
from repofs.catalog import fileset_rows, imports
from repofs.catalog.containers import Target, dataset_for
from repofs.catalog.fileset_rows import Values
from repofs.catalog.forms import now
from repofs.catalog.schema import annotations as _annotations
from repofs.catalog.schema import (
    datasets,
    experimenters,
    fileset_entries,
    filesets,
    groups,
    images,
    origins,
    project_dataset_links,
    projects,
    trash,
)
from repofs.errors import NotFound
from repofs.lifecycle import State
from repofs.model import ExperimenterId, FilesetId, GroupId, ImportId, ObjectRef, PermissionLevel
from repofs.targets import Named
from repofs.trash import Deleted, Name, Place, Whereabouts


@dataclass(frozen=True, slots=True)
class Held:
    """A fileset that may be deleted."""

    place: Place
    dropped: tuple[bytes, ...]  # of each file, below the user directory
    transfers: frozenset[str]  # how the bytes of its files came
    of: Whose
    owner: str  # login name
    images: int


# --- looking -------------------------------------------------------------------------------------


def held(conn: Connection, fileset: int) -> Held:
    """Return a fileset that is to be deleted. Raises NotFound, with the reason when it is in the trash already."""
    query = select(filesets, *_WHOSE).select_from(_owned(filesets)).where(filesets.c.id == fileset)
    row = conn.execute(query).one_or_none()
    if row is None:
        raise NotFound(missing(conn, fileset))
    came = fileset_entries.outerjoin(origins, origins.c.original_id == fileset_entries.c.original_id)
    query = select(fileset_entries.c.path, fileset_entries.c.name, origins.c.transfer).select_from(came)
    query = query.where(fileset_entries.c.fileset_id == fileset).order_by(fileset_entries.c.position)
    files = conn.execute(query).all()
    count = conn.execute(select(func.count()).where(images.c.fileset_id == fileset)).scalar_one()
    place = _place(fileset, row.user_directory, row.import_directory, [file.name for file in files], row.main)
    transfers = frozenset(row.transfer if file.transfer is None else file.transfer for file in files)
    return Held(place, tuple(file.path for file in files), transfers, _of(row), row.user_name, count)


def _place(
    fileset: int, user_directory: bytes, import_directory: bytes, files: Sequence[bytes], main: bytes | None
) -> Place:
    is_directory = main is not None and main.endswith(b"/")
    return Place(FilesetId(fileset), user_directory, import_directory, tuple(files), is_directory)


def missing(conn: Connection, fileset: int) -> str:
    """Return the sentence for a fileset that is not in the catalogue."""
    deleted = conn.execute(select(trash.c.deleted).where(trash.c.fileset_id == fileset)).scalar()
    if deleted is None:
        return f"there is no Fileset:{fileset}"
    return f"Fileset:{fileset} was deleted at {deleted}: repofs trash restore Fileset:{fileset} brings it back"


def fileset_of(conn: Connection, image: int) -> FilesetId:
    """Return the fileset that Image:*image* was found in. Raises NotFound."""
    found = conn.execute(select(images.c.fileset_id).where(images.c.id == image)).scalar()
    if found is None:
        raise NotFound(f"there is no Image:{image}")
    return FilesetId(found)


def get(conn: Connection, fileset: int) -> Deleted:
    """Return a deleted fileset. Raises NotFound when it is not in the trash."""
    row = conn.execute(_query().where(trash.c.fileset_id == fileset)).one_or_none()
    if row is None:
        raise NotFound(f"Fileset:{fileset} is not in the trash: repofs trash list shows what is")
    return _deleted(row)


def every(conn: Connection) -> list[Deleted]:
    """Return all deleted filesets, the oldest first."""
    return [_deleted(row) for row in conn.execute(_query().order_by(trash.c.deleted, trash.c.fileset_id))]


def older_than(conn: Connection, time: str) -> list[Deleted]:
    """Return those that were deleted at *time* (ISO 8601, UTC) or before."""
    return [_deleted(row) for row in conn.execute(_query().where(trash.c.deleted <= time))]


def unfinished(conn: Connection) -> list[Deleted]:
    """Return those whose files are on their way, or were when the importer died."""
    # A literal, as in the index: only so does the planner use it.
    return [_deleted(row) for row in conn.execute(_query().where(trash.c.step != literal_column("'kept'")))]


def contents(conn: Connection, deleted: Deleted) -> tuple[Place, tuple[int, ...]]:
    """Return where the files of a deleted fileset were, by its own rows, and the ids of its images."""
    rows = _kept_rows(conn, deleted.fileset)
    [fileset] = rows["filesets"]
    entries = sorted(rows["fileset_entries"], key=lambda entry: int(entry["position"]))
    files = [entry["name"] for entry in entries]
    place = _place(deleted.fileset, deleted.user_directory, fileset["import_directory"], files, fileset["main"])
    return place, tuple(image["id"] for image in rows["images"])


_WHOSE = (
    experimenters.c.user_name,
    experimenters.c.uid,
    experimenters.c.removed,
    groups.c.name.label("group_name"),
    groups.c.gid,
    groups.c.level,
)


def _owned(table: Table) -> Any:
    joined = table.join(experimenters, experimenters.c.id == table.c.owner_id)
    return joined.join(groups, groups.c.id == table.c.group_id)


def _of(row: Row[Any]) -> Whose:
    return Whose(row.uid if row.removed is None else None, row.gid, PermissionLevel(row.level))


def _query() -> Any:
    columns = [column for column in trash.c if column.name != "rows"]  # which may be long
    return select(*columns, *_WHOSE).select_from(_owned(trash))


def _deleted(row: Row[Any]) -> Deleted:
    return Deleted(
        FilesetId(row.fileset_id),
        _of(row),
        row.user_name,
        row.group_name,
        row.user_directory,
        row.import_directory,
        Whereabouts(row.step),
        row.deleted,
        row.actor_uid,
        row.files,
        row.size,
        tuple(Name(os.fsencode(path), position) for path, position in json.loads(row.names)),
    )


# --- changing ------------------------------------------------------------------------------------


def discard(conn: Connection, fileset: int, actor_uid: int, names: Sequence[Name], size: int) -> None:
    """Take a fileset out of all tables into the trash; committing makes it deleted. Raises NotFound."""
    row = conn.execute(select(filesets).where(filesets.c.id == fileset)).one_or_none()
    if row is None:
        raise NotFound(missing(conn, fileset))
    rows = {table.name: fileset_rows.taken(conn, table, wanted) for table, wanted in fileset_rows.belonging(fileset)}
    state = imports.get(conn, ImportId(row.import_id)).state
    kept = {"state": state.value, "datasets": _datasets(conn, rows["dataset_image_links"]), "rows": rows}
    for table, _ in reversed(list(fileset_rows.belonging(fileset))):
        fileset_rows.remove(conn, table, rows[table.name])
    imports.advance(conn, ImportId(row.import_id), state, State.DELETED)
    conn.execute(
        insert(trash).values(
            fileset_id=fileset,
            **{name: getattr(row, name) for name in _COPIED},
            step=Whereabouts.MOVING,
            deleted=now(),
            actor_uid=actor_uid,
            files=len(rows["fileset_entries"]),
            size=size,
            names=_names(names),
            rows=json.dumps(kept),
        )
    )


_COPIED = ("import_id", "owner_id", "group_id", "user_directory", "import_directory")


def note(
    conn: Connection,
    fileset: int,
    step: Whereabouts,
    *,
    names: Sequence[Name] | None = None,
    import_directory: bytes | None = None,
) -> None:
    """Write where the files of a deleted fileset are; and, if given, by which names they went or come back."""
    values: Values = {"step": step}
    if names is not None:
        values["names"] = _names(names)
    if import_directory is not None:
        values["import_directory"] = import_directory
    conn.execute(update(trash).where(trash.c.fileset_id == fileset).values(values))


def forget(conn: Connection, fileset: int) -> None:
    """Take a deleted fileset out of the trash for good: its files are gone."""
    conn.execute(delete(trash).where(trash.c.fileset_id == fileset))


def restore(conn: Connection, fileset: int) -> list[str]:
    """Put a fileset back into all tables, its files lying where its row says; return what is not as it was.

    A dataset that has gone, or is of another group by now, is found or made again by its name.
    """
    row = conn.execute(select(trash).where(trash.c.fileset_id == fileset)).one()
    kept = json.loads(row.rows)
    rows = fileset_rows.read(kept["rows"])
    rows["filesets"][0]["import_directory"] = row.import_directory
    places, told = _places(conn, kept["datasets"], ExperimenterId(row.owner_id), GroupId(row.group_id))
    rows["dataset_image_links"] = [
        {**link, "dataset_id": places[link["dataset_id"]]} for link in rows["dataset_image_links"]
    ]
    links = rows["annotation_links"]
    rows["annotation_links"] = [link for link in links if _is_there(conn, _annotations, link["annotation_id"])]
    if len(rows["annotation_links"]) < len(links):
        told.append("annotations that have been removed meanwhile are left out")
    for table, _ in fileset_rows.belonging(fileset):
        if rows[table.name]:
            conn.execute(insert(table), rows[table.name])
    forget(conn, fileset)
    imports.advance(conn, ImportId(row.import_id), State.DELETED, State(kept["state"]))
    return told


def _kept_rows(conn: Connection, fileset: int) -> dict[str, list[Values]]:
    """Return the rows of a deleted fileset by table, as they were."""
    kept = conn.execute(select(trash.c.rows).where(trash.c.fileset_id == fileset)).scalar_one()
    return fileset_rows.read(json.loads(kept)["rows"])


def _names(names: Sequence[Name]) -> str:
    return json.dumps([[os.fsdecode(name.path), name.position] for name in names])


# --- datasets ------------------------------------------------------------------------------------


def _datasets(conn: Connection, links: Sequence[Values]) -> list[Values]:
    """Return the datasets of *links*, each with its name and that of a project that it is in."""
    known = []
    for number in sorted({link["dataset_id"] for link in links}):
        name = conn.execute(select(datasets.c.name).where(datasets.c.id == number)).scalar_one()
        within = project_dataset_links.join(projects, projects.c.id == project_dataset_links.c.project_id)
        project = select(projects.c.name).select_from(within).where(project_dataset_links.c.dataset_id == number)
        known.append({"id": number, "name": name, "project": conn.execute(project.limit(1)).scalar()})
    return known


def _places(
    conn: Connection, known: Sequence[Values], owner: ExperimenterId, group_id: GroupId
) -> tuple[dict[int, int], list[str]]:
    """Return which dataset stands for each of *known* now, and a sentence for each that is not itself."""
    places: dict[int, int] = {}
    told: list[str] = []
    for dataset in known:
        number, name, project = dataset["id"], dataset["name"], dataset["project"]
        if _is_there(conn, datasets, number, datasets.c.group_id == group_id):
            places[number] = number
            continue
        target = Target(None if project is None else Named(project), Named(name))
        places[number] = dataset_for(conn, target, owner, group_id)
        instead = ObjectRef("Dataset", places[number])
        told.append(f"Dataset:{number} is not there for it any more: it is in {instead}, called {name!r} too")
    return places, told


def _is_there(conn: Connection, table: Table, number: int, *more: ColumnElement[bool]) -> bool:
    return conn.execute(select(table.c.id).where(table.c.id == number, *more)).first() is not None
