"""What the kernel enforces: rights compiled to mode bits and a POSIX ACL, for each inode that the mount shows.

Each person with a right is an entry of her own, so that what counts is what repofs says of her now, and not the groups
that her session had at its login.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from repofs.access import NOTHING, Right, Whose, rights, rights_in_home
from repofs.people import Actor, Home, People


class Kind(Enum):
    """What an inode is, as far as the bits that stand for rights differ."""

    HOME = "user directory"  # also the directories above import directories, which are of several groups
    DIRECTORY = "directory"
    IMPORT_DIRECTORY = "import directory"
    DROP = "drop"
    ORIGINAL = "original"
    LOG = "log"
    SHOWN = "file that is made or shown by repofs, which nobody writes"
    SHOWN_DIRECTORY = "directory of such files"
    ARRAY = "array of a registered table"


_READ, _WRITE, _ENTER = 4, 2, 1
_WRITABLE = {  # any of these rights is a w bit; which of the acts behind it is meant is for the daemon to decide
    Kind.HOME: Right.EDIT | Right.DELETE | Right.IMPORT,
    Kind.DIRECTORY: Right.EDIT | Right.DELETE | Right.IMPORT | Right.CHGRP,  # by the attribute
    Kind.IMPORT_DIRECTORY: Right.DELETE,
    Kind.DROP: Right.EDIT | Right.IMPORT,
    Kind.ORIGINAL: Right.ANNOTATE,
    Kind.LOG: NOTHING,
    Kind.SHOWN: NOTHING,
    Kind.SHOWN_DIRECTORY: NOTHING,
    Kind.ARRAY: Right.EDIT | Right.DELETE,  # by the attribute: to take the table away, to give it another token
}
_DIRECTORIES = (Kind.HOME, Kind.DIRECTORY, Kind.IMPORT_DIRECTORY, Kind.SHOWN_DIRECTORY, Kind.ARRAY)


def _bits(kind: Kind, held: Right) -> int:
    if Right.VIEW not in held:
        return 0
    shown = _READ | _ENTER if kind in _DIRECTORIES else _READ
    return shown | _WRITE if held & _WRITABLE[kind] else shown


@dataclass(frozen=True, slots=True)
class Stored:
    """What the backing inode says: its uid (of a drop, who made it) and its mode, of which the owner's bits count."""

    uid: int
    mode: int


@dataclass(frozen=True, slots=True)
class Shown:
    """Permission bits, and the value of system.posix_acl_access; None: the bits say it all."""

    mode: int
    acl: bytes | None


MOST_NAMED = 500  # entries for single users: the kernel takes an ACL from a FUSE daemon up to one page, 4 KiB


def shown(people: People, kind: Kind, of: Whose, stored: Stored, home: Home | None = None) -> Shown:
    """Compile what everybody may do with an inode into its mode and POSIX ACL.

    The group's and others' bits that somebody set by chmod do not count: the group's level does. *home* is given for a
    directory that holds data of several groups.
    """
    named = {actor.uid: _of(people, kind, of, actor, stored, home) for actor in people.actors.values()}
    owner = _of(people, kind, of, people.actor(stored.uid), stored, home)
    if kind in (Kind.DROP, Kind.DIRECTORY):
        owner &= stored.mode >> 6
    named = {uid: bits for uid, bits in named.items() if bits and uid != stored.uid}
    # Not the sticky bit: in such a directory the kernel would keep its user, and who may delete, from what others made.
    special = stored.mode & stat.S_ISGID if kind is Kind.DIRECTORY else 0
    if not named:
        return Shown(special | owner << 6, None)
    mask = 0
    for bits in named.values():
        mask |= bits
    return Shown(special | owner << 6 | mask << 3, _acl(owner, named, mask))


def _of(people: People, kind: Kind, of: Whose, actor: Actor, stored: Stored, home: Home | None) -> int:
    bits = _bits(kind, rights(actor, of) if home is None else rights_in_home(people, actor, home))
    executable = kind not in _DIRECTORIES and stored.mode & 0o100
    return bits | _ENTER if bits and executable else bits


# linux/posix_acl_xattr.h: [version 2, 4 bytes]([tag, 2 bytes][permissions, 2 bytes][id, 4 bytes])…, little-endian
_ACL_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFF_FFFF


def _acl(owner: int, named: Mapping[int, int], mask: int) -> bytes:
    entries = [(_USER_OBJ, owner, _NO_ID)]
    entries += [(_USER, bits, uid) for uid, bits in sorted(_most_trusted(named).items())]
    entries += [(_GROUP_OBJ, 0, _NO_ID), (_MASK, mask, _NO_ID), (_OTHER, 0, _NO_ID)]
    return _ACL_VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _most_trusted(named: Mapping[int, int]) -> Mapping[int, int]:
    """Return the entries that there is room for. Who is left out is shut out: the administration warns long before."""
    if len(named) <= MOST_NAMED:
        return named
    return dict(sorted(named.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_NAMED])


def grants_no_more(wanted: bytes, than: bytes | None) -> bool:
    """Whether an ACL that somebody sets gives nobody but the owner a right beyond those of *than*.

    Raises ValueError when *wanted* is no ACL.
    """
    granted = {} if than is None else _entries(than)
    for (tag, who), bits in _entries(wanted).items():
        if tag in (_USER, _GROUP) and bits & ~granted.get((tag, who), 0):
            return False
    return True


def _entries(acl: bytes) -> dict[tuple[int, int], int]:
    if acl[:4] != _ACL_VERSION or len(acl) % _ENTRY.size != 4:
        raise ValueError("not a POSIX ACL of version 2")
    return {(tag, who): bits for tag, bits, who in _ENTRY.iter_unpack(acl[4:])}
