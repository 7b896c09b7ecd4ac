"""Writing what was imported: many filesets in one transaction, whose commit is the moment of import."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from repofs.catalog import arrivals, audit, imports, origins, schema, thumbnails
from repofs.catalog.containers import Home, Target, dataset_for
from repofs.catalog.forms import nearest, plain
from repofs.catalog.origins import NewOrigin
from repofs.image import Channel, ImageInfo
from repofs.lifecycle import State
from repofs.model import ExperimenterId, FilesetId, GroupId, ImageId, ImportId, ObjectRef, Origin, OriginalFileId, Skip


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """One original of a finished import."""

    original_id: OriginalFileId
    path: bytes  # as dropped, below the user directory
    name: bytes  # below the import directory
    size: int
    mtime_ns: int
    checksum: str  # "SHA1-160:…"
    origin: Origin | None = None  # of a file from outside
    removal_due: bool = False  # whether its source is to be removed


@dataclass(frozen=True, slots=True)
class FinishedImport:
    """An import whose files are in their place; all ids are from `ids.reserve`."""

    import_id: ImportId
    fileset_id: FilesetId
    owner: ExperimenterId
    group_id: GroupId
    user_directory: bytes
    import_directory: bytes  # below the user directory
    transfer: str  # model.Transfer, or a third party's
    imported: str  # ISO 8601, UTC
    target: Target | None
    format: str | None
    entries: tuple[FinishedFile, ...]
    images: tuple[tuple[ImageId, ImageInfo], ...] = ()
    original_metadata: dict[str, str] = field(default_factory=dict)
    note: str | None = None
    actor_uid: int | None = None  # who imported it for its owner; None: she herself
    main: bytes | None = None  # below the import directory: what readers read it by; None: the first file
    skipped: tuple[Skip, ...] = ()
    queued: int | None = None  # the row of arrivals that has come to its end with this
    home: Home | None = None  # what *target* was found to mean before; None: not looked up


Values = dict[str, Any]


def record(conn: Connection, finished: Sequence[FinishedImport]) -> None:
    """Write the final rows of *finished* and take their imports to imported; committing makes it so.

    Datasets and projects are made as the targets ask, when there is an image to put into them. On an error
    (LookupError: an import was not importing; IntegrityError) nothing of the batch may be committed.
    """
    add_rows(conn, finished)
    if finished:
        imports.finish(conn, [(one.import_id, one.imported) for one in finished])
    for one in finished:
        if one.queued is not None:
            arrivals.ended(conn, one.queued, State.IMPORTED, None)
        if one.actor_uid is not None:
            path = b"/".join((one.user_directory, one.entries[0].path))
            audit.record(conn, one.actor_uid, "import-as", ObjectRef("Fileset", one.fileset_id), path=path)


def add_rows(conn: Connection, finished: Sequence[FinishedImport]) -> None:
    """Write the rows of *finished* filesets, of which those of imports are there. Raises IntegrityError."""
    _insert(conn, schema.filesets, [_fileset(one) for one in finished])
    _insert(conn, schema.original_files, [_original(one, file) for one in finished for file in one.entries])
    _insert(
        conn,
        schema.fileset_entries,
        [_entry(one, position, file) for one in finished for position, file in enumerate(one.entries)],
    )
    origins.add(conn, [new for one in finished for file in one.entries if (new := _new_origin(file)) is not None])
    images = [(one, number, info) for one in finished for number, info in one.images]
    _insert(conn, schema.images, [_image(one, number, info) for one, number, info in images])
    _insert(
        conn,
        schema.channels,
        [
            _channel(number, position, channel)
            for _, number, info in images
            for position, channel in enumerate(info.channels)
        ],
    )
    _link(conn, [(one, number) for one, number, _ in images])


def _insert(conn: Connection, table: Table, rows: Sequence[Values]) -> None:
    if rows:
        conn.execute(insert(table), rows)


def _fileset(one: FinishedImport) -> Values:
    raw = {plain(key): plain(value) for key, value in one.original_metadata.items()}
    return {
        "id": one.fileset_id,
        "import_id": one.import_id,
        "owner_id": one.owner,
        "group_id": one.group_id,
        "user_directory": one.user_directory,
        "import_directory": one.import_directory,
        "transfer": one.transfer,
        "imported": one.imported,
        "format": one.format,
        "note": plain(one.note),
        "original_metadata": json.dumps(raw, ensure_ascii=False) if raw else None,
        "main": one.main,
        "skipped": ",".join(step for step in Skip if step in one.skipped) or None,
    }


def _original(one: FinishedImport, file: FinishedFile) -> Values:
    return {
        "id": file.original_id,
        "owner_id": one.owner,
        "group_id": one.group_id,
        "size": file.size,
        "mtime_ns": nearest(file.mtime_ns),
        "checksum": file.checksum,
    }


def _new_origin(file: FinishedFile) -> NewOrigin | None:
    return None if file.origin is None else NewOrigin(file.original_id, file.origin, file.removal_due)


def _entry(one: FinishedImport, position: int, file: FinishedFile) -> Values:
    return {
        "fileset_id": one.fileset_id,
        "position": position,
        "original_id": file.original_id,
        "path": file.path,
        "name": file.name,
    }


_IMAGE_FACTS = [one.name for one in fields(ImageInfo) if one.name != "channels"]
_CHANNEL_FACTS = [one.name for one in fields(Channel)]


def _image(one: FinishedImport, number: ImageId, info: ImageInfo) -> Values:
    facts = {name: plain(getattr(info, name)) for name in _IMAGE_FACTS}
    return {"id": number, "fileset_id": one.fileset_id, **facts, "thumbnail": thumbnails.at_first(one.skipped)}


def _channel(number: ImageId, position: int, channel: Channel) -> Values:
    facts = {name: plain(getattr(channel, name)) for name in _CHANNEL_FACTS}
    return {"image_id": number, "position": position, **facts}


def _link(conn: Connection, images: Iterable[tuple[FinishedImport, ImageId]]) -> None:
    """Put the images into their datasets; each target of the batch is looked up once, a new one for each fileset."""
    known: dict[tuple[Target, ExperimenterId, GroupId, FilesetId | None], int] = {}
    rows: list[Values] = []
    for one, number in images:
        if one.target is not None:
            key = (one.target, one.owner, one.group_id, one.fileset_id if one.target.makes_new else None)
            if key not in known:
                known[key] = _dataset(conn, one, one.target)
            rows.append({"dataset_id": known[key], "image_id": number})
    _insert(conn, schema.dataset_image_links, rows)


def _dataset(conn: Connection, one: FinishedImport, target: Target) -> int:
    """Return the dataset that was found before, unless it has gone or belongs to another group by now."""
    if one.home is not None and _is_of(conn, one.home.dataset.id, one.group_id):
        return one.home.dataset.id
    return dataset_for(conn, target, one.owner, one.group_id)


def _is_of(conn: Connection, dataset: int, group_id: GroupId) -> bool:
    own = schema.datasets.c.id == dataset, schema.datasets.c.group_id == group_id
    return conn.execute(select(schema.datasets.c.id).where(*own)).first() is not None


def find_duplicate(conn: Connection, owner: ExperimenterId, size: int, checksum: str) -> ObjectRef | None:
    """Return the oldest fileset of *owner* that holds a file of these bytes, or None."""
    files, entries = schema.original_files, schema.fileset_entries
    found = conn.execute(
        select(entries.c.fileset_id)
        .join(files, files.c.id == entries.c.original_id)
        .where(files.c.checksum == checksum, files.c.size == size, files.c.owner_id == owner)
        .order_by(entries.c.fileset_id)
        .limit(1)
    ).scalar()
    return None if found is None else ObjectRef("Fileset", found)


def find_named(conn: Connection, user_directory: bytes, name: bytes) -> ObjectRef | None:
    """Return the oldest fileset in that user directory that has a file called *name*, or None."""
    entries, sets = schema.fileset_entries, schema.filesets
    found = conn.execute(
        select(sets.c.id)
        .join(entries, entries.c.fileset_id == sets.c.id)
        .where(entries.c.name == name, sets.c.user_directory == user_directory)
        .order_by(sets.c.id)
        .limit(1)
    ).scalar()
    return None if found is None else ObjectRef("Fileset", found)
