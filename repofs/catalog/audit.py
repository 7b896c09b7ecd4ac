"""The audit trail: who changed people, groups and objects. Only ever added to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from repofs.catalog import schema
from repofs.catalog.forms import now
from repofs.model import ObjectRef


@dataclass(frozen=True, slots=True)
class Entry:
    time: str  # ISO 8601, UTC
    actor_uid: int
    act: str  # "user.add"
    target: str | None  # "Experimenter:2"
    detail: dict[str, object]


def record(
    conn: Connection,
    actor_uid: int,
    act: str,
    target: ObjectRef | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Add one line, in the transaction of the act itself: one is never there without the other."""
    values = {"time": now(), "actor_uid": actor_uid, "act": act, "object": target and str(target)}
    conn.execute(insert(schema.audit).values(**values, detail=json.dumps(dict(detail or {}))))


def entries(
    conn: Connection, *, actor_uid: int | None = None, target: ObjectRef | None = None, since: str | None = None
) -> Iterator[Entry]:
    """Yield the lines, oldest first; only those of *actor_uid*, about *target*, from *since* on, where given."""
    query = select(schema.audit).order_by(schema.audit.c.id)
    if actor_uid is not None:
        query = query.where(schema.audit.c.actor_uid == actor_uid)
    if target is not None:
        query = query.where(schema.audit.c.object == str(target))
    if since is not None:
        query = query.where(schema.audit.c.time >= since)
    for row in conn.execute(query.execution_options(yield_per=1000)):
        yield Entry(row.time, row.actor_uid, row.act, row.object, json.loads(row.detail))
