"""Every original with what is needed to find its bytes and to say whether they are still the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select, true, update

from repofs.catalog import origins
from repofs.catalog.forms import nearest, signed
from repofs.catalog.schema import fileset_entries, filesets, original_files
from repofs.catalog.schema import origins as origins_table
from repofs.lifecycle import State
from repofs.model import FilesetId, ImportId, ObjectRef, Origin, OriginalFileId


@dataclass(frozen=True, slots=True)
class Held:
    """An original as the catalogue knows it."""

    original_id: OriginalFileId
    fileset_id: FilesetId
    import_id: ImportId
    stands: State  # how it was found last: imported, altered, missing or offline
    verified: (
        str | None
    )  # when its bytes were last compared with the checksum: ISO 8601, UTC; None: not since its import
    dropped: bytes  # path below the mount
    path: bytes  # below the mount, in its import directory
    size: int
    checksum: str
    origin: Origin | None  # of one from outside

    @property
    def algorithm(self) -> str:
        """The checksum's."""
        return self.checksum.partition(":")[0]


def held(conn: Connection, which: ObjectRef | bytes | None = None) -> Iterator[Held]:
    """Yield the originals of a fileset or image, those at or below a path in the mount, or all; by fileset."""
    found = query(which).order_by(fileset_entries.c.fileset_id, fileset_entries.c.position)
    for row in conn.execute(found.execution_options(yield_per=1000)):
        yield of_row(row)


def query(which: ObjectRef | bytes | None = None) -> Select[Any]:
    """Return the query of the same originals, in no order, for `of_row`."""
    files = fileset_entries.join(original_files).join(filesets)
    source = files.outerjoin(origins_table, origins_table.c.original_id == original_files.c.id)
    entry, whole, file, origin = fileset_entries.c, filesets.c, original_files.c, origins_table.c
    return (
        select(
            entry.original_id, entry.fileset_id, entry.path.label("dropped"), entry.name,
            whole.import_id, whole.user_directory, whole.import_directory,
            file.stands, file.verified, file.size.label("held_size"), file.checksum,
            origin.source, origin.path, origin.transfer, origin.device, origin.inode, origin.handle, origin.size,
            origin.mtime_ns, origin.ctime_ns,
        )
        .select_from(source)
        .where(_which(which))
    )  # fmt: skip


def _which(which: ObjectRef | bytes | None) -> ColumnElement[bool]:
    match which:
        case None | b"":
            return true()
        case ObjectRef("Fileset", number):
            return fileset_entries.c.fileset_id == number
        case ObjectRef():
            return fileset_entries.c.original_id == which.id if which.kind == "OriginalFile" else ~true()
    user, _, below = which.partition(b"/")
    if not below:
        return filesets.c.user_directory == user
    begin, end = below + b"/", below + b"0"  # "0" comes after "/"
    dropped = or_(fileset_entries.c.path == below, fileset_entries.c.path.between(begin, end))
    inside = or_(filesets.c.import_directory == below, filesets.c.import_directory.between(begin, end))
    return and_(filesets.c.user_directory == user, or_(dropped, inside))


def of_row(row: Any) -> Held:
    """Return what a row of `query` tells."""
    return Held(
        original_id=row.original_id,
        fileset_id=row.fileset_id,
        import_id=row.import_id,
        stands=State.IMPORTED if row.stands is None else State(row.stands),
        verified=row.verified,
        dropped=row.user_directory + b"/" + row.dropped,
        path=b"/".join((row.user_directory, row.import_directory, row.name)),
        size=row.held_size,
        checksum=row.checksum,
        origin=None if row.source is None else origins.origin_of(row),
    )


def move(conn: Connection, original_id: OriginalFileId, origin: Origin) -> None:
    """Say where the bytes of an original are now, or how their file is to be told from others."""
    identity = origin.identity
    conn.execute(
        update(origins_table)
        .where(origins_table.c.original_id == original_id)
        .values(
            source=origin.source,
            path=origin.path.encode("utf-8", "surrogateescape"),
            device=signed(identity.device),
            inode=signed(identity.inode),
            handle=identity.handle,
            size=identity.size,
            mtime_ns=nearest(identity.mtime_ns),
            ctime_ns=nearest(identity.ctime_ns),
        )
    )
