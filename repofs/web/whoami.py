"""The session of whoever asks: whose it is, and its end."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends

from repofs.web.answers import Data
from repofs.web.callers import Asking, intended
from repofs.web.services import Here

router = APIRouter(prefix="/api/v0/session")


@dataclass(frozen=True, slots=True)
class Mine:
    """A session, as it is told."""

    user: str
    uid: int
    seconds: int  # that it still lasts


@router.get("")
async def get_session(here: Here, asker: Asking) -> Data[Mine]:
    """Whose session it is, and how many seconds it still lasts."""
    session = asker.session
    return Data(data=Mine(session.name, session.uid, int(here.sessions.seconds_left(session))))


@router.delete("", status_code=204, dependencies=[Depends(intended)])
async def end_session(here: Here, asker: Asking) -> None:
    """End the session."""
    here.sessions.end(asker.key)
