"""Reading the catalogue for people: one object described, or all originals listed. Values are fit for JSON.

A description lists at most `LISTED` files, images or datasets, each beside a count of all, and of an image the first
`LISTED_CHANNELS` channels of its `size_c`. It leaves out of the reader's metadata what would take it above
`METADATA_BYTES`: it travels as the value of an extended attribute, which the kernel bounds to 64 KiB. Names of the tree
are texts as `forms.shown` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, Table, Text, cast, func, select, true

from repofs.catalog import trash
from repofs.catalog.forms import shown
from repofs.catalog.schema import (
    channels,
    dataset_image_links,
    datasets,
    experimenters,
    fileset_entries,
    filesets,
    groups,
    images,
    imports,
    original_files,
    project_dataset_links,
    projects,
)
from repofs.errors import NotFound
from repofs.model import ObjectRef

LISTED = 25
LISTED_CHANNELS = 100
_IMPORT = ("state", "error", "transfer", "imported", "actor_uid", "format", "note", "skipped")
_WHOSE = ("owner", "owner_uid", "owner_removed", "group", "group_id", "group_gid", "group_level")
METADATA_BYTES = 16 << 10

Facts = dict[str, object]
AnyRow = Row[tuple[Any, ...]]


def describe(conn: Connection, ref: ObjectRef) -> Facts:
    """Return what is known of a Fileset, Image, OriginalFile, Dataset or Project.

    Every description has object, owner, owner_uid, owner_removed, group, group_id, group_gid and group_level; that of
    what was imported also actor_uid, who dropped it. Raises NotFound.
    """
    if ref.kind not in _KINDS:
        raise NotFound(f"{ref.kind} is nothing that can be shown: ask for {', '.join(_KINDS)}")
    facts = _KINDS[ref.kind](conn, ref.id)
    if facts is None:
        raise NotFound(trash.missing(conn, ref.id) if ref.kind == "Fileset" else f"there is no {ref}")
    return {"object": str(ref), **facts}


def originals(conn: Connection) -> Iterator[Facts]:
    """Yield every original, by fileset and position, without holding more than some thousand in memory.

    Keys: path (as dropped) and import_path, both below the mount, state, size, checksum, fileset, images, original.
    """
    numbers = select(func.aggregate_strings(cast(images.c.id, Text), ",")).where(images.c.fileset_id == filesets.c.id)
    query = _files_of(true(), imports.c.state, numbers.scalar_subquery().label("images"))
    query = query.order_by(fileset_entries.c.fileset_id, fileset_entries.c.position)
    for row in conn.execute(query.execution_options(yield_per=1000)):
        found = sorted(int(number) for number in row.images.split(",")) if row.images else []
        yield {
            "path": _below_mount(row, row.path),
            "import_path": _below_mount(row, row.import_directory, row.name),
            "state": row.state,
            "size": row.size,
            "checksum": row.checksum,
            "fileset": f"Fileset:{row.fileset_id}",
            "images": [f"Image:{number}" for number in found],
            "original": f"OriginalFile:{row.original_id}",
        }


# --- kinds ---------------------------------------------------------------------------------------


def _fileset(conn: Connection, number: int) -> Facts | None:
    row = _owned(conn, filesets, filesets.c.id == number)
    if row is None:
        return None
    inside = images.c.fileset_id == number
    listed = conn.execute(select(images).where(inside).order_by(images.c.series).limit(LISTED))
    return {
        **_import_facts(row),
        **_files(conn, number),
        "images": [{"object": f"Image:{image.id}", **_image_facts(image)} for image in listed],
        "image_count": _count(conn, images, inside),
        "datasets": _datasets(conn, dataset_image_links.c.image_id.in_(select(images.c.id).where(inside))),
        **_metadata(row.original_metadata),
        **_whose(row),
    }


def _image(conn: Connection, number: int) -> Facts | None:
    image = conn.execute(select(images).where(images.c.id == number)).one_or_none()
    if image is None:
        return None
    row = _owned(conn, filesets, filesets.c.id == image.fileset_id)
    assert row is not None  # a foreign key holds it
    described = select(channels).where(channels.c.image_id == number).order_by(channels.c.position)
    found = conn.execute(described.limit(LISTED_CHANNELS))
    return {
        **_image_facts(image),
        "channels": [_given(channel, "image_id", "position") for channel in found],
        "fileset": f"Fileset:{image.fileset_id}",
        **_import_facts(row),
        **_files(conn, image.fileset_id),
        "datasets": _datasets(conn, dataset_image_links.c.image_id == number),
        **_whose(row),
    }


def _original(conn: Connection, number: int) -> Facts | None:
    file = conn.execute(_files_of(fileset_entries.c.original_id == number)).one_or_none()
    if file is None:
        return None
    row = _owned(conn, filesets, filesets.c.id == file.fileset_id)
    assert row is not None  # a foreign key holds it
    inside = images.c.fileset_id == file.fileset_id
    listed = conn.execute(select(images.c.id).where(inside).order_by(images.c.series).limit(LISTED)).scalars()
    return {
        **_file_facts(file),
        "fileset": f"Fileset:{file.fileset_id}",
        **_import_facts(row),
        "images": [f"Image:{image}" for image in listed],
        "image_count": _count(conn, images, inside),
        **_whose(row),
    }


def _dataset(conn: Connection, number: int) -> Facts | None:
    row = _owned(conn, datasets, datasets.c.id == number)
    if row is None:
        return None
    inside = dataset_image_links.c.dataset_id == number
    query = select(images.c.id, images.c.name).join(dataset_image_links).where(inside)
    return {
        "name": row.name,
        "created": row.created,
        "projects": _projects(conn, number),
        "images": _named("Image", conn.execute(query.order_by(images.c.id).limit(LISTED))),
        "image_count": _count(conn, dataset_image_links, inside),
        **_whose(row),
    }


def _project(conn: Connection, number: int) -> Facts | None:
    row = _owned(conn, projects, projects.c.id == number)
    if row is None:
        return None
    inside = project_dataset_links.c.project_id == number
    query = select(datasets.c.id, datasets.c.name).join(project_dataset_links).where(inside)
    return {
        "name": row.name,
        "created": row.created,
        "datasets": _named("Dataset", conn.execute(query.order_by(datasets.c.id).limit(LISTED))),
        "dataset_count": _count(conn, project_dataset_links, inside),
        **_whose(row),
    }


_KINDS: dict[str, Callable[[Connection, int], Facts | None]] = {
    "Fileset": _fileset,
    "Image": _image,
    "OriginalFile": _original,
    "Dataset": _dataset,
    "Project": _project,
}

# --- what they are made of -----------------------------------------------------------------------


def _owned(conn: Connection, table: Table, which: ColumnElement[bool]) -> AnyRow | None:
    """Return the one row of *table* with its owner and group; a fileset's with its state too."""
    source: FromClause = table.join(experimenters, table.c.owner_id == experimenters.c.id)
    source = source.join(groups, table.c.group_id == groups.c.id)
    columns: list[ColumnElement[Any]] = [
        *table.c,
        experimenters.c.user_name.label("owner"),
        experimenters.c.uid.label("owner_uid"),
        experimenters.c.removed.label("owner_removed"),
        groups.c.name.label("group"),
        groups.c.gid.label("group_gid"),
        groups.c.level.label("group_level"),
    ]
    if table is filesets:
        source = source.join(imports, filesets.c.import_id == imports.c.id)
        columns += [imports.c.state, imports.c.error, imports.c.actor_uid]
    return conn.execute(select(*columns).select_from(source).where(which)).one_or_none()


def _whose(row: AnyRow) -> Facts:
    return {name: row._mapping[name] for name in _WHOSE}


def _import_facts(row: AnyRow) -> Facts:
    directory = _below_mount(row, row.import_directory)
    facts: Facts = {name: row._mapping[name] for name in _IMPORT}
    return {**facts, "import_directory": directory, "log": directory + ".log"}


def _image_facts(row: AnyRow) -> Facts:
    return _given(row, "id", "fileset_id")


def _given(row: AnyRow, *without: str) -> Facts:
    return {name: value for name, value in row._mapping.items() if value is not None and name not in without}


def _files_of(which: ColumnElement[bool], *more: ColumnElement[Any]) -> Select[Any]:
    """Return the query for files with all their names, and *more*, which may be of filesets or imports."""
    files, whole = original_files.c, filesets.c
    columns = [files.size, files.mtime_ns, files.checksum, whole.user_directory, whole.import_directory]
    source = fileset_entries.join(original_files).join(filesets).join(imports, imports.c.id == whole.import_id)
    query: Select[Any] = select(*fileset_entries.c, *columns, *more).select_from(source)
    return query.where(which)


def _files(conn: Connection, fileset: int) -> Facts:
    inside = fileset_entries.c.fileset_id == fileset
    listed = conn.execute(_files_of(inside).order_by(fileset_entries.c.position).limit(LISTED))
    files = [{"object": f"OriginalFile:{row.original_id}", **_file_facts(row)} for row in listed]
    return {"files": files, "file_count": _count(conn, fileset_entries, inside)}


def _file_facts(row: AnyRow) -> Facts:
    return {
        "path": _below_mount(row, row.path),
        "import_path": _below_mount(row, row.import_directory, row.name),
        "size": row.size,
        "mtime_ns": row.mtime_ns,
        "checksum": row.checksum,
    }


def _below_mount(row: AnyRow, *parts: bytes) -> str:
    return shown(b"/".join((row.user_directory, *parts)))


def _metadata(stored: str | None) -> Facts:
    """Return the reader's metadata in its order, without the values that do not fit, and how many those are."""
    kept: dict[str, str] = {}
    raw: dict[str, str] = json.loads(stored) if stored else {}
    room = METADATA_BYTES
    for key, value in raw.items():
        size = len(json.dumps({key: value}))
        if size <= room:
            kept[key] = value
            room -= size
    return {"original_metadata": kept, "original_metadata_more": len(raw) - len(kept)}


def _datasets(conn: Connection, which: ColumnElement[bool]) -> list[Facts]:
    query = select(datasets.c.id, datasets.c.name).join(dataset_image_links).where(which).distinct()
    rows = conn.execute(query.order_by(datasets.c.id).limit(LISTED)).all()
    return [
        {**one, "projects": _projects(conn, row.id)} for row, one in zip(rows, _named("Dataset", rows), strict=True)
    ]


def _projects(conn: Connection, dataset: int) -> list[Facts]:
    query = select(projects.c.id, projects.c.name).join(project_dataset_links)
    query = query.where(project_dataset_links.c.dataset_id == dataset)
    return _named("Project", conn.execute(query.order_by(projects.c.id).limit(LISTED)))


def _named(kind: str, rows: Any) -> list[Facts]:
    return [{"object": f"{kind}:{row.id}", "name": row.name} for row in rows]


def _count(conn: Connection, table: Table, which: ColumnElement[bool]) -> int:
    return conn.execute(select(func.count()).select_from(table).where(which)).scalar_one()
