"""The rows of imports: an intent before anything is touched, and its end. The only writer of a state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from repofs import lifecycle
from repofs.catalog.forms import nearest, now, signed, unsigned
from repofs.catalog.ids import reserve
from repofs.catalog.schema import imports
from repofs.errors import NotFound
from repofs.lifecycle import State
from repofs.model import ExperimenterId, ImportId


@dataclass(frozen=True, slots=True)
class NewImport:
    """A drop as it was when its import began."""

    owner: ExperimenterId
    user_directory: bytes
    path: bytes  # as dropped, below the user directory
    device: int  # st_dev, st_ino, st_size, st_mtime_ns of what was dropped
    inode: int
    size: int
    mtime_ns: int
    transfer: str  # model.Transfer, or a third party's
    actor_uid: int
    attempts: int  # this one included
    started: str  # ISO 8601, UTC
    gid: int | None = None  # of the drop's group
    source: bytes | None = None  # of an arrival: where it came from; None: *path* is a name in the mount


@dataclass(frozen=True, slots=True)
class ImportRow:
    """An import as the catalogue knows it."""

    id: ImportId
    state: State
    error: str | None
    ended: str | None
    intent: NewImport  # mtime_ns the nearest that fits in 64 bits


def begin(conn: Connection, rows: Sequence[NewImport]) -> list[ImportId]:
    """Write one row an import, in state importing, and return their ids in the order of *rows*.

    To be committed before anything of the import is done, so that recovery knows of it.
    """
    if not rows:
        return []
    new = [ImportId(number) for number in reserve(conn, "Import", len(rows))]
    conn.execute(insert(imports), [_values(number, row) for number, row in zip(new, rows, strict=True)])
    return new


def _values(number: ImportId, row: NewImport) -> dict[str, object]:
    return {
        "id": number,
        "owner_id": row.owner,
        "actor_uid": row.actor_uid,
        "user_directory": row.user_directory,
        "path": row.path,
        "state": State.IMPORTING.value,
        "transfer": row.transfer,
        "device": signed(row.device),
        "inode": signed(row.inode),
        "size": row.size,
        "mtime_ns": nearest(row.mtime_ns),
        "attempts": row.attempts,
        "started": row.started,
        "gid": row.gid,
        "source": row.source,
    }


def restore(conn: Connection, rows: Iterable[tuple[ImportId, NewImport, State, str]]) -> None:
    """Write the rows of imports that a lost catalogue had: each with its id, its state, and when it came to that."""
    values = [_values(number, row) | {"state": state.value, "ended": at} for number, row, state, at in rows]
    conn.execute(insert(imports), values)


def number_endings(conn: Connection) -> int:
    """Number all ends anew, in the order of their times; return the next number that is free."""
    order = (
        select(imports.c.id, func.row_number().over(order_by=(imports.c.ended, imports.c.id)).label("number"))
        .where(imports.c.ended.is_not(None))
        .subquery()
    )
    numbered = conn.execute(update(imports).where(imports.c.id == order.c.id).values(ending=order.c.number))
    return numbered.rowcount + 1


def advance(conn: Connection, import_id: ImportId, current: State, new: State, *, error: str | None = None) -> bool:
    """Take an import from *current* to *new*; False when it is not in *current*: somebody else was first.

    *error* replaces what stood there. Raises ValueError for a step that the life of an import does not have.
    """
    lifecycle.check(current, new)
    values: dict[str, object] = {"state": new.value, "error": error, "ended": None, "ending": None}
    if new in lifecycle.RESTING:
        [ending] = reserve(conn, "Ending", 1)
        values |= {"ended": now(), "ending": ending}
    unchanged = imports.c.id == import_id, imports.c.state == current.value
    return bool(conn.execute(update(imports).where(*unchanged).values(values)).rowcount)


_FINISH = (
    update(imports)
    .where(imports.c.id == bindparam("import_id"), imports.c.state == State.IMPORTING.value)
    .values(state=State.IMPORTED.value, ended=bindparam("at"), ending=bindparam("number"))
)


def finish(conn: Connection, imported: Iterable[tuple[ImportId, str]]) -> None:
    """Take many imports from importing to imported at the times given; part of `filesets.record`.

    Raises LookupError when one of them is not importing (the transaction must then be given up).
    """
    lifecycle.check(State.IMPORTING, State.IMPORTED)
    ended = list(imported)
    numbers = reserve(conn, "Ending", len(ended))
    rows = [{"import_id": one, "at": at, "number": number} for (one, at), number in zip(ended, numbers, strict=True)]
    if conn.execute(_FINISH, rows).rowcount != len(rows):
        raise LookupError("an import of this batch is not in state importing any more")


def unfinished(conn: Connection) -> list[ImportRow]:
    """Return the imports that are under way, or were when the importer died; oldest first."""
    # A literal, not a parameter: only so does the planner use the index of unfinished imports.
    under_way = imports.c.state == bindparam("state", State.IMPORTING.value, literal_execute=True)
    return [_row(row) for row in conn.execute(select(imports).where(under_way).order_by(imports.c.id))]


def get(conn: Connection, import_id: ImportId) -> ImportRow:
    """Return one import; NotFound."""
    row = conn.execute(select(imports).where(imports.c.id == import_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no import {import_id}")
    return _row(row)


def _row(row: Row[tuple[object, ...]]) -> ImportRow:
    intent = NewImport(
        owner=row.owner_id,
        user_directory=row.user_directory,
        path=row.path,
        device=unsigned(row.device),
        inode=unsigned(row.inode),
        size=row.size,
        mtime_ns=row.mtime_ns,
        transfer=row.transfer,
        actor_uid=row.actor_uid,
        attempts=row.attempts,
        started=row.started,
        gid=row.gid,
        source=row.source,
    )
    return ImportRow(row.id, State(row.state), row.error, row.ended, intent)
