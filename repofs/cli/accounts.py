"""Unix accounts and groups by name, as the machine knows them (NSS: files, LDAP, …)."""

from __future__ import annotations

import grp
import os
import pwd
from functools import cache

from repofs.errors import NotFound

DEFAULT_GROUP = "default"  # as OMERO calls the group that it makes for people who come without one
_EVERYBODY = "users"  # Debian's Unix group of all ordinary accounts


def uid_of(name: str) -> int:
    """Return the uid of the account *name*; NotFound when the machine has none."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise NotFound(f"{name} is no account of this machine: make one, or say --uid N") from None


@cache
def name_of(uid: int) -> str | None:
    """Return the name of the account *uid*; None when the machine has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def gid_of(name: str) -> int:
    """Return the gid of the Unix group *name*; NotFound when the machine has none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise NotFound(f"{name} is no Unix group of this machine: make one with addgroup, or say --gid N") from None


def default_gid() -> int:
    """Return the gid that the default group gets: Debian's users, or the caller's own if she cannot give files away."""
    if os.geteuid() != 0:
        return os.getegid()
    try:
        return gid_of(_EVERYBODY)
    except NotFound:
        return os.getegid()
