"""Who may do what: OMERO's matrix, once. Pure: every door asks `require` before anything is done, and what the kernel
enforces (`acl.py`) is compiled from the same table.

Source of the matrix: OMERO's documentation, "Group and user permissions" (permissions of group members, group owners
and administrators on others' data) and "Administrators with restricted privileges". `docs/reference/permissions.md`
has it in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, auto
from functools import lru_cache

from repofs.errors import AccessDenied, NotPermitted
from repofs.model import PermissionLevel
from repofs.people import Actor, Home, People, Privilege

# --- rights ----------------------------------------------------------------------------------------


class Right(Flag):
    """What somebody may do with an object."""

    VIEW = auto()
    ANNOTATE = auto()
    DELETE = auto()
    EDIT = auto()
    IMPORT = auto()  # put bytes into its owner's directory, for its owner: Import As when that is somebody else
    CHGRP = auto()
    CHOWN = auto()


NOTHING = Right(0)
_ALL = Right.VIEW | Right.ANNOTATE | Right.DELETE | Right.EDIT
_OWN = _ALL | Right.IMPORT | Right.CHGRP
_MEMBER = {
    PermissionLevel.PRIVATE: NOTHING,
    PermissionLevel.READ_ONLY: Right.VIEW,
    PermissionLevel.READ_ANNOTATE: Right.VIEW | Right.ANNOTATE,
    PermissionLevel.READ_WRITE: _ALL,
}
_GROUP_OWNER = _ALL | Right.IMPORT
_PRIVILEGED = {
    Privilege.SUDO: Right.IMPORT,
    Privilege.WRITE_OWNED: Right.ANNOTATE | Right.EDIT,
    Privilege.DELETE_OWNED: Right.DELETE,
    Privilege.CHGRP: Right.CHGRP,
    Privilege.CHOWN: Right.CHOWN,
}


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose an object is: the user in whose directory it lies, and its group; None where nobody is known."""

    uid: int | None
    gid: int | None
    level: PermissionLevel = PermissionLevel.PRIVATE


@lru_cache(maxsize=4096)  # asked for each request; a flag costs Python 1 µs
def rights(actor: Actor, of: Whose) -> Right:
    """Return what *actor* may do with an object that is *of* somebody: herself, another, nobody known."""
    mine = actor.uid == of.uid
    found = NOTHING
    if of.gid in actor.groups:
        found = _OWN if mine else _MEMBER[of.level] | (_GROUP_OWNER if of.gid in actor.owner_of else NOTHING)
    if actor.administrator:
        found |= Right.VIEW
        for privilege in actor.privileges:
            found |= _PRIVILEGED.get(privilege, NOTHING)
    if of.level is PermissionLevel.PRIVATE and not mine:
        found &= ~Right.ANNOTATE  # not even an administrator: a link from outside would show what is private
    return found


def rights_in_home(people: People, actor: Actor, home: Home) -> Right:
    """Return what *actor* may do in a directory with data of several groups: see it when she may see any of them."""
    held = rights(actor, Whose(home.uid, home.gid, people.levels.get(home.gid, PermissionLevel.PRIVATE)))
    if any(Right.VIEW in rights(actor, Whose(home.uid, gid, people.levels[gid])) for gid in home.gids):
        held |= Right.VIEW
    return held


# --- acts ------------------------------------------------------------------------------------------


class Act(Enum):
    """What is asked for, in words that complete "may not …"."""

    VIEW = "see this"
    ANNOTATE = "annotate this"
    LINK = "add to this"  # an image to a dataset, a dataset to a project
    REGISTER = "register a table on this"
    IMPORT = "put files here"
    WRITE = "write this"
    RENAME = "rename this"
    REMOVE = "remove this"  # the name of a drop
    SET = "set attributes of this"
    DELETE = "delete this"  # a fileset
    CHGRP = "move this to another group"
    CHOWN = "give this away"


# Any one of the alternatives suffices.
_NEEDS: dict[Act, tuple[Right, ...]] = {
    Act.VIEW: (Right.VIEW,),
    Act.ANNOTATE: (Right.ANNOTATE,),
    Act.LINK: (Right.EDIT | Right.ANNOTATE,),
    Act.REGISTER: (Right.ANNOTATE,),
    Act.IMPORT: (Right.IMPORT,),
    Act.WRITE: (Right.IMPORT,),
    Act.RENAME: (Right.EDIT, Right.IMPORT),
    Act.REMOVE: (Right.DELETE, Right.IMPORT),
    Act.SET: (Right.EDIT, Right.IMPORT),
    Act.DELETE: (Right.DELETE,),
    Act.CHGRP: (Right.CHGRP,),
    Act.CHOWN: (Right.CHOWN,),
}


@lru_cache(maxsize=4096)
def may(act: Act, actor: Actor, of: Whose) -> bool:
    """Return whether *actor* may do *act* to an object that is *of* somebody."""
    held = rights(actor, of)
    return any(held & needed == needed for needed in _NEEDS[act])


def require(act: Act, actor: Actor, of: Whose, *, original: bool = False) -> None:
    """Refuse an *act* before anything is done: the one decision of all doors.

    Raises NotPermitted for writing an *original*, whoever asks; AccessDenied for who has not the right.
    """
    if original and act is Act.WRITE:
        raise NotPermitted("an original is immutable: write a new file, and that is imported")
    if not may(act, actor, of):
        raise AccessDenied(f"{actor} may not {act.value}: {_why(act, actor, of)}")


def require_privilege(privilege: Privilege, actor: Actor) -> None:
    """Refuse who is not an administrator with *privilege* (AccessDenied)."""
    if privilege not in actor.privileges:
        raise AccessDenied(f"{actor} is no administrator with the privilege {privilege}: ask one who is")


def require_member(home: Home | None, gid: int) -> None:
    """Refuse to move data of the user of *home* to a group of the repository that she is not in (NotPermitted)."""
    if home is None or gid not in home.gids:
        raise NotPermitted(f"gid {gid} is not a group that its owner is in: add her with repofs group add-member")


def _why(act: Act, actor: Actor, of: Whose) -> str:
    if actor.name is None:
        return "no experimenter: an administrator adds one with repofs user add"
    if act in (Act.IMPORT, Act.WRITE):
        return "only the owner, owners of the group and administrators with the privilege Sudo do"
    return f"it is another user's, in a {of.level} group"
