"""Who asks: the session that a request names, and the proof that its user means to change something."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Cookie, Depends, Header, Request
from fastapi.security import APIKeyQuery, HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from repofs.web import address, csrf
from repofs.web.services import Here
from repofs.web.sessions import Session

_bsession = APIKeyQuery(name="bsession", description="The key of a session", auto_error=False)
_bearer = HTTPBearer(description="The key of a session", auto_error=False)


async def _key(
    bsession: Annotated[str | None, Depends(_bsession)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str | None:
    return bsession if bearer is None else bearer.credentials


Key = Annotated[str | None, Depends(_key)]


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose session a request names, by its key."""

    key: str
    session: Session

    @property
    def uid(self) -> int:
        return self.session.uid


async def _asker(here: Here, key: Key) -> Asker:
    session = None if key is None else here.sessions.find(key)
    if key is None or session is None:
        raise HTTPException(
            HTTPStatus.UNAUTHORIZED,
            "no such session, or it has ended: read .repofs/session in the mount for the key of a new one",
            {"WWW-Authenticate": "Bearer"},
        )
    return Asker(key, session)


Asking = Annotated[Asker, Depends(_asker)]


async def intended(
    request: Request,
    here: Here,
    asker: Asking,
    token: Annotated[str | None, Header(alias=csrf.HEADER, description="What api/v0/token has given")] = None,
    cookie: Annotated[str | None, Cookie(alias=csrf.COOKIE, description="The same")] = None,
    referer: Annotated[str | None, Header(alias="Referer", description="This host: https://HOST:PORT")] = None,
) -> None:
    """Refuse what another site may have made a browser send."""
    if referer is None or not _is_ours(referer, request.headers.get("host", ""), here.names):
        raise HTTPException(HTTPStatus.FORBIDDEN, "the Referer is not this host by https, see web.hosts")
    if token is None or cookie != token or not here.tokens.good(token, asker.key):
        raise HTTPException(
            HTTPStatus.FORBIDDEN,
            f"no CSRF token, or not of this session: get api/v0/token and send it as {csrf.HEADER} and as its cookie",
        )


def _is_ours(referer: str, host: str, names: frozenset[str]) -> bool:
    """Whether *referer* is a page of the *host* that is asked, which is called by one of our *names*."""
    try:
        url, called = urlsplit(referer), urlsplit(f"https://{host}")
        same = (url.hostname, url.port or 443) == (called.hostname, called.port or 443)
        return url.scheme == "https" and same and address.name(url.hostname or "") in names
    except ValueError:  # of a port or an address that is none
        return False
