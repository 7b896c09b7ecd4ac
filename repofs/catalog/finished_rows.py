"""A fileset's rows read back as what an import is written from (`filesets.FinishedImport`)."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from repofs.catalog import originals
from repofs.catalog.filesets import FinishedFile, FinishedImport
from repofs.catalog.schema import channels, fileset_entries, filesets, images, original_files, origins
from repofs.image import Channel, ImageInfo
from repofs.model import FilesetId, ImageId, ObjectRef, Skip

_CHANNEL = [one.name for one in fields(Channel)]
_IMAGE = [one.name for one in fields(ImageInfo) if one.name != "channels"]


def of(conn: Connection, fileset_id: FilesetId) -> FinishedImport:
    """Return a fileset as it is by now; in which datasets its images are is not in it. Raises NoResultFound."""
    row = conn.execute(select(filesets).where(filesets.c.id == fileset_id)).one()
    files = tuple(_file(file) for file in conn.execute(_files(fileset_id)))
    return FinishedImport(
        import_id=row.import_id,
        fileset_id=fileset_id,
        owner=row.owner_id,
        group_id=row.group_id,
        user_directory=row.user_directory,
        import_directory=row.import_directory,
        transfer=row.transfer,
        imported=row.imported,
        target=None,
        format=row.format,
        entries=files,
        images=_images(conn, fileset_id),
        original_metadata=json.loads(row.original_metadata or "{}"),
        note=row.note,
        main=row.main,
        skipped=tuple(Skip(step) for step in (row.skipped or "").split(",") if step),
    )


def _files(fileset_id: FilesetId) -> Select[Any]:
    whole = originals.query(ObjectRef("Fileset", fileset_id)).order_by(fileset_entries.c.position)
    return whole.add_columns(original_files.c.mtime_ns.label("held_mtime_ns"), origins.c.removal)


def _file(row: Row[Any]) -> FinishedFile:
    held = originals.of_row(row)
    return FinishedFile(
        held.original_id, row.dropped, row.name, held.size, row.held_mtime_ns, held.checksum, held.origin,
        removal_due=row.removal is not None,
    )  # fmt: skip


def _images(conn: Connection, fileset_id: FilesetId) -> tuple[tuple[ImageId, ImageInfo], ...]:
    own = select(images).where(images.c.fileset_id == fileset_id).order_by(images.c.id)
    within = select(images.c.id).where(images.c.fileset_id == fileset_id)
    described: dict[int, list[Channel]] = defaultdict(list)
    query = select(channels).where(channels.c.image_id.in_(within)).order_by(channels.c.image_id, channels.c.position)
    for row in conn.execute(query):
        described[row.image_id].append(Channel(*(getattr(row, name) for name in _CHANNEL)))
    return tuple(
        (row.id, ImageInfo(**{name: getattr(row, name) for name in _IMAGE}, channels=tuple(described[row.id])))
        for row in conn.execute(own)
    )
