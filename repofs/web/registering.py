"""The two requests of omero2pandas: a CSRF token, and the registration of an array as a table."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import trio
from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException

from repofs.errors import InvalidValue
from repofs.repository import as_user
from repofs.table import Registration, Secret, checked_token, read_registration
from repofs.threads import in_thread
from repofs.web import csrf
from repofs.web.answers import Data
from repofs.web.callers import Asking, Key, intended
from repofs.web.services import Here

BODY_SECONDS = 10.0  # for a client to send a body

_ASKED = {
    "parameters": [
        {
            "name": "X-SecretToken",
            "in": "header",
            "schema": {"type": "string"},
            "description": "The SecretToken in the metadata of the array",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["uri", "targets"],
                    "properties": {
                        "uri": {"type": "string", "description": "Path, or s3:// URI in a declared store"},
                        "name": {"type": "string", "description": "Without it, that of the array's directory"},
                        "targets": {"type": "array", "items": {"type": "string"}, "example": ["Image:101"]},
                    },
                }
            }
        },
    },
}


@dataclass(frozen=True, slots=True)
class Registered:
    """The table that was registered."""

    file_annotation: int


router = APIRouter()


@router.get("/api/v0/token")
async def get_token(here: Here, key: Key, response: Response) -> Data[str]:
    """A CSRF token, also as a cookie. Fetched with a session it is good for this session only."""
    token = here.tokens.create(key)
    path = f"{here.settings.prefix}/"
    response.set_cookie(csrf.COOKIE, token, path=path, secure=True, httponly=True, samesite="strict")
    return Data(data=token)


@router.post("/omero_plus/api/v0/table", dependencies=[Depends(intended)], openapi_extra=_ASKED)
async def register_table(request: Request, here: Here, asker: Asking) -> Data[Registered]:
    """Register a TileDB array as a table on its targets. The SecretToken of the array proves the right to."""
    body = await _body(request, here.settings.body_bytes)
    asked = read_registration(body, "the body", ("uri", "name", "targets"))
    secret = _secret(request.headers.getlist("x-secrettoken"))
    who = await in_thread(as_user.by_account, asker.uid)
    table = await here.register(who, None, Registration(asked.uri, asked.name, asked.targets, secret))
    return Data(data=Registered(table.id))


def _secret(values: list[str]) -> Secret | None:
    if not values:
        return None
    if len(values) > 1 or not values[0].isascii():
        raise InvalidValue("X-SecretToken: send one, in ASCII")
    return checked_token(values[0].encode())


async def _body(request: Request, most: int) -> bytes:
    """Return the body. Raises HTTPException for one that is too large or takes too long; the rest is not kept."""
    body = bytearray()
    with trio.move_on_after(BODY_SECONDS) as patience:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has {most} bytes at most")
    if patience.cancelled_caught:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {BODY_SECONDS:.0f} s")
    return bytes(body)
