"""Whose a directory of a watched folder is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from repofs.access import Act, Whose, require, require_member
from repofs.errors import NotFound
from repofs.model import PermissionLevel
from repofs.people import People


@dataclass(frozen=True, slots=True)
class User:
    """An active experimenter, for whom is imported."""

    login: bytes  # what her directory is called in the watched folder
    uid: int
    user_directory: bytes  # in the mount, b"alice_2"
    gid: int  # of the group that her imports belong to


def users(people: People, group: str | None) -> dict[bytes, User]:
    """Return the users by login name; their imports belong to *group*, or to the group of each.

    Raises NotFound when *group* is no group of the repository.
    """
    if group is not None and group not in people.gids:
        raise NotFound(f"{group} is no group: repofs group list shows them, repofs group add adds one")
    found = {}
    for user_directory, home in people.homes.items():
        name = None if home.uid is None else people.actor(home.uid).name
        if home.uid is not None and name is not None:
            gid = home.gid if group is None else people.gids[group]
            found[os.fsencode(name)] = User(os.fsencode(name), home.uid, user_directory, gid)
    return found


def require_import(people: People, user: User) -> None:
    """Refuse (AccessDenied, NotPermitted) a user who may not import into the group."""
    require_member(people.homes.get(user.user_directory), user.gid)
    level = people.levels.get(user.gid, PermissionLevel.PRIVATE)
    require(Act.IMPORT, people.actor(user.uid), Whose(user.uid, user.gid, level))
