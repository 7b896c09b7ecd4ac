"""Opening the catalogue: one SQLite file, WAL, every commit on the disk before it returns.

A transaction of a writing engine takes the write lock when it begins (BEGIN IMMEDIATE): it then waits for another
writer, where one that reads first and writes later would be refused in the middle.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from repofs.disk import Disk
from repofs.errors import AlreadyExists, Busy, NotARepository, NotPermitted, StoreFailed, StoreFull

__all__ = ["Connection", "Engine", "create", "end_writing", "open_engine"]

HEAD = "0006"  # the newest revision in migrations/versions; revisions are numbers of four digits
MIGRATIONS = "repofs.catalog:migrations"
_DAMAGED = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
BACKUP_PAGES = 2000  # copied at a time, 8 MB
BUSY_SECONDS = 30.0  # how long one writer waits for another


def create(path: Path) -> None:
    """Make an empty catalogue at *path*, for its owner only; AlreadyExists when there is something."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError as error:
        raise AlreadyExists(f"{path} is there already: to begin anew, move it away first") from error
    engine = _engine(path, read_only=False)
    _upgrade(engine)
    engine.dispose()


def open_engine(path: Path, *, read_only: bool = False) -> Engine:
    """Open the catalogue at *path*. One of an older version is upgraded, after a copy was put beside it.

    Raises NotARepository when it is missing or damaged, NotPermitted when it is of a newer version (or of an older one,
    and *read_only*). Use `engine.begin()` for every transaction, reading ones too.
    """
    revision = _revision(path)
    if revision > HEAD:
        raise NotPermitted(f"{path} is of version {revision}, this repofs knows {HEAD}: use the newer repofs")
    if revision < HEAD and read_only:
        raise NotPermitted(f"{path} is of version {revision}, this repofs writes {HEAD}: mount it once to upgrade it")
    engine = _engine(path, read_only=read_only)
    if revision < HEAD:
        before = path.with_name(f"{path.name}.{revision}")
        before.unlink(missing_ok=True)  # of an upgrade that did not come to its end
        back_up(path, before, lambda done, total: None)
        _upgrade(engine)
    return engine


def _engine(path: Path, *, read_only: bool) -> Engine:
    # mode=rw: a catalogue that went away is an error, not a new empty file.
    url = URL.create("sqlite", database=f"file:{_quoted(path)}", query={"uri": "true", "mode": "rw"})
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "factory": _Connection})

    @event.listens_for(engine, "connect")
    def _connected(connection: _Connection, _entry: ConnectionPoolEntry) -> None:
        if not read_only:
            connection.disk = Disk(path.resolve().parent)
        connection.isolation_level = None  # else the driver begins transactions by its own rules
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # NORMAL loses commits in a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    @event.listens_for(engine, "handle_error")
    def _failed(context: ExceptionContext) -> None:
        error = context.original_exception
        code = error.sqlite_errorcode & 0xFF if isinstance(error, sqlite3.Error) else None  # without its extension
        if code == sqlite3.SQLITE_BUSY:
            raise Busy(f"{path} is written by another program, for {BUSY_SECONDS:.0f} s by now: try again") from error
        if code == sqlite3.SQLITE_FULL:
            raise StoreFull(f"the disk of the catalogue {path} is full: make room") from error
        if code in _DAMAGED and not (read_only and code == sqlite3.SQLITE_READONLY):
            raise StoreFailed.because(f"the catalogue: {error}") from error

    return engine


class _Connection(sqlite3.Connection):
    """One whose commits are on the disk when they return, whatever its fsync has said."""

    disk: Disk | None = None  # None: it commits nothing

    def commit(self) -> None:
        super().commit()
        if self.disk is not None:
            try:
                self.disk.require()
            except OSError as error:
                raise StoreFailed.because(f"the catalogue: {error.strerror}") from error

    def close(self) -> None:
        super().close()
        if self.disk is not None:
            self.disk.close()
            self.disk = None


def end_writing(engine: Engine, reason: str) -> None:
    """Refuse (StoreFailed) every transaction of *engine* from now on."""

    def refuse(_: Connection) -> None:
        raise StoreFailed(reason)

    event.listen(engine, "begin", refuse, insert=True)


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _revision(path: Path) -> str:
    """Return the revision of the catalogue at *path*; NotARepository when it has none."""
    try:
        with closing(_raw(path)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
        raise NotARepository(
            f"{path} is missing or damaged ({error}): put a copy in its place, if {path.parent / 'backups'} has one, "
            f"then bring it up to the files: repofs -C {path.parent} fsck --rebuild-catalogue"
        ) from error
    if row is None:
        raise NotARepository(f"{path} is a catalogue without a version: restore it from a backup")
    return str(row[0])


def settle(new: Path, path: Path) -> Path | None:
    """Let the catalogue *new*, which nobody has open, be the one at *path*; return where the one of before is kept.

    All is durable then. None: there was none.
    """
    with closing(sqlite3.connect(new)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _sync(new)
    kept = None
    if path.exists():
        kept = _free(path.with_name(f"{path.stem}.{datetime.now():%Y-%m-%dT%H-%M-%S}{path.suffix}"))
        os.link(path, kept)
        for end in ("-wal", "-shm"):  # one that stayed would be read into the new one
            with suppress(FileNotFoundError):
                os.rename(f"{path}{end}", f"{kept}{end}")
    os.rename(new, path)
    _sync(path.parent)
    return kept


def _free(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in itertools.count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def back_up(path: Path, copy: Path, told: Callable[[int, int], None]) -> None:
    """Write a consistent copy of the catalogue, also while others use it; checked, and durable when this returns.

    *told* is called with the pages that are done, and all. Raises AlreadyExists when *copy* is there, OSError,
    NotARepository when what was copied is damaged; then there is no copy.
    """
    unfinished = copy.with_name(f".{copy.name}.{os.getpid()}")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        _copy(path, unfinished, told)
        _sync(unfinished)
        os.link(unfinished, copy)
    except FileExistsError as error:
        raise AlreadyExists(f"{copy} is there already: choose another name") from error
    except sqlite3.DatabaseError as error:
        raise NotARepository(f"{path} cannot be copied ({error}): repofs fsck looks at it") from error
    finally:
        unfinished.unlink(missing_ok=True)
    _sync(copy.parent)


def _copy(path: Path, copy: Path, told: Callable[[int, int], None]) -> None:
    with closing(_raw(path)) as source, closing(_raw(copy)) as target:
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM alembic_version").fetchone()  # from here on it sees nothing of other writers
        source.backup(target, pages=BACKUP_PAGES, progress=lambda _, left, total: told(total - left, total), sleep=0)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, that is whole by itself
        [[found], *_] = target.execute("PRAGMA quick_check(1)").fetchall()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _raw(path: Path) -> sqlite3.Connection:
    uri = f"file:{_quoted(path)}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _upgrade(engine: Engine) -> None:
    """Run the migrations that are missing, all in one transaction."""
    from alembic import command  # here: alembic takes a quarter of a second to import, and is seldom needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
