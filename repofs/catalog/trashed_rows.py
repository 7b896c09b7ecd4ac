"""All that the catalogue has of a deleted fileset, as values of the types that JSON has, and back: what the trash says
of itself (`repository.trash_notes`)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from repofs.catalog import fileset_rows
from repofs.catalog.schema import experimenters, groups, imports, trash
from repofs.trash import Whereabouts

_PEOPLE = (groups, experimenters)  # whose it is, for when nothing else tells


def of(conn: Connection, fileset: int) -> dict[str, Any]:
    """Return the rows of a fileset in the trash, by table."""
    own = select(trash).where(trash.c.fileset_id == fileset).subquery()
    owners = select(experimenters.c.group_id).where(experimenters.c.id.in_(select(own.c.owner_id)))
    wanted = (
        (groups, groups.c.id.in_(select(own.c.group_id)) | groups.c.id.in_(owners)),
        (experimenters, experimenters.c.id.in_(select(own.c.owner_id))),
        (imports, imports.c.id.in_(select(own.c.import_id))),
        (trash, trash.c.fileset_id == fileset),
    )
    return {table.name: fileset_rows.taken(conn, table, which) for table, which in wanted}


def put(conn: Connection, rows: dict[str, Any]) -> None:
    """Write the rows that `of` returned into a catalogue that has lost them. Raises IntegrityError.

    Where the files are by now nobody knows: recovery takes into the trash what is not there.
    """
    rows = fileset_rows.read(rows)
    for table in _PEOPLE:
        conn.execute(insert(table).prefix_with("OR IGNORE"), rows[table.name])
    conn.execute(insert(imports), rows[imports.name])
    conn.execute(insert(trash), [{**row, "step": Whereabouts.MOVING} for row in rows[trash.name]])


def keep(conn: Connection, filesets: Collection[int]) -> None:
    """Forget what is in the trash but for *filesets*: the tree has no others."""
    conn.execute(delete(trash).where(trash.c.fileset_id.not_in(filesets)))
