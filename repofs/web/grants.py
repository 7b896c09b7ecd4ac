"""Sessions that a command asks for over the control socket: one's own, or as somebody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol

from repofs.access import require_privilege
from repofs.errors import AccessDenied, InvalidValue, NotFound
from repofs.people import People, Privilege
from repofs.web.sessions import Sessions


class Done(Protocol):
    """Told that *actor_uid* has done *act*, with what belongs to it; see `namespace.trail`."""

    def __call__(self, actor_uid: int, act: str, *, user: str) -> None: ...


class Grants:
    """Gives sessions to who may have them, and tells the audit trail."""

    def __init__(self, sessions: Sessions, people: Callable[[], People], done: Done) -> None:
        self._sessions = sessions
        self._people = people
        self._done = done

    def create(self, uid: int, user: str | None, audit_uid: int) -> str:
        """Return a new session as JSON, ``{"session": key, "user": name}``: of *user* (None: of *uid* herself).

        Raises AccessDenied for a stranger, and for who asks for another's without the privilege Sudo, or for that of
        somebody with privileges that she has not; NotFound; InvalidValue when root says no user.
        """
        people = self._people()
        actor = people.actor(uid)
        if user is None and uid == 0:
            raise InvalidValue("root is no experimenter: say whose session it is to be with --as USER")
        if user is not None and user != actor.name:
            require_privilege(Privilege.SUDO, actor)
        owner = actor if user is None else next((one for one in people.actors.values() if one.name == user), None)
        if owner is None:
            raise NotFound(f"{user} is no experimenter: repofs user list shows who is")
        if not owner.privileges <= actor.privileges:
            raise AccessDenied(f"{owner} has privileges that {actor} has not: ask an administrator who has them")
        key = self._sessions.create(owner.uid)
        self._done(audit_uid, "session.create", user=str(owner))
        return json.dumps({"session": key, "user": str(owner)})
