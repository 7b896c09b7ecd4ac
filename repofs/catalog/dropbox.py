"""Files in watched folders: the queue, and what became of each that is still there.

`origins` knows what was imported, for ever; a row here only saves asking again. So a row may be lost, as when a share
was away and looked empty: the file is asked for in `origins` before it is queued once more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, func, insert, or_, select, true

from repofs.catalog.forms import nearest, now, signed, unsigned
from repofs.catalog.schema import dropbox_files as _files
from repofs.catalog.schema import fileset_entries as _entries
from repofs.catalog.schema import origins as _origins

_MOST_NAMES = 500  # that are asked for one by one; SQLite takes 32,766 parameters


class FileState(StrEnum):
    QUEUED = "queued"
    IMPORTED = "imported"
    FAILED = "failed"
    DUPLICATE = "duplicate"


class Place(NamedTuple):
    """Where a file lies."""

    dropbox: str
    directory: bytes  # below the watched folder; its first part is the user's name
    name: bytes

    @property
    def path(self) -> bytes:
        """Below the watched folder."""
        return self.directory + b"/" + self.name


@dataclass(frozen=True, slots=True)
class Version:
    """What a look at a file tells of it: while nothing of this differs, nothing has happened to it."""

    inode: int  # 0 where the numbers may change from one mount to the next
    size: int  # bytes; of a directory those of all files
    mtime_ns: int  # of a directory the newest of its files
    ctime_ns: int  # of a directory the newest in it


@dataclass(frozen=True, slots=True)
class File:
    """A file that was quiet when it was looked at, or that cannot be imported."""

    place: Place
    is_directory: bool
    version: Version
    state: FileState
    handle: bytes = b""  # as in model.Identity
    error: str | None = None
    fileset: int | None = None
    since: str = ""  # ISO 8601, UTC; set when it is written


# --- reading -------------------------------------------------------------------------------------


def files_in(conn: Connection, dropbox: str, directory: bytes, names: Collection[bytes] | None) -> dict[bytes, File]:
    """Return the files of a directory, by name: those of *names*, or all; never those further below."""
    wanted = and_(_files.c.dropbox == dropbox, _files.c.directory == directory)
    if names is not None and len(names) <= _MOST_NAMES:
        wanted = and_(wanted, _files.c.name.in_(names))
    found = (_file(row) for row in conn.execute(select(_files).where(wanted)))
    return {file.place.name: file for file in found if names is None or file.place.name in names}


def directories(conn: Connection, dropbox: str) -> list[bytes]:
    """Return the directories of a watched folder in which there are files."""
    found = conn.execute(select(_files.c.directory).where(_files.c.dropbox == dropbox).distinct())
    return [row.directory for row in found]


def queued(conn: Connection, dropboxes: Collection[str], limit: int | None) -> list[File]:
    """Return the first *limit* files (None: all) of the queue of these watched folders, oldest first."""
    # A literal, not a parameter: only so does the planner use the index of the queue.
    waiting = _files.c.state == bindparam("state", FileState.QUEUED.value, literal_execute=True)
    order = (_files.c.since, _files.c.directory, _files.c.name)
    query = select(_files).where(waiting, _files.c.dropbox.in_(dropboxes)).order_by(*order).limit(limit)
    return [_file(row) for row in conn.execute(query)]


def counts(conn: Connection, user: bytes | None) -> dict[tuple[str, bytes], Counter[FileState]]:
    """Return how many files there are in which state, by watched folder and user: all users, or *user* alone."""
    alike = (_files.c.dropbox, _files.c.directory, _files.c.state)
    found: dict[tuple[str, bytes], Counter[FileState]] = defaultdict(Counter)
    for row in conn.execute(select(*alike, func.count().label("files")).where(_of(user)).group_by(*alike)):
        found[row.dropbox, row.directory.partition(b"/")[0]][FileState(row.state)] += row.files
    return found


def troubled(conn: Connection, user: bytes | None, limit: int) -> list[File]:
    """Return the *limit* newest files that have an error: of all users, or of *user* alone."""
    query = select(_files).where(_files.c.error.is_not(None), _of(user)).order_by(_files.c.since.desc()).limit(limit)
    return [_file(row) for row in conn.execute(query)]


def _of(directory: bytes | None) -> ColumnElement[bool]:
    """Files in *directory*, the user's own or one below, and further below; None: all files."""
    return true() if directory is None else or_(_files.c.directory == directory, _below(_files.c.directory, directory))


# --- writing (`commits.Act`) ---------------------------------------------------------------------


def enqueue(conn: Connection, items: Sequence[Sequence[File]]) -> Sequence[None]:
    """Put files into the queue; those that were imported before are written as imported."""
    put(conn, [[_known(conn, file) for file in files] for files in items])
    return [None] * len(items)


def resume(conn: Connection, items: Sequence[Collection[str]]) -> Sequence[None]:
    """Take out of the queue what was imported when nobody was left to note it; to be done before it is gone on with."""
    for dropboxes in items:
        waiting = queued(conn, dropboxes, None)
        known = (_known(conn, file) for file in waiting)
        put(conn, [[file for file in known if file.state is not FileState.QUEUED]])
    return [None] * len(items)


def put(conn: Connection, items: Sequence[Sequence[File]]) -> Sequence[None]:
    """Write files as they are given, over what was known of them."""
    values = {file.place: _values(file) for files in items for file in files}
    forget(conn, [list(values)])
    if values:
        conn.execute(insert(_files), list(values.values()))
    return [None] * len(items)


_FORGET = delete(_files).where(
    _files.c.dropbox == bindparam("of"), _files.c.directory == bindparam("within"), _files.c.name == bindparam("called")
)


def forget(conn: Connection, items: Sequence[Iterable[Place]]) -> Sequence[None]:
    """Remove what is known of files; no error for one of which nothing is."""
    keys = [{"of": one.dropbox, "within": one.directory, "called": one.name} for places in items for one in places]
    if keys:
        conn.execute(_FORGET, keys)
    return [None] * len(items)


def forget_directories(conn: Connection, items: Sequence[tuple[str, Sequence[bytes]]]) -> Sequence[None]:
    """Remove what is known of all files in these directories of a watched folder, and further below."""
    for dropbox, gone in items:
        for directory in gone:
            conn.execute(delete(_files).where(_files.c.dropbox == dropbox, _of(directory)))
    return [None] * len(items)


# --- what was imported ---------------------------------------------------------------------------


def _known(conn: Connection, file: File) -> File:
    """Return *file*, as imported if its user has imported it before from this watched folder."""
    fileset = _fileset_of_directory(conn, file) if file.is_directory else _fileset_of_file(conn, file)
    return file if fileset is None else replace(file, state=FileState.IMPORTED, fileset=fileset)


def _fileset_of_file(conn: Connection, file: File) -> int | None:
    """By its inode, which a rename leaves as it is; by its path where inodes tell nothing."""
    path, version = file.place.path, file.version
    known = and_(
        _origins.c.source == file.place.dropbox,
        _origins.c.size == version.size,
        _origins.c.mtime_ns == nearest(version.mtime_ns),
    )
    if version.inode:
        user = path.partition(b"/")[0]
        same = and_(_origins.c.inode == signed(version.inode), _below(_origins.c.path, user))
        if file.handle:
            same = and_(same, _origins.c.handle == file.handle)
    else:
        same = _origins.c.path == path
    query = select(_entries.c.fileset_id).join(_origins, _origins.c.original_id == _entries.c.original_id)
    found: int | None = conn.execute(query.where(known, same).order_by(_entries.c.fileset_id.desc()).limit(1)).scalar()
    return found


def _fileset_of_directory(conn: Connection, file: File) -> int | None:
    """By its path, and by all that was imported from below it at once."""
    within = and_(_origins.c.source == file.place.dropbox, _below(_origins.c.path, file.place.path))
    query = select(_entries.c.fileset_id).join(_origins, _origins.c.original_id == _entries.c.original_id)
    whole = and_(
        func.sum(_origins.c.size) == file.version.size, func.max(_origins.c.mtime_ns) == nearest(file.version.mtime_ns)
    )
    grouped = query.where(within).group_by(_entries.c.fileset_id).having(whole)
    found: int | None = conn.execute(grouped.order_by(_entries.c.fileset_id.desc()).limit(1)).scalar()
    return found


def _below(column: ColumnElement[bytes], directory: bytes) -> ColumnElement[bool]:
    return and_(column > directory + b"/", column < directory + b"0")  # 0 comes after /


# --- forms ---------------------------------------------------------------------------------------


def _values(file: File) -> dict[str, object]:
    return {
        **file.place._asdict(),
        "is_directory": file.is_directory,
        "inode": signed(file.version.inode),
        "handle": file.handle,
        "size": file.version.size,
        "mtime_ns": nearest(file.version.mtime_ns),
        "ctime_ns": nearest(file.version.ctime_ns),
        "state": file.state.value,
        "error": file.error,
        "fileset_id": file.fileset,
        "since": file.since or now(),
    }


def _file(row: Row[tuple[object, ...]]) -> File:
    return File(
        place=Place(row.dropbox, row.directory, row.name),
        is_directory=row.is_directory,
        version=Version(unsigned(row.inode), row.size, row.mtime_ns, row.ctime_ns),
        state=FileState(row.state),
        handle=row.handle,
        error=row.error,
        fileset=row.fileset_id,
        since=row.since,
    )
