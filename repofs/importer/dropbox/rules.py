"""What a name in a watched folder means, and how long it must be quiet. Pure."""

from __future__ import annotations

import os
import stat
from enum import Enum, auto

from repofs.config import Dropbox, Drops
from repofs.formats import candidates
from repofs.formats.candidates import any_of


class Meaning(Enum):
    DROP = auto()  # imported, with all that is in it if it is a directory
    INSIDE = auto()  # a directory whose files are imported one by one
    NOTHING = auto()  # not for import, or not under this name


class Rules:
    """The rules of one watched folder: those of all imports, and its own patterns."""

    def __init__(self, drops: Drops, dropbox: Dropbox) -> None:
        self._drops = drops
        self._dropbox = dropbox
        self._common = candidates.Rules(drops)
        self._included, self._excluded = any_of(dropbox.include), any_of(dropbox.exclude)
        self.marker = None if dropbox.marker is None else os.fsencode(dropbox.marker)

    def meaning(self, name: bytes, mode: int) -> Meaning:
        """Return what *name* means; *mode* is the st_mode of a file, a directory, or of what can be neither."""
        text, is_directory = os.fsdecode(name), stat.S_ISDIR(mode)
        if name == self.marker or self._excluded.fullmatch(text):
            return Meaning.NOTHING
        if self._common.left_out(name, stat.S_IFDIR if is_directory else stat.S_IFREG) is not None:
            return Meaning.NOTHING
        if is_directory and not self._common.is_one_thing(name):
            return Meaning.INSIDE
        return Meaning.DROP if self._included.fullmatch(text) else Meaning.NOTHING

    def settle_seconds(self, size: int, *, is_directory: bool) -> float:
        """Return how long a file or directory of *size* bytes must be quiet."""
        if is_directory:
            return max(self._dropbox.settle_seconds, self._drops.directory_settle_seconds)
        return self._dropbox.settle_seconds * (1 if size else self._drops.empty_file_factor)


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
