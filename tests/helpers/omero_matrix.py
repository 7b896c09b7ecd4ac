"""OMERO's documented table of rights, and the answer that follows from it for every act on every object of a mount.

Taken from docs/reference/permissions.md, which each rule quotes, and from nothing else: no part of repofs is imported
here. An answer is "ok" or the name of an errno. Where the page leaves two refusals open, both are right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

Answers = frozenset[str]

LEVELS = ("private", "read-only", "read-annotate", "read-write")


class Role(StrEnum):
    """Who asks, seen from the data."""

    OWNER = "owner"
    MEMBER = "member"
    GROUP_OWNER = "group owner"
    ADMINISTRATOR = "administrator"  # with every privilege
    SUDO = "administrator, Sudo only"
    WRITE_OWNED = "administrator, WriteOwned only"
    DELETE_OWNED = "administrator, DeleteOwned only"
    NO_PRIVILEGE = "administrator without privileges"
    FORMER_MEMBER = "former member"  # her session still has the group's gid
    STRANGER = "stranger"
    ROOT = "root"


class Thing(StrEnum):
    """What is asked for."""

    DROP = "drop"
    ORIGINAL = "imported original"  # by the name under which it was dropped
    KEPT = "original in its import directory"
    IN_PLACE = "in-place original"  # its source is somebody else's and read-only
    IMPORT_DIRECTORY = "import directory"
    LOG = "log"
    TABLE_FILE = "file of a table"
    TABLE = "table"
    HOME = "user directory"
    MOUNT_ROOT = "mount root"


class Act(StrEnum):
    """What is done: to the object; names are made in it, or beside it where it is a file."""

    LIST = "list"
    STAT = "stat"
    OPEN_R = "open r"
    OPEN_W = "open w"
    TRUNCATE = "truncate"
    CREATE = "create"
    MKDIR = "mkdir"
    SYMLINK = "symlink"
    LINK = "link"
    RENAME = "rename"
    UNLINK = "unlink"
    CHMOD = "chmod"
    UTIMES = "utimes"
    TOUCH = "touch"  # to the present time, for which the kernel is content with a w bit
    CHOWN = "chown"
    SET_FACT = "setxattr fact"
    SET_COMMAND = "setxattr command"
    ANNOTATE = "setxattr annotation"
    REMOVE = "removexattr annotation"
    SECRET = "getxattr secret"


# --- the table ------------------------------------------------------------------------------------

# "What one may do with others' data: view / annotate / delete / edit"
OTHERS: Mapping[str, Mapping[str, str]] = {
    "member": {"private": "----", "read-only": "V---", "read-annotate": "VA--", "read-write": "VADE"},
    "group owner": {"private": "V-DE", "read-only": "VADE", "read-annotate": "VADE", "read-write": "VADE"},
    "administrator": {"private": "V-DE", "read-only": "VADE", "read-annotate": "VADE", "read-write": "VADE"},
}
# "An administrator always sees everything; the rest is by privilege"
PRIVILEGES = {Role.SUDO: "I", Role.WRITE_OWNED: "AE", Role.DELETE_OWNED: "D", Role.NO_PRIVILEGE: ""}
IMPORT_AS = "I"  # "Owners of a group and administrators with Sudo … Members of a read-write group may not."


def rights(role: Role, level: str) -> frozenset[str]:
    """Return the letters of the rights that *role* has: V A D E of the table, and I: to import there."""
    match role:
        case Role.OWNER:  # "With one's own data one may do everything, as long as one is in their group."
            held = "VADEI"
        case Role.MEMBER:
            held = OTHERS["member"][level]
        case Role.GROUP_OWNER:
            held = OTHERS["group owner"][level] + IMPORT_AS
        case Role.ADMINISTRATOR | Role.ROOT:  # "An administrator is root, or a member of a Unix group …"
            held = OTHERS["administrator"][level] + IMPORT_AS
        case Role.STRANGER | Role.FORMER_MEMBER:  # "whom remove-member has taken out is not" a member
            held = ""
        case _:  # "In a private group nobody annotates what is another's, not even an administrator."
            held = "V" + PRIVILEGES[role].replace("A" if level == "private" else "-", "")
    return frozenset(held) - {"-"}


# --- answers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asker:
    """Somebody, and what she may do with the object at hand."""

    role: Role
    held: frozenset[str]
    in_namespace: bool = False  # inside `unshare -Ur`
    links_protected: bool = True  # fs.protected_hardlinks: the kernel lets link what one may read and write, or owns

    @property
    def owner(self) -> bool:
        return self.role is Role.OWNER

    @property
    def root(self) -> bool:
        return self.role is Role.ROOT


Rule = Callable[[Asker], Answers]


def always(*answers: str) -> Rule:
    return lambda _: frozenset(answers)


def needs(*letters: str, then: str = "ok") -> Rule:
    """Any of the rights *letters*, else EACCES."""
    return lambda asker: frozenset({then if asker.held & set(letters) else "EACCES"})


def _nobody(asker: Asker) -> Answers:
    """ "nobody: EPERM; EACCES for who has no w bit" - which the page gives to none who may only look or annotate."""
    if asker.root:
        return frozenset({"EPERM"})
    return frozenset({"EPERM", "EACCES"} if asker.held & set("DEI") else {"EACCES"})


def _deleter(then: str) -> Rule:
    """Who may delete and has removed the file before; for everybody else the name is the repository's."""
    return lambda asker: frozenset({then}) if "D" in asker.held else _nobody(asker)


def _nobody_in_root(asker: Asker) -> Answers:
    """The root of the mount is root's own: "EACCES for who has no w bit"."""
    return frozenset({"EPERM" if asker.root else "EACCES"})


def _its_owner_or_root(asker: Asker) -> Answers:
    """ "chmod, set times: its owner as stat shows, or root, else EPERM" """
    return frozenset({"ok" if asker.owner or asker.root else "EPERM"})


def _touch_original(asker: Asker) -> Answers:
    """ "set times: its owner or root, else EPERM"; the kernel lets nobody touch what she may not write."""
    if asker.owner or asker.root:
        return frozenset({"ok"})
    return frozenset({"EPERM" if "A" in asker.held else "EACCES"})


def _chown(root: str) -> Rule:
    """ "chown: root, of a drop or a directory below a user directory, else EPERM".

    In a namespace it is tried to oneself, which the owner is already.
    """

    def rule(asker: Asker) -> Answers:
        if asker.in_namespace and (asker.owner or asker.root):
            return frozenset({"ok", "EPERM"})
        return frozenset({root if asker.root else "EPERM"})

    return rule


def _link(*w_bit: str) -> Rule:
    """ "a further link in a directory: I, else EACCES"; before that the kernel protects what one may not write."""

    def rule(asker: Asker) -> Answers:
        mine = asker.owner or asker.root
        if "V" in asker.held and not mine and asker.links_protected and not asker.held & set(w_bit):
            return frozenset({"EPERM"})
        return frozenset({"ok" if "I" in asker.held else "EACCES"})

    return rule


def _link_to_where_nobody_may(asker: Asker) -> Answers:
    if "V" not in asker.held:  # the file to link is not reached
        return frozenset({"EACCES"})
    return frozenset({"EPERM"} if asker.root else {"EPERM", "EACCES"})


def _write_original(asker: Asker) -> Answers:
    """ "nobody: it is immutable: EPERM; EACCES for who may not even annotate it"; bits do not stop root (posix.md)."""
    return frozenset({"EPERM" if "A" in asker.held or asker.root else "EACCES"})


def _set_fact_of_original(asker: Asker) -> Answers:
    """attributes.md: "on an original it is refused with EPERM"; EACCES for who may set no attribute of it at all."""
    if asker.root:  # whom no bits stop before
        return frozenset({"EPERM", "EACCES"})
    return frozenset({"EPERM" if "A" in asker.held else "EACCES"})


def _object_in_root(asker: Asker) -> Answers:
    """attributes.md: "Fileset:17, the mount's root: ENODATA when there is none that you may see"."""
    if asker.root and asker.in_namespace:
        return frozenset({"ok", "ENODATA"})
    return frozenset({"ok" if "V" in asker.held else "ENODATA"})


# --- rules: of who may see the object, each act -----------------------------------------------------

_SEEN: dict[Act, Rule] = {act: always("ok") for act in (Act.LIST, Act.STAT, Act.OPEN_R, Act.SECRET)}
_OF_FILES: dict[Act, Rule] = {Act.LIST: always("ENOTDIR")}
_OF_DIRECTORIES: dict[Act, Rule] = {Act.OPEN_W: always("EISDIR"), Act.TRUNCATE: always("EISDIR")}
_NAMES = (Act.CREATE, Act.MKDIR, Act.SYMLINK, Act.RENAME, Act.UNLINK)
_SETTING = (Act.SET_FACT, Act.SET_COMMAND, Act.ANNOTATE, Act.REMOVE)

# "create, mkdir, symlink, a further link: I", "rename a name: E or I", "remove a name of a drop, an empty directory:
# D or I", "set or remove an attribute on a drop or a directory: E or I"
_WHERE_USERS_MAKE_NAMES: dict[Act, Rule] = {
    **{act: needs("I") for act in (Act.CREATE, Act.MKDIR, Act.SYMLINK)},
    Act.RENAME: needs("E", "I"),
    Act.UNLINK: needs("D", "I"),
    Act.LINK: _link("E", "I"),
    **{act: needs("E", "I") for act in _SETTING},
    Act.CHMOD: _its_owner_or_root,
    Act.UTIMES: _its_owner_or_root,
    Act.TOUCH: needs("E", "I"),  # "set the times to now of a drop or a directory: E or I"
}
# "change names in an import directory, a log, .repofs, the root of the mount: nobody". What else of them could be
# changed, their modes, times and attributes, the repository keeps too.
_KEPT_BY_THE_REPOSITORY: dict[Act, Rule] = {
    **{act: _nobody for act in (*_NAMES, *_SETTING, Act.OPEN_W, Act.TRUNCATE)},
    Act.LINK: _link_to_where_nobody_may,
    **{act: always("EPERM") for act in (Act.CHMOD, Act.UTIMES)},
    Act.TOUCH: lambda asker: frozenset({"EPERM"} if asker.root else {"EPERM", "EACCES"}),
    Act.CHOWN: _chown("EPERM"),
}

_DROP: dict[Act, Rule] = {
    **_SEEN,
    **_OF_FILES,
    **_WHERE_USERS_MAKE_NAMES,
    Act.OPEN_W: needs("I"),  # "open a drop for writing, truncate it: I"
    Act.TRUNCATE: needs("I"),
    Act.CHOWN: _chown("ok"),
}
_ORIGINAL: dict[Act, Rule] = {
    **_DROP,
    Act.OPEN_W: _write_original,
    Act.TRUNCATE: _write_original,
    Act.LINK: _link("A"),  # "w on an original means may annotate"
    Act.TOUCH: _touch_original,
    Act.CHOWN: _chown("EPERM"),
    **{act: needs("A") for act in _SETTING},  # "set or remove an attribute on an original: A"
    Act.SET_FACT: _set_fact_of_original,
}

RULES: dict[Thing, dict[Act, Rule]] = {
    Thing.DROP: _DROP,
    Thing.ORIGINAL: _ORIGINAL,
    Thing.IN_PLACE: _ORIGINAL,
    # "rm -r of an import directory: D". The three are tried in this order: the file, then its directory, then the log.
    Thing.KEPT: {
        **_ORIGINAL,
        **{act: _nobody for act in _NAMES},
        Act.LINK: _link_to_where_nobody_may,
        Act.UNLINK: needs("D"),
    },
    Thing.IMPORT_DIRECTORY: {**_KEPT_BY_THE_REPOSITORY, **_SEEN, **_OF_DIRECTORIES, Act.UNLINK: _deleter("ok")},
    Thing.LOG: {**_KEPT_BY_THE_REPOSITORY, **_SEEN, **_OF_FILES, Act.UNLINK: _deleter("ENOENT")},
    Thing.TABLE: {
        **_SEEN,
        **_WHERE_USERS_MAKE_NAMES,
        **_OF_DIRECTORIES,
        Act.CHOWN: _chown("ok"),
    },
    Thing.TABLE_FILE: {**_DROP, Act.SET_COMMAND: needs("E", "I", then="EINVAL")},  # it is never imported
    Thing.HOME: {
        **_SEEN,
        **_WHERE_USERS_MAKE_NAMES,
        **_OF_DIRECTORIES,
        # "the others answer EACCES on entry": their names are no secret
        **{act: needs("V") for act in (Act.LIST, Act.OPEN_R, Act.SECRET)},
        Act.RENAME: _nobody_in_root,
        Act.UNLINK: _nobody_in_root,
        Act.CHOWN: _chown("EPERM"),
    },
    Thing.MOUNT_ROOT: {
        **_KEPT_BY_THE_REPOSITORY,
        **_SEEN,
        **_OF_DIRECTORIES,
        **{act: _nobody_in_root for act in (*_NAMES, *_SETTING)},
        Act.SET_COMMAND: lambda asker: frozenset({"ok" if asker.root else "EACCES"}),  # `repofs retry` of all there is
        Act.SECRET: _object_in_root,
    },
}

_REACHED_BY_ALL = (Thing.HOME, Thing.MOUNT_ROOT)


def expected(
    role: Role, level: str, thing: Thing, act: Act, *, in_namespace: bool = False, links_protected: bool = True
) -> Answers:
    """Return the right answers to *role* who does *act* to *thing*, which belongs to a group of *level*.

    Being root in a namespace of one's own changes nothing, except for root: who has no capabilities on what belongs to
    others there, and is to the kernel a user without an entry in any ACL.
    """
    held = frozenset() if role is Role.ROOT and in_namespace else rights(role, level)
    if thing not in _REACHED_BY_ALL and "V" not in held:
        return frozenset({"EACCES"})  # "enter, list, stat below a directory: V of it, else EACCES"
    if role is Role.ROOT and in_namespace and thing is Thing.HOME and act not in (Act.RENAME, Act.UNLINK):
        role = Role.STRANGER
    return RULES[thing][act](Asker(role, held, in_namespace, links_protected))
