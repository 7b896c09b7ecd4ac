"""What every request passes before the app: so many at a time, each answered to its end, nothing that breaks spreads.

The log has a line for each: its route as the documentation writes it, never its path, query or headers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from http import HTTPStatus

import structlog
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from repofs.web.errors import said

LINGER_SECONDS = 2.0  # for the rest of a body that is not wanted: a client sends it all before it reads the answer
ABORT = "abort"  # in the state of a connection: what ends it at once
_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]

log = structlog.get_logger(__name__)


class Guard:
    """An ASGI app before *app*, which answers *most* requests at a time."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        abort: Callable[[], None] = scope["state"][ABORT]
        if scope["type"] != "http" or not scope["http_version"].startswith("1"):
            abort()  # whoever speaks HTTP/2 or WebSocket without being offered it
            await trio.lowlevel.checkpoint()
        answer = _Answer(receive, send)
        try:
            await self._see_to(scope, answer)
        except Exception:  # answered already, unless it broke in the middle of an answer
            log.exception("a request over HTTPS failed", route=_route(scope))
        log.info("request", method=scope["method"], route=_route(scope), status=answer.status, client=scope["client"])
        if not answer.is_whole:
            abort()  # the client sees that the answer ends in the middle
            await trio.lowlevel.checkpoint()

    async def _see_to(self, scope: Scope, answer: _Answer) -> None:
        if self._under_way >= self._most:
            full = said(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at a time: try again in a moment")
            await full(scope, answer.receive, answer.send)
            return
        self._under_way += 1
        try:
            await self._app(scope, answer.receive, answer.send)
        finally:
            self._under_way -= 1


class _Answer:
    """The answer to one request, and how far the request's body has been read."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._body_ended = False
        self.status: int | None = None  # None: nothing has been sent
        self.is_whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._body_ended |= not message.get("more_body", False)  # also when the client has gone
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *_HEADERS]}
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._send_last(message)
        else:
            await self._send(message)

    async def _send_last(self, message: Message) -> None:
        with trio.move_on_after(LINGER_SECONDS):
            while not self._body_ended:
                await self.receive()
        # The server puts what still comes into a queue, and waits for a place in it before it ends the request.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._discard)
            await self._send(message)
            self.is_whole = True
            nursery.cancel_scope.cancel()

    async def _discard(self) -> None:
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                await self._receive()


def _route(scope: Scope) -> str | None:
    """Return the route as it is declared; None where there is none."""
    return getattr(scope.get("route"), "path", None)
