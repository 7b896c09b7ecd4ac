"""Sessions: a key stands for an experimenter for some hours. Kept in memory, so that they end with the daemon."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from repofs.errors import AccessDenied
from repofs.people import People

MOST = 100  # sessions of one user: another one ends the oldest
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """Who has it, and until when."""

    uid: int
    name: str  # the account's: another one may get the uid
    ends: float  # seconds of the clock


class Sessions:
    """The sessions of one daemon. Only hashes of their keys are kept."""

    def __init__(
        self, seconds: float, people: Callable[[], People], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._people = people
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}  # by the hash of the key, the oldest first

    def create(self, uid: int) -> str:
        """Return the key of a new session of *uid*. Raises AccessDenied for whoever is no experimenter."""
        actor = self._people().actors.get(uid)
        if actor is None or actor.name is None:
            raise AccessDenied(f"uid {uid} is no experimenter here: an administrator adds one with repofs user add")
        self._drop_ended()
        hers = [digest for digest, session in self._sessions.items() if session.uid == uid]
        for digest in hers[: max(0, len(hers) - MOST + 1)]:
            del self._sessions[digest]
        key = secrets.token_urlsafe(_KEY_BYTES)
        self._sessions[_digest(key)] = Session(uid, actor.name, self._clock() + self._seconds)
        return key

    def find(self, key: str) -> Session | None:
        """Return the session of *key*; None when there is none, or no more."""
        digest = _digest(key)
        session = self._sessions.get(digest)
        if session is not None and not self._stands(session):
            del self._sessions[digest]
            return None
        return session

    def who(self, key: str) -> int | None:
        """Return whose session that of *key* is; None when there is none, or no more."""
        session = self.find(key)
        return None if session is None else session.uid

    def seconds_left(self, session: Session) -> float:
        """Return how long *session* still lasts."""
        return max(0.0, session.ends - self._clock())

    def end(self, key: str) -> None:
        """End the session of *key*, if there is one."""
        self._sessions.pop(_digest(key), None)

    def _drop_ended(self) -> None:
        self._sessions = {digest: one for digest, one in self._sessions.items() if self._stands(one)}

    def _stands(self, session: Session) -> bool:
        actor = self._people().actors.get(session.uid)
        return session.ends > self._clock() and actor is not None and actor.name == session.name


def _digest(key: str) -> bytes:
    # A key is random, as a SecretToken is: one round of SHA-256 keeps it.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
