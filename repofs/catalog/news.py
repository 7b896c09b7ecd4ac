"""News of imports, read from their rows; and how far each hook is with them.

The numbers are given in the transactions that end imports, which the catalogue does one after another: who has read up
to a number misses nothing that is committed later. An import that comes into another state (an original whose source
has gone) gets a new number: of each import there is one piece of news, its newest.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, Row, func, insert, select, update

from repofs.catalog.schema import experimenters, filesets, groups, hooks, ids, imports, trash
from repofs.events import KINDS, News
from repofs.lifecycle import State


def after(conn: Connection, number: int, kinds: Collection[State] = tuple(KINDS), limit: int = 256) -> list[News]:
    """Return the first *limit* pieces of news with a greater *number*, in their order, of these *kinds*."""
    of_fileset, of_owner = groups.alias(), groups.alias()
    fileset = func.coalesce(filesets.c.id, trash.c.fileset_id).label("fileset")
    gid = func.coalesce(of_fileset.c.gid, imports.c.gid, of_owner.c.gid).label("whose_gid")
    query = (
        select(imports, fileset, filesets.c.import_directory, experimenters.c.user_name, gid)
        .join(experimenters, experimenters.c.id == imports.c.owner_id)
        .outerjoin(filesets, filesets.c.import_id == imports.c.id)
        .outerjoin(trash, trash.c.import_id == imports.c.id)
        .outerjoin(of_fileset, of_fileset.c.id == func.coalesce(filesets.c.group_id, trash.c.group_id))
        .join(of_owner, of_owner.c.id == experimenters.c.group_id)
        .where(imports.c.state.in_([kind.value for kind in kinds]), imports.c.ending > number)
        .order_by(imports.c.ending)
        .limit(limit)
    )
    return [_news(row) for row in conn.execute(query)]


def _news(row: Row[tuple[object, ...]]) -> News:
    if row.import_directory is None:
        log = b".repofs/log/%s/%d.log" % (row.user_directory, row.id)
    else:
        log = b"%s/%s.log" % (row.user_directory, row.import_directory)
    return News(
        number=row.ending,
        importing=row.id,
        time=row.ended,
        kind=State(row.state),
        user=row.user_name,
        user_directory=row.user_directory,
        gid=row.whose_gid,
        actor_uid=row.actor_uid,
        path=row.path,
        source=row.source,
        fileset=row.fileset,
        error=row.error,
        log=log,
    )


def newest(conn: Connection) -> int:
    """Return the greatest number that was given so far; 0 when there is none."""
    following: int = conn.execute(select(ids.c.next).where(ids.c.kind == "Ending")).scalar_one()
    return following - 1


def begin(conn: Connection, names: Sequence[str]) -> list[int]:
    """Return for each hook the number up to which it has delivered: for one that is new, all that was before it."""
    numbers = []
    for name in names:
        known = conn.execute(select(hooks.c.delivered).where(hooks.c.name == name)).scalar()
        if known is None:
            known = newest(conn)
            conn.execute(insert(hooks).values(name=name, delivered=known))
        numbers.append(known)
    return numbers


def delivered(conn: Connection, items: Sequence[tuple[str, int]]) -> list[None]:
    """Note up to which number hooks have delivered."""
    for name, number in items:
        conn.execute(update(hooks).where(hooks.c.name == name).values(delivered=number))
    return [None] * len(items)
