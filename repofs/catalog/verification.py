"""When originals were verified, which are to be next, and how they were found.

Those that were never verified come first, then those that were longest ago: so a run that was interrupted goes on
where it was, and none is forgotten. What the import itself has read counts: an original is as old as its import until
it is verified for the first time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select, tuple_, update

from repofs import lifecycle
from repofs.catalog import imports, originals
from repofs.catalog.originals import Held
from repofs.catalog.schema import fileset_entries, filesets, original_files
from repofs.catalog.schema import imports as imports_table
from repofs.lifecycle import State
from repofs.model import FilesetId, ImportId, ObjectRef, Origin, OriginalFileId

Which = ObjectRef | bytes | None
"""A fileset, an original, a path below the mount with all below it; None: everything."""


@dataclass(frozen=True, slots=True)
class Found:
    """How one original was found."""

    original_id: OriginalFileId
    state: State  # imported, altered, missing or offline
    error: str | None = None  # one sentence
    verified: str | None = None  # when its bytes were compared; None: they were not
    origin: Origin | None = None  # how its source is to be known from now on, when that is not as before


@dataclass(frozen=True, slots=True)
class Summary:
    """How the originals of a repository stand."""

    files: int
    due: int  # of them: neither verified nor imported since the time asked for
    never: int  # not verified since their import
    oldest: str | None  # the longest ago that one was verified which was verified at all; None: none was
    newest: str | None
    found: dict[State, int]  # altered, missing, offline


def due(conn: Connection, which: Which, before: str, after: Held | None, limit: int) -> list[Held]:
    """Return the next *limit* originals, or fewer, that were neither verified nor imported since *before*: those behind
    *after*, which was returned last. An empty list: there are no more."""
    file = original_files.c
    if after is None or after.verified is None:
        behind = 0 if after is None else after.original_id
        never = originals.query(which).where(file.verified.is_(None), filesets.c.imported < before, file.id > behind)
        if found := conn.execute(never.order_by(file.id).limit(limit)).all():
            return [originals.of_row(row) for row in found]
        place = ("", 0)
    else:
        place = (after.verified, after.original_id)
    again = originals.query(which).where(file.verified < before, tuple_(file.verified, file.id) > place)
    return [originals.of_row(row) for row in conn.execute(again.order_by(file.verified, file.id).limit(limit))]


def has_originals(conn: Connection, which: Which) -> bool:
    """Whether *which* is, or has in it, any original at all; of None it is True."""
    return which is None or conn.execute(originals.query(which).limit(1)).first() is not None


def total(conn: Connection, which: Which, before: str) -> tuple[int, int]:
    """Return how many originals `due` returns in all, and how many bytes they have."""
    all_of_them = (
        originals.query(which)
        .where(_is_due(before))
        .with_only_columns(func.count(), func.coalesce(func.sum(original_files.c.size), 0), maintain_column_froms=True)
    )
    files, size = conn.execute(all_of_them).one()
    return files, size


def sample(conn: Connection, which: Which, before: str, count: int) -> list[OriginalFileId]:
    """Return *count* of those that `due` returns, drawn at random; all when there are fewer."""
    drawn = originals.query(which).where(_is_due(before)).order_by(func.random()).limit(count)
    numbers = drawn.with_only_columns(original_files.c.id, maintain_column_froms=True)
    return [OriginalFileId(row.id) for row in conn.execute(numbers)]


def these(conn: Connection, numbers: Sequence[OriginalFileId]) -> list[Held]:
    """Return those of these originals that are there."""
    return [originals.of_row(row) for row in conn.execute(originals.query().where(original_files.c.id.in_(numbers)))]


def _is_due(before: str) -> ColumnElement[bool]:
    return func.coalesce(original_files.c.verified, filesets.c.imported) < before


def record(conn: Connection, found: Sequence[Found]) -> list[bool]:
    """Write how originals were found; the import of each is then as its worst file is. False for one that has gone."""
    there = [_write(conn, one) for one in found]
    changed: dict[FilesetId, list[Found]] = defaultdict(list)
    for one, before in zip(found, there, strict=True):
        if before is not None and before[1] is not one.state:
            changed[before[0]].append(one)
    for fileset_id, files in changed.items():
        _advance(conn, fileset_id, files)
    return [before is not None for before in there]


def _write(conn: Connection, found: Found) -> tuple[FilesetId, State] | None:
    """Write the row of one original; return its fileset and how it stood, None when it is not there."""
    file, entry = original_files.c, fileset_entries.c
    row = conn.execute(
        select(entry.fileset_id, file.stands)
        .join_from(fileset_entries, original_files)
        .where(entry.original_id == found.original_id)
    ).one_or_none()
    if row is None:
        return None
    values: dict[str, object] = {"stands": None if found.state is State.IMPORTED else found.state.value}
    if found.verified is not None:
        values["verified"] = found.verified
    conn.execute(update(original_files).where(file.id == found.original_id).values(values))
    if found.origin is not None:
        originals.move(conn, found.original_id, found.origin)
    return row.fileset_id, State.IMPORTED if row.stands is None else State(row.stands)


def _advance(conn: Connection, fileset_id: FilesetId, changed: Sequence[Found]) -> None:
    file, whole = original_files.c, imports_table.c
    stands = (
        select(file.stands, func.count())
        .join_from(original_files, fileset_entries)
        .where(fileset_entries.c.fileset_id == fileset_id, file.stands.is_not(None))
        .group_by(file.stands)
    )
    worst = lifecycle.worst({State(state): count for state, count in conn.execute(stands)}) or State.IMPORTED
    row = conn.execute(
        select(whole.id, whole.state).join_from(filesets, imports_table).where(filesets.c.id == fileset_id)
    ).one()
    if worst is not State(row.state):
        error = next((one.error for one in changed if one.state is worst), None)
        imports.advance(conn, ImportId(row.id), State(row.state), worst, error=error)


def summary(conn: Connection, before: str) -> Summary:
    """Return how all originals stand; those are due that were neither verified nor imported since *before*."""
    file = original_files.c
    whole = fileset_entries.join(original_files).join(filesets)
    is_due = select(func.count()).select_from(whole).where(_is_due(before))
    never = select(func.count()).where(file.verified.is_(None))
    ends = conn.execute(select(func.min(file.verified), func.max(file.verified))).one()
    found = select(file.stands, func.count()).where(file.stands.is_not(None)).group_by(file.stands)
    return Summary(
        files=conn.execute(select(func.count()).select_from(original_files)).scalar_one(),
        due=conn.execute(is_due).scalar_one(),
        never=conn.execute(never).scalar_one(),
        oldest=ends[0],
        newest=ends[1],
        found={State(state): count for state, count in conn.execute(found)},
    )
