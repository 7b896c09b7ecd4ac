"""SecretTokens: compared without a hint, kept as a salted hash, and not to be guessed.

A token is random (omero2pandas makes 32 bytes of `secrets`), so that one round of HMAC-SHA-256 keeps it: there is no
list of likely ones to try.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from repofs.errors import TooManyGuesses
from repofs.table import Secret

SALT_BYTES = 16
GUESSES = 5  # wrong tokens at once
SECONDS_A_GUESS = 12.0  # until one more is allowed
_REMEMBERED = 10_000  # who has guessed: above that, those who have least to regain are forgotten


def new_salt() -> bytes:
    """Return a salt for one more token."""
    return secrets.token_bytes(SALT_BYTES)


def digest(salt: bytes, token: Secret) -> bytes:
    """Return what is kept of *token*: HMAC-SHA-256 by the salt, 32 bytes."""
    return hmac.new(salt, token.reveal(), hashlib.sha256).digest()


def same(one: Secret, other: Secret) -> bool:
    """Whether two tokens are the same, in a time that tells nothing of them, nor of their lengths."""
    key = secrets.token_bytes(SALT_BYTES)
    return hmac.compare_digest(digest(key, one), digest(key, other))


@dataclass(slots=True)
class _Spent:
    guesses: float
    at: float  # seconds of the clock


class Guesses:
    """How many wrong tokens may still come: of each user, and for each array, whoever asks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent: dict[Hashable, _Spent] = {}

    def require(self, *keys: Hashable) -> None:
        """Refuse (TooManyGuesses) whom one more wrong token would be too much."""
        most = max((self._now(key) for key in keys), default=0.0)
        if most > GUESSES - 1:
            seconds = (most - GUESSES + 1) * SECONDS_A_GUESS
            raise TooManyGuesses(f"too many wrong SecretTokens: try again in {seconds:.0f} s")

    def wrong(self, *keys: Hashable) -> None:
        """Note a wrong token of these."""
        for key in keys:
            self._spent[key] = _Spent(self._now(key) + 1, self._clock())
        if len(self._spent) > _REMEMBERED:
            self._forget()

    def _now(self, key: Hashable) -> float:
        spent = self._spent.get(key)
        return 0.0 if spent is None else max(0.0, spent.guesses - (self._clock() - spent.at) / SECONDS_A_GUESS)

    def _forget(self) -> None:
        most = sorted(self._spent, key=self._now, reverse=True)[: _REMEMBERED // 2]
        self._spent = {key: self._spent[key] for key in most if self._now(key) > 0}
