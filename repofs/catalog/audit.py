"""The audit trail: who did what to people, groups, files and objects, or was refused it. Only ever added to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, insert, or_, select

from repofs.catalog import schema
from repofs.catalog.forms import iso, now, plain
from repofs.deeds import Deed
from repofs.model import ObjectRef


@dataclass(frozen=True, slots=True)
class Entry:
    time: str  # ISO 8601, UTC; of several alike, of the first
    actor_uid: int
    act: str  # one of `deeds.ACTS`
    target: str | None  # "Experimenter:2"
    path: bytes | None  # below the mount; of several files the directory that they lie in, with a slash
    refusal: str | None  # why it was refused; None: it was done
    detail: dict[str, object]
    times: int  # how many alike, within a second or so


def record(
    conn: Connection,
    actor_uid: int,
    act: str,
    target: ObjectRef | None = None,
    detail: Mapping[str, object] | None = None,
    *,
    path: bytes | None = None,
    refusal: str | None = None,
) -> None:
    """Add one line, in the transaction of the act itself: one is never there without the other."""
    conn.execute(insert(schema.audit), [_row(now(), actor_uid, act, target and str(target), path, refusal, detail)])


def add(conn: Connection, deeds: Sequence[Deed]) -> None:
    """Add lines about what has been done or refused already."""
    if deeds:
        conn.execute(insert(schema.audit), [_deed(deed) for deed in deeds])


def _deed(deed: Deed) -> dict[str, Any]:
    time = iso(datetime.fromtimestamp(deed.time_ns // 1_000_000 / 1000, UTC))
    detail = deed.detail if deed.times == 1 else {**deed.detail, "times": deed.times}
    return _row(time, deed.actor_uid, deed.act, deed.object, deed.path, deed.refusal, detail)


def _row(
    time: str,
    actor_uid: int,
    act: str,
    target: str | None,
    path: bytes | None,
    refusal: str | None,
    detail: Mapping[str, object] | None,
) -> dict[str, Any]:
    return {
        "time": time,
        "actor_uid": actor_uid,
        "act": act,
        "object": target,
        "path": path,
        "refusal": plain(refusal),
        "detail": json.dumps(dict(detail or {})),
    }


def entries(
    conn: Connection,
    *,
    actor_uid: int | None = None,
    target: ObjectRef | None = None,
    path: bytes | None = None,
    since: str | None = None,
    refused: bool = False,
) -> Iterator[Entry]:
    """Yield the lines, oldest first: where given, only those of *actor_uid*, about *target*, from *since* on.

    With *path*, those about what is or was there, below it, or perhaps among several that are told as one; b"" is the
    whole mount. With *refused*, refusals only.
    """
    audit = schema.audit.c
    wanted: list[ColumnElement[bool]] = []
    if actor_uid is not None:
        wanted.append(audit.actor_uid == actor_uid)
    if target is not None:
        wanted.append(audit.object == str(target))
    if path is not None:
        wanted.append(_about(path))
    if since is not None:
        wanted.append(audit.time >= since)
    if refused:
        wanted.append(audit.refusal.is_not(None))
    # By the time: what the mount tells comes a second after what a command writes itself.
    query = select(schema.audit).where(*wanted).order_by(audit.time, audit.id)
    for row in conn.execute(query.execution_options(yield_per=1000)):
        detail = json.loads(row.detail)
        times = detail.pop("times", 1)
        yield Entry(row.time, row.actor_uid, row.act, row.object, row.path, row.refusal, detail, times)


def _about(path: bytes) -> ColumnElement[bool]:
    column = schema.audit.c.path
    if not path:
        return column.is_not(None)
    parts = path.split(b"/")
    several = [b"".join(part + b"/" for part in parts[:depth]) for depth in range(len(parts))]
    below = and_(column >= path + b"/", column < path + b"0")  # "0" comes after "/"
    return or_(column == path, below, column.in_(several))
