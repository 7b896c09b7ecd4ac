"""What a name in a watched folder means, and how long it must be quiet. Pure."""

from __future__ import annotations

import fnmatch
import os
import re
from enum import Enum, auto

from repofs.config import Dropbox, Drops


class Meaning(Enum):
    DROP = auto()  # imported, with all that is in it if it is a directory
    INSIDE = auto()  # a directory whose files are imported one by one
    NOTHING = auto()  # not for import, or not under this name


class Rules:
    """The rules of one watched folder: those of drops in the mount, and its own patterns."""

    def __init__(self, drops: Drops, dropbox: Dropbox) -> None:
        self._drops = drops
        self._settle_seconds = dropbox.settle_seconds
        self._marker = None if dropbox.marker is None else os.fsencode(dropbox.marker)
        self._left_out = _any_of((*drops.temporary_names, *drops.exclude, *dropbox.exclude))
        self._included = _any_of(dropbox.include)
        self._directory_formats = tuple(suffix.lower() for suffix in drops.directory_formats)
        self._table_formats = tuple(suffix.lower() for suffix in drops.table_formats)

    def meaning(self, name: bytes, *, is_directory: bool) -> Meaning:
        """Return what *name* means, be it of a directory, a file, or what can be neither."""
        text = os.fsdecode(name)
        if name == self._marker or self._left_out.fullmatch(text):
            return Meaning.NOTHING
        if is_directory and text.lower().endswith(self._table_formats):
            return Meaning.NOTHING
        if is_directory and not text.lower().endswith(self._directory_formats):
            return Meaning.INSIDE
        return Meaning.DROP if self._included.fullmatch(text) else Meaning.NOTHING

    def settle_seconds(self, size: int, *, is_directory: bool) -> float:
        """Return how long a file or directory of *size* bytes must be quiet."""
        if is_directory:
            return max(self._settle_seconds, self._drops.directory_settle_seconds)
        return self._settle_seconds * (1 if size else self._drops.empty_file_factor)


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return what matches when one of the fnmatch *patterns* does, without regard to case; never for none."""
    return re.compile("|".join(map(fnmatch.translate, patterns)) or "(?!)", re.IGNORECASE | re.DOTALL)


def target(directory: bytes) -> str | None:
    """Return where a file in *directory*, a path whose first part is its user's name, goes; None: an orphan.

    As in the mount: the first directory below the user's is the dataset, or of two the project and the dataset.
    """
    match [part.decode("utf-8", "backslashreplace") for part in directory.split(b"/")[1:]]:
        case []:
            return None
        case [dataset]:
            return f"Dataset:name:{dataset}"
        case [project, dataset, *_]:
            return f"Project:name:{project}/Dataset:name:{dataset}"
    raise AssertionError(directory)
