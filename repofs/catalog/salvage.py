"""What is taken over from the catalogue of before into a rebuilt one: what only it knows, as far as it can be read.

The tree says what there is. A row of before is taken when all that it refers to is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from repofs.catalog import arrivals
from repofs.catalog.engine import Connection, Engine, open_engine
from repofs.catalog.rebuilding import BY_MARKS
from repofs.catalog.users import Everybody, everybody
from repofs.errors import RepofsError

T = TypeVar("T")

_PEOPLE = "owner_id IN (SELECT id FROM experimenters) AND group_id IN (SELECT id FROM groups)"

_BARE = (
    "SELECT f.id FROM filesets f JOIN imports i ON i.id = f.import_id JOIN old.filesets o ON o.id = f.id "
    "AND o.import_id = f.import_id AND o.user_directory = f.user_directory AND "
    f"o.import_directory = f.import_directory WHERE i.attempts = {BY_MARKS}"
)

# Each in its order, as a later one refers to rows of an earlier one.
_TAKEN = {
    "the audit trail": ["INSERT INTO audit SELECT * FROM old.audit"],
    "imports that have failed": [
        "INSERT OR IGNORE INTO imports SELECT * FROM old.imports WHERE state NOT IN "
        "('importing', 'imported', 'altered', 'missing', 'offline') AND owner_id IN (SELECT id FROM experimenters)"
    ],
    "arrivals": ["INSERT INTO arrivals SELECT * FROM old.arrivals"],
    "what lies in watched folders": ["INSERT INTO dropbox_files SELECT * FROM old.dropbox_files"],
    "hooks": ["INSERT INTO hooks SELECT * FROM old.hooks"],
    "projects and datasets without images": [
        f"INSERT OR IGNORE INTO projects SELECT * FROM old.projects WHERE {_PEOPLE}",
        f"INSERT OR IGNORE INTO datasets SELECT * FROM old.datasets WHERE {_PEOPLE}",
        "INSERT OR IGNORE INTO project_dataset_links SELECT * FROM old.project_dataset_links WHERE project_id IN "
        "(SELECT id FROM projects) AND dataset_id IN (SELECT id FROM datasets d WHERE d.id NOT IN "
        "(SELECT dataset_id FROM dataset_image_links))",
    ],
    "what no record tells of imports": [
        f"UPDATE filesets SET format = o.format, note = o.note, original_metadata = o.original_metadata, "
        f"main = o.main, skipped = o.skipped FROM old.filesets o WHERE o.id = filesets.id AND filesets.id IN ({_BARE})",
        f"UPDATE fileset_entries SET path = o.path FROM old.fileset_entries o WHERE o.original_id = "
        f"fileset_entries.original_id AND fileset_entries.fileset_id IN ({_BARE})",
        f"INSERT INTO images SELECT * FROM old.images WHERE fileset_id IN ({_BARE})",
        "INSERT OR IGNORE INTO channels SELECT * FROM old.channels WHERE image_id IN "
        f"(SELECT id FROM images WHERE fileset_id IN ({_BARE}))",
        "INSERT INTO dataset_image_links SELECT * FROM old.dataset_image_links WHERE dataset_id IN "
        f"(SELECT id FROM datasets) AND image_id IN (SELECT id FROM images WHERE fileset_id IN ({_BARE}))",
        "UPDATE imports SET path = o.path, device = o.device, inode = o.inode, size = o.size, mtime_ns = o.mtime_ns, "
        "started = o.started, gid = o.gid, source = o.source, attempts = o.attempts FROM old.imports o "
        "WHERE o.id = imports.id AND imports.attempts = "
        f"{BY_MARKS}",
    ],
    "annotations": [
        f"INSERT INTO annotations SELECT * FROM old.annotations WHERE {_PEOPLE}",
        "INSERT INTO annotation_links SELECT * FROM old.annotation_links WHERE annotation_id IN "
        "(SELECT id FROM annotations) AND owner_id IN (SELECT id FROM experimenters)",
    ],
    "registered tables": [
        "INSERT INTO tables SELECT * FROM old.tables WHERE annotation_id IN (SELECT id FROM annotations)"
    ],
    "when originals were verified": [
        "UPDATE original_files SET verified = o.verified FROM old.original_files o WHERE o.id = original_files.id "
        "AND o.checksum = original_files.checksum"
    ],
    "how sources were removed": [
        "UPDATE origins SET removal = o.removal FROM old.origins o WHERE o.original_id = origins.original_id "
        "AND o.path = origins.path AND origins.removal IS NOT NULL AND o.removal IS NOT 'due'"
    ],
    "thumbnails": [
        "UPDATE images SET thumbnail = o.thumbnail FROM old.images o WHERE o.id = images.id "
        "AND o.fileset_id = images.fileset_id",
        "UPDATE channels SET min = o.min, max = o.max FROM old.channels o WHERE o.image_id = channels.image_id "
        "AND o.position = channels.position",
    ],
    "quotas": ["INSERT INTO quotas SELECT * FROM old.quotas"],
    "what no note tells of the trash": [
        f"INSERT OR IGNORE INTO trash SELECT * FROM old.trash WHERE {_PEOPLE} "
        "AND fileset_id NOT IN (SELECT id FROM filesets)"
    ],
}


class Old:
    """The catalogue that was there before, be it none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reason = _unreadable(path)

    def people(self) -> Everybody | None:
        """Return whom it knows; None when it cannot be read."""
        return self._asked(everybody)

    def queued(self) -> set[int]:
        """Return the numbers of the arrivals that it has not seen the end of."""
        return {one.id for one in self._asked(arrivals.queued) or ()}

    def _asked(self, question: Callable[[Connection], T]) -> T | None:
        if self._reason is not None:
            return None
        engine: Engine = open_engine(self._path, read_only=True)
        try:
            with engine.begin() as conn:
                return question(conn)
        finally:
            engine.dispose()

    def take_over(self, new: Path) -> tuple[tuple[str, ...], list[str]]:
        """Put into the catalogue *new* what the tree does not tell; return what, and what is lacking, in sentences."""
        if self._reason is not None:
            things = ", ".join(_TAKEN)
            return (), [f"{self._reason}: lost with it are {things}"]
        taken: tuple[str, ...] = ()
        lacking = []
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("ATTACH DATABASE ? AS old", (str(self._path),))
            for what, statements in _TAKEN.items():
                try:
                    _run(connection, statements)
                    taken = (*taken, what)
                except sqlite3.DatabaseError as error:
                    lacking.append(f"{what}: not taken over from the catalogue of before ({error})")
        return taken, lacking


def _run(connection: sqlite3.Connection, statements: list[str]) -> None:
    connection.execute("BEGIN")
    try:
        for statement in statements:
            connection.execute(statement)
    except sqlite3.DatabaseError:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _unreadable(path: Path) -> str | None:
    """Return in words that the catalogue at *path* is missing, or why it cannot be read whole; None when it can."""
    if not path.exists():
        return "there is no catalogue of before"
    try:
        engine = open_engine(path, read_only=True)
        try:
            with engine.begin() as conn:
                found: str = conn.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        finally:
            engine.dispose()
    except (RepofsError, sqlite3.DatabaseError) as error:
        found = str(error.__cause__ or error)  # SQLite's own words: what to do is being done
    return None if found == "ok" else f"the catalogue of before cannot be read ({found})"
