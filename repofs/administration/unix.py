"""Accounts and groups of this machine, by name and by number, as its name services tell (nsswitch.conf: files, LDAP …).

Asked through the C library and not through `pwd` and `grp`: these say "no such account" also when a service cannot be
asked, and nobody must be shut out because LDAP is away.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from repofs.errors import NotFound, RepofsError

DEFAULT_GROUP = "default"  # as OMERO calls the group that it makes for people who come without one
_EVERYBODY = "users"  # Debian's Unix group of all ordinary accounts


class Unreachable(RepofsError):
    """The machine's accounts cannot be asked now."""

    code = errno.EAGAIN


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int  # of its primary group


@dataclass(frozen=True, slots=True)
class UnixGroup:
    name: str
    gid: int
    members: tuple[str, ...]  # names of accounts; those whose primary group it is are mostly not among them


# --- what is asked -------------------------------------------------------------------------------


def account_by_uid(uid: int) -> Account | None:
    """Return the account that has *uid*; None when there is none. Raises Unreachable."""
    return _ask(_libc.getpwuid_r, ctypes.c_uint(uid), _Passwd, _account)


def account_by_name(name: str) -> Account | None:
    """Return the account of this name; None when there is none. Raises Unreachable."""
    return _ask(_libc.getpwnam_r, os.fsencode(name), _Passwd, _account)


def group_by_gid(gid: int) -> UnixGroup | None:
    """Return the group that has *gid*; None when there is none. Raises Unreachable."""
    return _ask(_libc.getgrgid_r, ctypes.c_uint(gid), _Group, _group)


def group_by_name(name: str) -> UnixGroup | None:
    """Return the group of this name; None when there is none. Raises Unreachable."""
    return _ask(_libc.getgrnam_r, os.fsencode(name), _Group, _group)


def gids_of(account: Account) -> frozenset[int]:
    """Return the gids of all groups of *account*, its primary group among them.

    Groups of a service that cannot be asked are missing, and nothing tells so: ask for a group of it as well.
    """
    return frozenset(os.getgrouplist(account.name, account.gid))


@cache
def name_of(uid: int) -> str | None:
    """Return the name of the account *uid*, as of the first time that this was asked; None without one or an answer."""
    try:
        account = account_by_uid(uid)
    except Unreachable:
        return None
    return None if account is None else account.name


def uid_of(name: str) -> int:
    """Return the uid of the account *name*; NotFound when the machine has none. Raises Unreachable."""
    account = account_by_name(name)
    if account is None:
        raise NotFound(f"{name} is no account of this machine: make one, or say --uid N")
    return account.uid


def gid_of(name: str) -> int:
    """Return the gid of the Unix group *name*; NotFound when the machine has none. Raises Unreachable."""
    group = group_by_name(name)
    if group is None:
        raise NotFound(f"{name} is no Unix group of this machine: make one with addgroup, or say --gid N")
    return group.gid


def default_gid() -> int:
    """Return the gid that the default group gets: Debian's users, or the caller's own if she cannot give files away."""
    if os.geteuid() != 0:
        return os.getegid()
    try:
        return gid_of(_EVERYBODY)
    except NotFound:
        return os.getegid()


# --- how -----------------------------------------------------------------------------------------


class _Passwd(ctypes.Structure):
    """struct passwd of <pwd.h>."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("uid", ctypes.c_uint),
        ("gid", ctypes.c_uint),
        ("gecos", ctypes.c_char_p),
        ("directory", ctypes.c_char_p),
        ("shell", ctypes.c_char_p),
    )


class _Group(ctypes.Structure):
    """struct group of <grp.h>; *members* ends with a null pointer."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("gid", ctypes.c_uint),
        ("members", ctypes.POINTER(ctypes.c_char_p)),
    )


_libc = ctypes.CDLL(None)
_FIRST_BYTES, _MOST_BYTES = 4 << 10, 64 << 20  # of the buffer for one entry: a group has as many names as it has

Found = TypeVar("Found")


def _ask(function: Any, key: object, record: type[ctypes.Structure], read: Callable[[Any], Found]) -> Found | None:
    """Call a getXXX_r(3) of the C library with a buffer that is large enough, and *read* what it found."""
    size = _FIRST_BYTES
    while True:
        entry, buffer, found = record(), ctypes.create_string_buffer(size), ctypes.c_void_p()
        code = function(key, ctypes.byref(entry), buffer, ctypes.c_size_t(size), ctypes.byref(found))
        if code == 0:
            return read(entry) if found else None
        if code == errno.ERANGE and size < _MOST_BYTES:
            size *= 4
        elif code != errno.EINTR:
            # glibc answers 0 without an entry where all services say "not found", ENOENT where one is away.
            raise Unreachable(f"the machine's accounts cannot be asked now ({os.strerror(code)}): try again later")


def _account(entry: Any) -> Account:
    return Account(os.fsdecode(entry.name), entry.uid, entry.gid)


def _group(entry: Any) -> UnixGroup:
    members: list[bytes] = []
    while (name := entry.members[len(members)]) is not None:
        members.append(name)
    return UnixGroup(os.fsdecode(entry.name), entry.gid, tuple(os.fsdecode(name) for name in members))
