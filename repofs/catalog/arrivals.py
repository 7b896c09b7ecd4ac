"""Arrivals that nobody waits for: queued until they have been seen to, whatever happens to the importer."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update

from repofs.catalog.forms import now
from repofs.catalog.ids import reserve
from repofs.catalog.schema import arrivals
from repofs.lifecycle import State
from repofs.model import Arrival

QUEUED = "queued"


@dataclass(frozen=True, slots=True)
class Queued:
    id: int
    arrival: Arrival


def queue(conn: Connection, arrival: Arrival) -> int:
    """Keep *arrival* until `ended`; return its number."""
    number = reserve(conn, "Arrival", 1)[0]
    asked = msgspec.json.encode(arrival).decode()
    conn.execute(insert(arrivals).values(id=number, asked=asked, accepted=now(), state=QUEUED))
    return number


def queued(conn: Connection) -> list[Queued]:
    """Return what is queued, oldest first."""
    # A literal, not a parameter: only so does the planner use the index of what is queued.
    waits = arrivals.c.state == bindparam("state", QUEUED, literal_execute=True)
    rows = conn.execute(select(arrivals.c.id, arrivals.c.asked).where(waits).order_by(arrivals.c.id))
    return [Queued(row.id, msgspec.json.decode(row.asked, type=Arrival)) for row in rows]


def ended(conn: Connection, number: int, state: State, error: str | None, at: str | None = None) -> None:
    """Say what became of an arrival, now or *at* a time before."""
    conn.execute(
        update(arrivals)
        .where(arrivals.c.id == number, arrivals.c.state == QUEUED)
        .values(state=state.value, error=error, ended=at or now())
    )
