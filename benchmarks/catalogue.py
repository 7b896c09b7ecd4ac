"""What an import costs with more and more originals in the catalogue."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from sqlalchemy import text

from benchmarks.calls import Calls
from benchmarks.growth import FACTORS, Base, GrowthRow
from benchmarks.mounted import Repository, repofs
from benchmarks.places import REPOFS
from repofs.catalog import ids
from repofs.catalog.engine import open_engine

_ROUNDS = 3
_BYTES = 4 << 10
_YEAR_SECONDS = 31_536_000  # in which those that are there came, evenly
_COUNTED = "WITH RECURSIVE counted(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM counted WHERE i < :count - 1)"
_PASSED = f"(1000 + i * {_YEAR_SECONDS} / :count)"  # seconds of that year
_WHEN = f"strftime('%Y-%m-%dT%H:%M:%f+00:00', 1700000000 + {_PASSED}, 'unixepoch')"
_WHERE = f"CAST(strftime('%Y-%m/%d/%H-%M-%f-', 1700000000 + {_PASSED}, 'unixepoch') || i AS BLOB)"
_NAME = "CAST('image-' || i || '.tif' AS BLOB)"
_ROWS = [
    f"""INSERT INTO imports (id, owner_id, actor_uid, user_directory, path, state, transfer, device, inode, size,
            mtime_ns, attempts, started, ended, ending, gid)
        {_COUNTED} SELECT :Import + i, owner.id, owner.uid, CAST(:directory AS BLOB), {_NAME}, 'imported', 'upload',
            1, i, {_BYTES}, 1000000000 * {_PASSED}, 1, {_WHEN}, {_WHEN}, :Ending + i, home.gid
        FROM counted, experimenters AS owner JOIN groups AS home ON home.id = owner.group_id""",
    f"""INSERT INTO original_files (id, owner_id, group_id, size, mtime_ns, checksum)
        {_COUNTED} SELECT :OriginalFile + i, id, group_id, {_BYTES}, 1000000000 * {_PASSED},
            'SHA1-160:' || lower(hex(randomblob(20)))
        FROM counted, experimenters""",
    f"""INSERT INTO filesets (id, import_id, owner_id, group_id, user_directory, import_directory, transfer, imported,
            note, main)
        {_COUNTED} SELECT :Fileset + i, :Import + i, id, group_id, CAST(:directory AS BLOB), {_WHERE}, 'upload',
            {_WHEN}, 'no reader knows this format', {_NAME}
        FROM counted, experimenters""",
    f"""INSERT INTO fileset_entries (fileset_id, position, original_id, path, name)
        {_COUNTED} SELECT :Fileset + i, 0, :OriginalFile + i, {_NAME}, {_NAME} FROM counted""",
]


def measure(top: Path, calls: Calls, base: Base) -> Iterator[GrowthRow]:
    """Yield one row: the microseconds from `cp` to `imported`, of files of 4 KiB, in repositories below *top*."""
    sizes = [base.many * factor for factor in FACTORS]
    with contextlib.ExitStack() as mounts:
        homes = []
        for size in sizes:
            (top / str(size)).mkdir()
            repository = Repository(top / str(size), "[verify]\nevery_days = 0\n")  # there are no files to verify
            fill(repository, size)
            homes.append(mounts.enter_context(repository.mounted()))
        rounds = [[_import(calls, home / str(number), base.many) for home in homes] for number in range(_ROUNDS)]
    costs = [median(costs) for costs in zip(*rounds, strict=True)]
    yield GrowthRow("originals in the catalogue", sizes, "import of 4 KiB", REPOFS, costs)


def fill(repository: Repository, count: int) -> None:
    """Let the catalogue of *repository*, which is not mounted, know *count* filesets of one file, as if imported."""
    engine = open_engine(repository.layout.catalogue)
    with engine.begin() as conn:
        values = {kind: ids.reserve(conn, kind, count)[0] for kind in ("Import", "Ending", "OriginalFile", "Fileset")}
        for rows in _ROWS:
            conn.execute(text(rows), {**values, "count": count, "directory": repository.user_directory})
    engine.dispose()


def _import(calls: Calls, directory: Path, count: int) -> float:
    """Return the microseconds that each of *count* new files took."""
    directory.mkdir()
    begin = time.perf_counter()
    calls.do("create", directory, count, _BYTES)
    repofs("wait", str(directory))
    return (time.perf_counter() - begin) / count * 1e6
