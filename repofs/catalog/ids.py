"""Ids of objects: handed out before the objects are made, and never used again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, Engine, event, select, update

from repofs.catalog.schema import ids

_RESERVED = "reserved"  # in the facts that SQLAlchemy keeps for us with a connection


def reserve(conn: Connection, kind: str, count: int) -> range:
    """Return *count* new ids of *kind* (Fileset, Image, OriginalFile, Import …); KeyError for a kind that is none.

    They are yours once the transaction is committed; those left over at a crash stay unused.
    """
    end = conn.execute(
        update(ids).where(ids.c.kind == kind).values(next=ids.c.next + count).returning(ids.c.next)
    ).scalar()
    if end is None:
        raise KeyError(kind)
    conn.info.setdefault(_RESERVED, {})[kind] = end
    return range(end - count, end)


def before_commit(engine: Engine, act: Callable[[Mapping[str, int]], None]) -> None:
    """Have *act* called before each commit that reserves ids, with the next free one of each kind concerned.

    What it raises keeps the transaction from being committed.
    """

    @event.listens_for(engine, "begin")
    def _begun(conn: Connection) -> None:
        conn.info.pop(_RESERVED, None)

    @event.listens_for(engine, "commit")
    def _committing(conn: Connection) -> None:
        if reserved := conn.info.pop(_RESERVED, None):
            act(reserved)


def lift(conn: Connection, marks: Mapping[str, int]) -> dict[str, int]:
    """Let the next id of each kind be no less than its mark; return those that were, as they were."""
    behind = {kind: number for kind, number in following(conn).items() if number < marks.get(kind, 0)}
    for kind in behind:
        conn.execute(update(ids).where(ids.c.kind == kind).values(next=marks[kind]))
    return behind


def following(conn: Connection) -> dict[str, int]:
    """Return the next id of each kind."""
    return {row.kind: row.next for row in conn.execute(select(ids))}
