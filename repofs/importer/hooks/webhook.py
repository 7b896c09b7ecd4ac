"""A URL to which each piece of news is posted. What it says is a secret: no reason that is told has a part of it."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import trio

from repofs.events import News
from repofs.importer.hooks.delivery import DeliveryFailed
from repofs.threads import in_thread


class Webhook:
    most = 1
    gather_seconds = 0.0

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = urlsplit(url)
        self._timeout_seconds = timeout_seconds

    async def send(self, news: Sequence[News]) -> None:
        """Post the lines; DeliveryFailed for any answer but 2xx: a redirection is not followed."""
        for one in news:
            try:
                with trio.fail_after(self._timeout_seconds):
                    status = await in_thread(self._post, one.line(), abandon_on_cancel=True)
            except trio.TooSlowError:
                raise DeliveryFailed(f"no answer within {self._timeout_seconds:g} s") from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise DeliveryFailed(f"{type(error).__name__}: {error}") from error
            if not 200 <= status < 300:
                raise DeliveryFailed(f"the answer was {status}")

    def _post(self, line: bytes) -> int:
        connection = self._connection()
        try:
            query = f"?{self._url.query}" if self._url.query else ""
            connection.request("POST", (self._url.path or "/") + query, line, self._headers())
            return connection.getresponse().status
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout_seconds)
        context = ssl.create_default_context()  # checks the certificate and the name in it
        return http.client.HTTPSConnection(host, port, timeout=self._timeout_seconds, context=context)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._url.username is not None:
            words = f"{unquote(self._url.username)}:{unquote(self._url.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(words.encode()).decode()}"
        return headers
