"""What must hold of a repository whose daemon was stopped when all was done. Returns, as sentences, what does not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

from repofs.administration.keeping import KeptPeople
from repofs.catalog import ids, users
from repofs.catalog.engine import open_engine
from repofs.repository.kept import Counters
from tests.helpers import agreement
from tests.helpers.mounting import Drive

IMAGES = """
SELECT id FROM images
UNION SELECT image.value ->> 'id' FROM trash, json_each(trash.rows, '$.rows.images') AS image
"""
PNG_END = b"IEND\xaeB`\x82"


def faults(drive: Drive) -> list[str]:
    catalogue = sqlite3.connect(f"file:{drive.layout.catalogue}?mode=ro", uri=True)
    try:
        found = agreement.disagreements(drive)
        return [*found, *_kept(drive), *_rows(catalogue), *_logs(drive, catalogue), *_pictures(drive, catalogue)]
    finally:
        catalogue.close()


def _rows(catalogue: sqlite3.Connection) -> Iterator[str]:
    for (sentence,) in catalogue.execute("PRAGMA integrity_check"):
        if sentence != "ok":
            yield f"the catalogue is damaged: {sentence}"
    yield from (f"a row refers to nothing: {row}" for row in catalogue.execute("PRAGMA foreign_key_check"))
    for (number,) in catalogue.execute("SELECT id FROM imports WHERE state = 'importing'"):
        yield f"import {number} is under way, and nobody sees to it"
    for number, how in catalogue.execute("SELECT original_id, removal FROM origins WHERE removal != 'done'"):
        yield f"the source of OriginalFile:{number} was to be removed: {how}"


def _kept(drive: Drive) -> Iterator[str]:
    """What the tree keeps of the catalogue is what that says."""
    engine = open_engine(drive.layout.catalogue, read_only=True)
    with engine.begin() as conn:
        if KeptPeople(drive.layout).read() != users.everybody(conn):
            yield "the file of people is another than the catalogue's"
        if (kept := Counters(drive.layout).read()) != (given := ids.following(conn)):
            yield f"the counters are kept as {kept}, and are {given}"
    engine.dispose()


def _logs(drive: Drive, catalogue: sqlite3.Connection) -> Iterator[str]:
    """Each import directory has its log beside it, each log its directory."""
    rows = catalogue.execute("SELECT user_directory, import_directory FROM filesets")
    wanted = {drive.layout.managed / os.fsdecode(user) / f"{os.fsdecode(name)}.log" for user, name in rows}
    there = {path for path in drive.layout.managed.glob("*/????-??/*/*.log") if path.is_file()}
    yield from (f"{path} is missing" for path in wanted - there)
    yield from (f"{path} is the log of no fileset" for path in there - wanted)


def _pictures(drive: Drive, catalogue: sqlite3.Connection) -> Iterator[str]:
    """Each thumbnail that is said to be made is there and whole; there is no other that has its final name."""
    rows = catalogue.execute("SELECT id FROM images WHERE thumbnail = 'made'")
    made = {drive.layout.thumbnail(number) for (number,) in rows}
    there = set(drive.layout.thumbnails.glob("*/*.png")) if drive.layout.thumbnails.is_dir() else set()
    yield from (f"{path} is missing" for path in made - there)
    yield from (f"{path} is not whole" for path in there if not path.read_bytes().endswith(PNG_END))
    images = {drive.layout.thumbnail(number) for (number,) in catalogue.execute(IMAGES)}
    yield from (f"{path} is of no image" for path in there - images)
