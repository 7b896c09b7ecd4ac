"""The words of the trash: a deleted fileset, its files and its names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from repofs.access import Whose
from repofs.model import FilesetId


class Whereabouts(StrEnum):
    """Where the files of a deleted fileset are."""

    MOVING = "moving"  # on their way into the trash, or out of it: recovery takes them back in
    KEPT = "kept"
    EMPTYING = "emptying"  # on their way to nowhere: recovery removes the rest


@dataclass(frozen=True, slots=True)
class Name:
    """A name that leads to a file of a fileset, besides the one in the import directory."""

    path: bytes  # below the user directory
    position: int  # of the file in the fileset


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of a fileset are, or were before it was deleted."""

    fileset: FilesetId
    user_directory: bytes
    import_directory: bytes  # below the user directory
    files: tuple[bytes, ...]  # below the import directory
    is_directory: bool  # whether it was dropped as one directory


@dataclass(frozen=True, slots=True)
class Deleted:
    """A fileset in the trash."""

    fileset: FilesetId
    of: Whose
    owner: str  # login name
    group: str
    user_directory: bytes
    import_directory: bytes
    step: Whereabouts
    deleted: str  # ISO 8601, UTC
    actor_uid: int
    files: int
    size: int  # bytes that are free when it has gone for good
    names: tuple[Name, ...]
