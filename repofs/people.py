"""Who there is: the people and groups of one repository at one moment, as every decision about rights sees them.

The administration makes a `People` of what the catalogue says and of the machine's accounts (`administration.roster`);
the mount holds the newest. Ids are the kernel's: uids and gids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from repofs.model import PermissionLevel


class Privilege(StrEnum):
    """What an administrator may be allowed, by OMERO's names."""

    SUDO = "Sudo"
    WRITE_OWNED = "WriteOwned"
    DELETE_OWNED = "DeleteOwned"
    CHGRP = "Chgrp"
    CHOWN = "Chown"
    MODIFY_GROUP = "ModifyGroup"
    MODIFY_USER = "ModifyUser"


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who asks: an experimenter, an administrator, or a stranger, who has nothing."""

    uid: int
    name: str | None = None  # the account's; None for a stranger
    groups: frozenset[int] = frozenset()  # gids of the repository's groups that she is in
    owner_of: frozenset[int] = frozenset()  # of these, the ones that she is an owner of
    administrator: bool = False
    privileges: frozenset[Privilege] = frozenset()  # of an administrator

    def __str__(self) -> str:
        return self.name or f"uid {self.uid}"


@dataclass(frozen=True, slots=True)
class Home:
    """A user directory: whose, and the group of what is dropped in it unless a directory says otherwise."""

    uid: int | None  # None: nobody's, as of a former experimenter; Unix may have given her uid to somebody else
    gid: int
    gids: frozenset[int]  # all groups that its experimenter is in


ROOT = Actor(0, "root", administrator=True, privileges=frozenset(Privilege))


@dataclass(frozen=True, slots=True)
class People:
    """Everybody, all groups and all user directories."""

    actors: Mapping[int, Actor] = field(default_factory=dict)  # by uid; without root
    levels: Mapping[int, PermissionLevel] = field(default_factory=dict)  # of the repository's groups, by gid
    homes: Mapping[bytes, Home] = field(default_factory=dict)  # by name, those of former experimenters too
    gids: Mapping[str, int] = field(default_factory=dict)  # of the repository's groups, by name
    user_quotas: Mapping[bytes, int] = field(default_factory=dict)  # bytes, by user directory
    group_quotas: Mapping[int, int] = field(default_factory=dict)  # bytes, by gid

    def actor(self, uid: int) -> Actor:
        """Return who *uid* is; a stranger when nobody knows her."""
        return ROOT if uid == 0 else self.actors.get(uid) or Actor(uid)

    def have_rights_of(self, others: People) -> bool:
        """Whether these differ from *others* in their quotas at most."""
        return replace(self, user_quotas=others.user_quotas, group_quotas=others.group_quotas) == others

    def user_name(self, user_directory: bytes) -> str:
        """Return whose the user directory is, by login name; the directory's own of a former experimenter."""
        home = self.homes.get(user_directory)
        name = None if home is None or home.uid is None else self.actor(home.uid).name
        return name or user_directory.decode(errors="backslashreplace")

    def group_name(self, gid: int) -> str:
        """Return the name of the repository's group *gid*; the number of one that is none."""
        return next((name for name, one in self.gids.items() if one == gid), str(gid))

    def group_of(self, user_directory: bytes, gid: int) -> int:
        """Return the group of what bears *gid* in a user directory: what is of no group here is of the user's own."""
        if gid not in self.levels and user_directory in self.homes:
            return self.homes[user_directory].gid
        return gid
