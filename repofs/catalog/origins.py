"""Where originals came from that were imported from outside, and which of those sources are still to be removed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, insert, select, update

from repofs.catalog.forms import nearest, signed, unsigned
from repofs.catalog.schema import fileset_entries, filesets, imports, origins
from repofs.model import Identity, ObjectRef, Origin, OriginalFileId

DUE, DONE = "due", "done"  # of `removal`; anything else is the reason why a source was kept


@dataclass(frozen=True, slots=True)
class NewOrigin:
    """An original from outside, and whether its source is to be removed now that it is imported."""

    original_id: OriginalFileId
    origin: Origin
    removal_due: bool


@dataclass(frozen=True, slots=True)
class Due:
    """A source that is to be removed, with the rights of who asked for its import."""

    original_id: OriginalFileId
    origin: Origin
    actor_uid: int


def add(conn: Connection, new: Iterable[NewOrigin]) -> None:
    """Write the origins of originals; part of `filesets.record`."""
    rows = [_values(one) for one in new]
    if rows:
        conn.execute(insert(origins), rows)


def _values(one: NewOrigin) -> dict[str, object]:
    identity = one.origin.identity
    return {
        "original_id": one.original_id,
        "source": one.origin.source,
        "path": os.fsencode(one.origin.path),
        "device": signed(identity.device),
        "inode": signed(identity.inode),
        "handle": identity.handle,
        "size": identity.size,
        "mtime_ns": nearest(identity.mtime_ns),
        "ctime_ns": nearest(identity.ctime_ns),
        "transfer": one.origin.transfer,
        "removal": DUE if one.removal_due else None,
    }


def due(conn: Connection) -> list[Due]:
    """Return the sources of imported files that are still to be removed."""
    # A literal, not a parameter: only so does the planner use the index of what is due.
    is_due = origins.c.removal == bindparam("removal", DUE, literal_execute=True)
    query = (
        select(origins, imports.c.actor_uid)
        .join(fileset_entries, fileset_entries.c.original_id == origins.c.original_id)
        .join(filesets, filesets.c.id == fileset_entries.c.fileset_id)
        .join(imports, imports.c.id == filesets.c.import_id)
        .where(is_due)
        .order_by(origins.c.original_id)
    )
    return [Due(row.original_id, origin_of(row), row.actor_uid) for row in conn.execute(query)]


def origin_of(row: Row[Any]) -> Origin:
    """Return the origin that *row* has."""
    identity = Identity(unsigned(row.device), unsigned(row.inode), row.handle, row.size, row.mtime_ns, row.ctime_ns)
    return Origin(row.source, os.fsdecode(row.path), identity, row.transfer)


def owe(conn: Connection, fileset: int, source: str, path: bytes) -> Due | None:
    """Return the source of a file of *fileset* that was kept although it should have gone, due again; else None."""
    wanted = origins.c.removal.not_in((DUE, DONE)), origins.c.source == source, origins.c.path == path
    query = (
        select(origins, imports.c.actor_uid)
        .join(fileset_entries, fileset_entries.c.original_id == origins.c.original_id)
        .join(filesets, filesets.c.id == fileset_entries.c.fileset_id)
        .join(imports, imports.c.id == filesets.c.import_id)
        .where(filesets.c.id == fileset, *wanted)
    )
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    conn.execute(update(origins).where(origins.c.original_id == row.original_id).values(removal=DUE))
    return Due(row.original_id, origin_of(row), row.actor_uid)


def removed(conn: Connection, ended: Sequence[tuple[OriginalFileId, str]]) -> None:
    """Say of sources that were due that they are removed (DONE), or why they were kept."""
    for original_id, how in ended:
        conn.execute(
            update(origins).where(origins.c.original_id == original_id, origins.c.removal == DUE).values(removal=how)
        )


def find_in_set(
    conn: Connection, user_directory: bytes, source: str, path: bytes, identity: Identity | None
) -> int | None:
    """Return the newest fileset of several files in that user directory that has the file of *path*, as it is now.

    Without an *identity*: that it was removed with.
    """
    if identity is None:
        as_now = [origins.c.removal == DONE]
    else:
        as_now = [origins.c.size == identity.size, origins.c.mtime_ns == nearest(identity.mtime_ns)]
    others = fileset_entries.alias()
    found: int | None = conn.execute(
        select(filesets.c.id)
        .join(fileset_entries, fileset_entries.c.fileset_id == filesets.c.id)
        .join(origins, origins.c.original_id == fileset_entries.c.original_id)
        .join(others, and_(others.c.fileset_id == filesets.c.id, others.c.position != fileset_entries.c.position))
        .where(origins.c.path == path, origins.c.source == source, filesets.c.user_directory == user_directory)
        .where(*as_now)
        .order_by(filesets.c.id.desc())
        .limit(1)
    ).scalar()
    return found


def find_from(conn: Connection, user_directory: bytes, source: str, path: bytes) -> ObjectRef | None:
    """Return the oldest fileset in that user directory that has a file from *path* in *source*, or None."""
    found = conn.execute(
        select(filesets.c.id)
        .join(fileset_entries, fileset_entries.c.fileset_id == filesets.c.id)
        .join(origins, origins.c.original_id == fileset_entries.c.original_id)
        .where(origins.c.path == path, origins.c.source == source, filesets.c.user_directory == user_directory)
        .order_by(filesets.c.id)
        .limit(1)
    ).scalar()
    return None if found is None else ObjectRef("Fileset", found)
