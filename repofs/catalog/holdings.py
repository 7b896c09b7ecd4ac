"""How many bytes the originals hold, by user directory and group; and who may hold how many."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, case, delete, func, insert, select

from repofs.catalog.moves import chunks
from repofs.catalog.schema import fileset_entries, filesets, groups, original_files, origins, quotas, trash
from repofs.model import FilesetId
from repofs.quotas import LEFT_OUTSIDE, Held

SIZE = case((origins.c.transfer.in_(LEFT_OUTSIDE), 0), else_=original_files.c.size)
"""What one of FILES counts."""
FILES = (
    fileset_entries.join(original_files)
    .join(filesets)
    .join(groups, groups.c.id == filesets.c.group_id)
    .outerjoin(origins, origins.c.original_id == original_files.c.id)
)


def fix(conn: Connection) -> None:
    """From here on *conn* sees the catalogue as it is now, until its transaction ends."""
    conn.execute(select(filesets.c.id).limit(1))


def held(conn: Connection) -> list[Held]:
    """Return what originals hold, those in the trash too."""
    whose = (filesets.c.user_directory, groups.c.gid)
    files = select(*whose, func.sum(SIZE), func.count()).select_from(FILES).group_by(*whose)
    deleted = (
        select(trash.c.user_directory, groups.c.gid, func.sum(trash.c.size), func.sum(trash.c.files))
        .join(groups, groups.c.id == trash.c.group_id)
        .group_by(trash.c.user_directory, groups.c.gid)
    )
    rows = [*conn.execute(files), *conn.execute(deleted)]
    return [Held(directory, gid, originals=size, original_files=count) for directory, gid, size, count in rows]


def held_by(conn: Connection, which: Sequence[FilesetId]) -> list[Held]:
    """Return what these filesets hold, by user directory and group; the same may come several times."""
    whose = (filesets.c.user_directory, groups.c.gid)
    query = select(*whose, func.sum(SIZE), func.count()).select_from(FILES).group_by(*whose)
    found: list[Held] = []
    for chunk in chunks(which):
        rows = conn.execute(query.where(filesets.c.id.in_(chunk)))
        found += [Held(directory, gid, originals=size, original_files=count) for directory, gid, size, count in rows]
    return found


def held_in_trash(conn: Connection, fileset: FilesetId) -> list[Held]:
    """Return what a fileset holds in the trash: one, or none when it is not there."""
    query = select(trash.c.user_directory, groups.c.gid, trash.c.size, trash.c.files)
    query = query.join(groups, groups.c.id == trash.c.group_id).where(trash.c.fileset_id == fileset)
    rows = conn.execute(query)
    return [Held(directory, gid, originals=size, original_files=count) for directory, gid, size, count in rows]


# --- quotas ------------------------------------------------------------------------------------------

USER, GROUP = "Experimenter", "ExperimenterGroup"


def quotas_of(conn: Connection, kind: str) -> dict[int, int | None]:
    """Return the quotas that were set for users, or for groups, by id: bytes, None for no limit."""
    rows = conn.execute(select(quotas.c.object_id, quotas.c.bytes).where(quotas.c.kind == kind))
    return {row.object_id: row.bytes for row in rows}


def set_quota(conn: Connection, kind: str, number: int, size: int | None) -> None:
    """Let a user or a group hold *size* bytes; None: no limit."""
    forget_quota(conn, kind, number)
    conn.execute(insert(quotas).values(kind=kind, object_id=number, bytes=size))


def forget_quota(conn: Connection, kind: str, number: int) -> None:
    """Let the settings say again how much a user or a group may hold."""
    conn.execute(delete(quotas).where(quotas.c.kind == kind, quotas.c.object_id == number))
