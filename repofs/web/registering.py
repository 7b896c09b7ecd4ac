"""The two requests of omero2pandas: a CSRF token, and the registration of an array as a table."""

from __future__ import annotations

from http import HTTPStatus

import trio
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from repofs.errors import InvalidValue
from repofs.repository import as_user
from repofs.table import Registration, Secret, checked_token, read_registration
from repofs.threads import in_thread
from repofs.web import csrf
from repofs.web.callers import Asking, Key, intended
from repofs.web.services import Here

BODY_SECONDS = 10.0  # for a client to send a body

router = APIRouter()


@router.get("/api/v0/token")
async def token(here: Here, key: Key) -> Response:
    """A CSRF token, also as a cookie. Fetched with a session it is good for this session only."""
    made = here.tokens.create(key)
    answer = JSONResponse({"data": made})
    path = f"{here.settings.prefix}/"
    answer.set_cookie(csrf.COOKIE, made, path=path, secure=True, httponly=True, samesite="strict")
    return answer


@router.post("/omero_plus/api/v0/table", dependencies=[Depends(intended)])
async def register_table(request: Request, here: Here, asker: Asking) -> Response:
    """Register a TileDB array as a table on its targets. The SecretToken of the array proves the right to."""
    body = await _body(request, here.settings.body_bytes)
    asked = read_registration(body, "the body", ("uri", "name", "targets"))
    secret = _secret(request.headers.getlist("x-secrettoken"))
    who = await in_thread(as_user.by_account, asker.uid)
    table = await here.register(who, None, Registration(asked.uri, asked.name, asked.targets, secret))
    return JSONResponse({"data": {"file_annotation": table.id}})


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
