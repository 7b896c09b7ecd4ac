"""What a record in the log of an import says: the final rows of the import, as values of the types that JSON has.

A first record is written with the import, and tells all. Later ones tell what has become of it since: chgrp moves it to
another group, and its images into other datasets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from repofs.catalog.containers import Home, home
from repofs.catalog.filesets import FinishedImport
from repofs.catalog.forms import now
from repofs.catalog.imports import NewImport
from repofs.catalog.schema import dataset_image_links, filesets, images
from repofs.model import FilesetId, GroupId, ImageId


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """An import as it was committed."""

    finished: FinishedImport  # but for its import directory, which is beside the log
    intent: NewImport


@dataclass(frozen=True, slots=True)
class Filled:
    """A dataset, and which images of the fileset are in it."""

    home: Home
    images: tuple[ImageId, ...]


@dataclass(frozen=True, slots=True)
class MoveRecord:
    """In which group a fileset is since it was moved, and in which datasets its images are."""

    fileset_id: FilesetId
    group_id: GroupId
    at: str  # when; of what several records say of one dataset, the newest counts
    filled: tuple[Filled, ...]


def of_import(finished: FinishedImport, intent: NewImport) -> Any:
    """Return the record of an import that is about to be committed."""
    return {"import": msgspec.to_builtins(ImportRecord(finished, intent))}


def of_move(conn: Connection, fileset_id: FilesetId) -> Any:
    """Return the record of a fileset that is about to be moved."""
    group_id = conn.execute(select(filesets.c.group_id).where(filesets.c.id == fileset_id)).scalar_one()
    links = (
        select(dataset_image_links.c.dataset_id, images.c.id)
        .join(images, images.c.id == dataset_image_links.c.image_id)
        .where(images.c.fileset_id == fileset_id)
        .order_by(dataset_image_links.c.dataset_id, images.c.id)
    )
    inside: dict[int, list[ImageId]] = {}
    for dataset, image in conn.execute(links):
        inside.setdefault(dataset, []).append(ImageId(image))
    filled = tuple(Filled(home(conn, dataset), tuple(images)) for dataset, images in inside.items())
    return {"move": msgspec.to_builtins(MoveRecord(fileset_id, group_id, now(), filled))}
