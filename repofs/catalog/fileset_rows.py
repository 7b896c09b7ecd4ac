"""All that the catalogue has of one fileset: its rows in every table, taken out as JSON and put back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, LargeBinary, Table, bindparam, delete, select

from repofs.catalog.schema import (
    annotation_links,
    channels,
    dataset_image_links,
    fileset_entries,
    filesets,
    images,
    metadata,
    original_files,
    origins,
)

Values = dict[str, Any]


def belonging(fileset: int) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """Yield each table that has rows of a fileset, and which: in the order in which they may be inserted."""
    files = select(fileset_entries.c.original_id).where(fileset_entries.c.fileset_id == fileset)
    found = select(images.c.id).where(images.c.fileset_id == fileset)
    kind, number = annotation_links.c.object_kind, annotation_links.c.object_id
    yield filesets, filesets.c.id == fileset
    yield original_files, original_files.c.id.in_(files)
    yield fileset_entries, fileset_entries.c.fileset_id == fileset
    yield origins, origins.c.original_id.in_(files)
    yield images, images.c.fileset_id == fileset
    yield channels, channels.c.image_id.in_(found)
    yield dataset_image_links, dataset_image_links.c.image_id.in_(found)
    yield (
        annotation_links,
        ((kind == "Fileset") & (number == fileset))
        | ((kind == "Image") & number.in_(found))
        | ((kind == "OriginalFile") & number.in_(files)),
    )


def taken(conn: Connection, table: Table, wanted: ColumnElement[bool]) -> list[Values]:
    """Return rows fit for JSON: bytes as text, as `os.fsdecode` has them."""
    found = conn.execute(select(table).where(wanted))
    return [
        {name: os.fsdecode(value) if isinstance(value, bytes) else value for name, value in row._mapping.items()}
        for row in found
    ]


def remove(conn: Connection, table: Table, rows: Sequence[Values]) -> None:
    keys = [column.name for column in table.primary_key]
    if rows:
        one = delete(table).where(*(table.c[key] == bindparam(f"the_{key}") for key in keys))
        conn.execute(one, [{f"the_{key}": row[key] for key in keys} for row in rows])


def read(kept: dict[str, list[Values]]) -> dict[str, list[Values]]:
    """Return rows by table as the tables take them, from what `taken` returned."""
    for name, rows in kept.items():
        binary = [column.name for column in metadata.tables[name].c if isinstance(column.type, LargeBinary)]
        for row in rows:
            row |= {key: os.fsencode(row[key]) for key in binary if row[key] is not None}
    return kept
