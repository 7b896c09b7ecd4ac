"""What a record in the log of an import says: the final rows of the import, as values of the types that JSON has.

A first record is written with the import, and tells all. Later ones tell what has become of it since: chgrp moves it to
another group, and its images into other datasets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from repofs.catalog import finished_rows, imports, users
from repofs.catalog.containers import Home, home
from repofs.catalog.filesets import FinishedImport
from repofs.catalog.forms import now
from repofs.catalog.imports import NewImport
from repofs.catalog.schema import dataset_image_links, filesets, images
from repofs.catalog.users import Experimenter, Group
from repofs.model import FilesetId, GroupId, ImageId


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """An import as it was committed."""

    finished: FinishedImport  # but for its import directory, which is beside the log
    intent: NewImport
    owner: Experimenter  # and her group, for when nothing else tells who she was
    group: Group


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


Record = ImportRecord | MoveRecord


@dataclass(frozen=True, slots=True)
class Told:
    """What the records in one log tell together."""

    first: ImportRecord
    moved: MoveRecord | None  # the last since


_KINDS: dict[str, type[Record]] = {"import": ImportRecord, "move": MoveRecord}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def written(record: Record) -> Any:
    """Return *record* as values of the types that JSON has."""
    return {_NAMES[type(record)]: msgspec.to_builtins(record)}


def read(value: Any) -> Record:
    """Return the record that `written` gave as *value*; msgspec.ValidationError for one of another version."""
    [(name, fields)] = value.items()
    if name not in _KINDS:
        raise msgspec.ValidationError(f"{name!r} is no kind of record")
    return msgspec.convert(fields, _KINDS[name])


def together(values: Iterable[Any]) -> Told | None:
    """Return what records tell, the oldest first: with one of an import it begins anew; None: nothing of an import.

    Raises msgspec.ValidationError when what counts is of another version.
    """
    told: Told | None = None
    wrong: msgspec.ValidationError | None = None
    for value in values:
        try:
            record = read(value)
        except msgspec.ValidationError as error:
            wrong = error
            continue
        if isinstance(record, ImportRecord):
            told, wrong = Told(record, None), None
        elif told is not None:
            told = Told(told.first, record)
    if wrong is not None:
        raise wrong
    return told


def anew(conn: Connection, fileset_id: FilesetId) -> tuple[Record, Record]:
    """Return records that tell all that the catalogue knows of a fileset by now, in their order."""
    finished = finished_rows.of(conn, fileset_id)
    intent = imports.get(conn, finished.import_id).intent
    owner, group = users.experimenter_by_id(conn, finished.owner), users.group_by_id(conn, finished.group_id)
    return ImportRecord(finished, intent, owner, group), of_move(conn, fileset_id)


def of_move(conn: Connection, fileset_id: FilesetId) -> MoveRecord:
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
    return MoveRecord(fileset_id, group_id, now(), filled)
