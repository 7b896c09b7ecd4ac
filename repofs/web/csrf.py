"""CSRF tokens: signed, and sent twice by whoever changes something, as a header and as a cookie.

    NONCE.END.MAC       16 random bytes, seconds since the epoch, HMAC-SHA-256 of both and of the session

No site but ours can read the cookie or make a pair that matches. A token that was fetched with a session is good for
this session only; one that was fetched without, as omero2pandas does, for any.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable

COOKIE = "csrftoken"
HEADER = "X-CSRFToken"
_NONCE_BYTES = 16
_KEY_BYTES = 32


class Tokens:
    """Makes and checks the tokens of one daemon; those of an earlier one are good no more."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._seconds = seconds
        self._clock = clock

    def create(self, session: str | None) -> str:
        """Return a token: for the session of this key, or without one for any."""
        said = f"{secrets.token_hex(_NONCE_BYTES)}.{int(self._clock() + self._seconds)}"
        return f"{said}.{self._mac(said, session or '')}"

    def good(self, token: str, session: str) -> bool:
        """Whether *token* is one of ours that may be used with the session of this key now."""
        said, _, mac = token.rpartition(".")
        if not any(hmac.compare_digest(mac.encode(), self._mac(said, one).encode()) for one in ("", session)):
            return False
        return int(said.partition(".")[2]) > self._clock()

    def _mac(self, said: str, session: str) -> str:
        text = f"{said}.{session}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, "sha256").hexdigest()
