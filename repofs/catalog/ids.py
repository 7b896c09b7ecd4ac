"""Ids of objects: handed out before the objects are made, and never used again."""

from __future__ import annotations

from sqlalchemy import Connection, update

from repofs.catalog.schema import ids


def reserve(conn: Connection, kind: str, count: int) -> range:
    """Return *count* new ids of *kind* (Fileset, Image, OriginalFile, Import …); KeyError for a kind that is none.

    They are yours once the transaction is committed; those left over at a crash stay unused.
    """
    end = conn.execute(
        update(ids).where(ids.c.kind == kind).values(next=ids.c.next + count).returning(ids.c.next)
    ).scalar()
    if end is None:
        raise KeyError(kind)
    return range(end - count, end)
