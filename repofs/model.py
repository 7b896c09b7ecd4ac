"""The words of the house: identities, people, drops, originals, and what is found inside files.

Plain values that travel between floors. Nothing here touches a file, a database or a clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, NewType

from repofs.errors import InvalidValue
from repofs.image import Members
from repofs.lifecycle import State

ExperimenterId = NewType("ExperimenterId", int)
GroupId = NewType("GroupId", int)
ImportId = NewType("ImportId", int)
FilesetId = NewType("FilesetId", int)
ImageId = NewType("ImageId", int)
OriginalFileId = NewType("OriginalFileId", int)


class ObjectRef(NamedTuple):
    """An object of the catalogue as people write it: ``Fileset:17``."""

    kind: str
    id: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> ObjectRef:
        """Read ``Kind:id``; InvalidValue when *text* is not of that form."""
        match = re.fullmatch(r"([A-Z][A-Za-z]+):([1-9][0-9]{0,17})", text)
        if match is None:
            raise InvalidValue(f"{text!r} is not an object: write for example Fileset:17 or Image:101")
        return cls(match[1], int(match[2]))


class PermissionLevel(StrEnum):
    """OMERO's four levels of a group, by the names that its web client shows."""

    PRIVATE = "private"
    READ_ONLY = "read-only"
    READ_ANNOTATE = "read-annotate"
    READ_WRITE = "read-write"

    @property
    def omero(self) -> str:
        """The six letters of OMERO's ``%perms%``."""
        return {
            PermissionLevel.PRIVATE: "rw----",
            PermissionLevel.READ_ONLY: "rwr---",
            PermissionLevel.READ_ANNOTATE: "rwra--",
            PermissionLevel.READ_WRITE: "rwrw--",
        }[self]


class Transfer(StrEnum):
    """How the bytes of a fileset come: OMERO's seven, and reflink. Third parties may add names of their own
    (`repository.transfers`), so that where a transfer is kept it is a str."""

    UPLOAD = "upload"
    UPLOAD_RM = "upload_rm"
    LN = "ln"
    LN_RM = "ln_rm"
    LN_S = "ln_s"
    CP = "cp"
    CP_RM = "cp_rm"
    REFLINK = "reflink"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file an inode is, and in which state of its bytes."""

    device: int
    inode: int
    handle: bytes  # name_to_handle_at(2): tells an inode from a later one of the same number; b"" where there are none
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes of a file are, or were before they were brought into the repository."""

    source: str  # a declared source, by its name; "": none, it was handed over by who had opened it
    path: str  # below the source, or as who handed it over calls it (bytes that are no UTF-8 as lone surrogates)
    identity: Identity
    transfer: str  # how they are to be brought, or came


class Duplicates(StrEnum):
    """What happens to a drop whose bytes its owner has already imported."""

    IMPORT = "import"
    REFUSE = "refuse"


class Missing(StrEnum):
    """What happens to a fileset of which a file is missing."""

    FAIL = "fail"  # after a while
    WAIT = "wait"


class Skip(StrEnum):
    """What may be left out of an import: OMERO's words."""

    THUMBNAILS = "thumbnails"
    MINMAX = "minmax"  # the least and the largest value of each channel
    CHECKSUM = "checksum"  # that a copy is compared with its source


@dataclass(frozen=True, slots=True)
class Policy:
    """How drops of one directory are treated; ``user.repofs.policy`` overrides the settings."""

    settle_seconds: float
    duplicates: Duplicates
    exclude: tuple[str, ...] = ()  # fnmatch patterns of names that are never imported by themselves
    marker: str | None = None  # drops wait until a file of this name is closed beside them
    missing: Missing = Missing.FAIL
    skip: tuple[Skip, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an import log: when (nanoseconds since the epoch, UTC) and what."""

    time_ns: int
    text: str

    def __str__(self) -> str:
        return f"{utc(self.time_ns)} {printable(self.text)}"


def printable(text: str) -> str:
    """Return *text*, which may hold any name, so that it stays one line and says nothing to a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def utc(time_ns: int) -> str:
    """Return nanoseconds since the epoch as logs have them: ``2026-11-22T21:15:03.123Z``."""
    when = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)  # whole: a float rounds up
    return f"{when:%Y-%m-%dT%H:%M:%S}.{time_ns // 1_000_000 % 1000:03d}Z"


@dataclass(frozen=True, slots=True)
class Drop:
    """A drop that has been quiet for its settle time, as the mount hands it to the importer.

    It travels with one descriptor: of the file, of the directory when the whole directory is one drop (``.zarr``), so
    that a rename on the way changes nothing; or of the directory that several files lie in which are one fileset.
    """

    token: int  # names this drop between mount and importer until its Outcome
    user_directory: bytes  # b"alice_2"
    path: bytes  # below the user directory: b"ProjectX/DatasetY/scan.tif"
    is_directory: bool
    target: str | None  # user.repofs.target of the nearest directory that has one
    policy: Policy
    events: tuple[Event, ...]  # everything since the first create, oldest first
    actor_uid: int  # who wrote it
    actor: str  # her account's name, or the uid
    gid: int  # the group that it belongs to
    transfer: str = Transfer.UPLOAD  # as who brings it says; its stand-ins know better
    # The names of the files below the directory of *path*, which is the main one's; None: no reader was asked yet.
    members: tuple[bytes, ...] | None = None
    early: bool = False  # it is asked about only, and not imported: it was not quiet for long enough
    refusal: str | None = None  # why it is not imported as it is: a file of the fileset is missing
    in_order: tuple[int, ...] = ()  # inodes of files that were written from beginning to end, nothing twice
    # What only an arrival says:
    source: bytes | None = None  # where it came from: SOURCE/PATH or an absolute path; None: *path* is in the mount
    name: str | None = None  # of its images; None: as the file says
    checksum_algorithm: str | None = None  # None: that of the settings
    queued: int | None = None  # its row in the table of arrivals, which the commit ends

    @property
    def is_one_file(self) -> bool:
        """Whether the descriptor is of the file itself."""
        return not self.is_directory and (self.members is None or len(self.members) == 1)


class Exclusion(StrEnum):
    """What makes a file one that its owner has imported before: OMERO's two, and content."""

    FILENAME = "filename"
    CLIENTPATH = "clientpath"
    CONTENT = "content"


KEPT, REMOVED = "kept", "removed"  # of the source of an Arrival


@dataclass(frozen=True, slots=True)
class Arrival:
    """A fileset that is to be imported from outside the mount, as a command or a watched folder asks for it.

    It appears in its import directory only: nobody has dropped it under a name in the mount.
    """

    user_directory: bytes  # b"alice_2": whose it becomes
    source: str  # a declared source, by its name; "": a directory that somebody has opened and handed over
    path: bytes  # below the source: a file, or a directory that is one fileset
    is_directory: bool
    transfer: str
    actor_uid: int  # who asks; the files are opened, and removed, with her rights
    actor: str  # her account's name, or the uid
    gid: int  # the group that it is to belong to
    target: str | None = None  # "Dataset:12", "Project:name:P/Dataset:name:D"; None: orphans
    duplicates: Duplicates = Duplicates.REFUSE
    name: str | None = None  # of the fileset's images; None: as the file says
    checksum_algorithm: str | None = None  # None: that of the settings
    skip: tuple[Skip, ...] = ()
    exclude: tuple[Exclusion, ...] = ()  # what its owner has already in one of these ways is a duplicate
    members: tuple[bytes, ...] | None = None  # as of a Drop
    waits: bool = False  # for files of its fileset that may still be on their way

    @property
    def is_one_file(self) -> bool:
        return not self.is_directory and (self.members is None or len(self.members) == 1)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What became of an Arrival. *state* is imported, duplicate, failed, or settling: its source is being written."""

    state: State
    error: str | None = None
    fileset: int | None = None
    images: tuple[int, ...] = ()
    originals: tuple[int, ...] = ()
    checksum: str | None = None  # of a fileset of one file
    size: int = 0  # bytes of all files
    import_directory: str | None = None  # path in the mount
    log: str | None = None  # path in the mount
    source: str = KEPT  # KEPT, REMOVED, or why it was kept that was to be removed
    files: tuple[str, ...] = ()  # of a fileset of several: their names below the directory that it lay in


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the importer made of a Drop. *state* is imported, failed, duplicate or settling (try again)."""

    token: int
    state: State
    error: str | None = None
    fileset: int | None = None
    import_directory: bytes | None = None  # below the user directory
    members: Members | None = None  # settling: it is to be imported together with these
    again_seconds: float | None = None  # settling: how long it rests before it is tried again; None: as ever
    undecided: bool = False  # settling: or imported, which only recovery can tell
    kept: str | None = None  # why a source was kept that should have been removed


# --- marks: what the backing inode itself says of a file ---------------------------------------


@dataclass(frozen=True, slots=True)
class Closed:
    """The last writer ended well and left the file like this. Its absence after a crash means incomplete."""

    size: int  # bytes
    mtime_ns: int
    actor_uid: int | None = None  # who wrote it


@dataclass(frozen=True, slots=True)
class Refused:
    """The import of these bytes (size, mtime) failed or found a duplicate; the file stays its owner's."""

    size: int  # bytes
    mtime_ns: int
    state: State  # failed or duplicate
    error: str  # one sentence, and what to do
    log: str  # path in the mount


@dataclass(frozen=True, slots=True)
class Original:
    """These bytes are an original: immutable, known to the catalogue by these ids."""

    original: int
    fileset: int
    images: tuple[int, ...]
    checksum: str  # "SHA1-160:…"
    transfer: str
    imported: str  # ISO 8601, UTC
    user_directory: str
    import_directory: str  # below the user directory; the log is this plus ".log"
    name: str  # below the import directory
    importing: int  # the row of imports
    note: str | None = None  # why there is no image, in the reader's words
    actor_uid: int | None = None  # who dropped it
    stands: State = State.IMPORTED  # altered, missing or offline: how its source was found last, if that has its bytes
    size: int | None = None  # bytes, as hashed


Mark = Closed | Refused | Original
