"""What was acknowledged, kept where no crash of the daemon reaches it: beside the mount.

Each file has versions. A version is its whole content, made from its key and size alone: nobody has to keep it to know
it again. *begun* is noted before the version is whole, *synced* once fsync, *closed* once close, rename or the tool
that did it has returned 0, *imported* once its state was seen to say so.
Of one that is deleted, where it goes is noted before it does, and where it is once that was acknowledged.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile

BEGUN, SYNCED, CLOSED, IMPORTED = "begun", "synced", "closed", "imported"


class Place(StrEnum):
    """Where a file is."""

    TREE = "tree"
    TRASH = "trash"
    NOWHERE = "nowhere"


GOES = {f"to the {place}": place for place in Place}
IS = {f"in the {place}": place for place in Place}


@dataclass(frozen=True, slots=True)
class Version:
    """The content of one file at one time."""

    key: str
    size: int

    def content(self) -> bytes:
        if self.key.endswith(".tif"):
            return _picture(self.key)
        return hashlib.shake_128(self.key.encode()).digest(self.size)

    def checksum(self) -> str:
        return _checksum(self)


@cache
def _checksum(version: Version) -> str:
    return "SHA1-160:" + hashlib.sha1(version.content()).hexdigest()


@cache
def _picture(key: str) -> bytes:
    file = BytesIO()
    pixels = np.frombuffer(hashlib.shake_128(key.encode()).digest(256), np.uint8).reshape(16, 16)
    tifffile.imwrite(file, pixels, photometric="minisblack")
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the ledger."""

    path: Path  # in the mount
    version: Version
    what: str
    when_ns: int


@dataclass
class History:
    """All that the ledger says of one path, in order."""

    notes: list[Note] = field(default_factory=list)

    @property
    def acknowledged(self) -> Note | None:
        """The last note that promises something."""
        return next((note for note in reversed(self.notes) if note.what not in (BEGUN, *GOES)), None)

    @property
    def places(self) -> set[Place]:
        """Where the file may be."""
        places = {Place.TREE}
        for note in self.notes:
            if note.what in GOES:
                places.add(GOES[note.what])
            elif note.what in IS:
                places = {IS[note.what]}
        return places

    @property
    def is_closed(self) -> bool:
        """Whether nothing was under way when the ledger ended."""
        return bool(self.notes) and self.notes[-1].what in (CLOSED, IMPORTED, *GOES, *IS)

    @property
    def closed(self) -> int:
        """How many closes, or renames of what was closed, were acknowledged."""
        return sum(note.what == CLOSED for note in self.notes)

    def possible(self) -> list[Version]:
        """Return what the file may hold: the version that was acknowledged last, or one begun since."""
        last = self.acknowledged
        if last is None:
            return []
        since = [note.version for note in self.notes if note.what == BEGUN and note.when_ns > last.when_ns]
        return [last.version, *since]


class Ledger:
    """Written by many processes at once: a line is one write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, path: Path, version: Version, what: str) -> None:
        line = json.dumps([str(path), version.key, version.size, what, time.time_ns()])
        os.write(self._fd, line.encode() + b"\n")

    def histories(self) -> dict[Path, History]:
        """Return what is known of each path in the mount."""
        found: dict[Path, History] = defaultdict(History)
        for line in self._path.read_text().splitlines():
            path, key, size, what, when_ns = json.loads(line)
            found[Path(path)].notes.append(Note(Path(path), Version(key, size), what, when_ns))
        return found

    def close(self) -> None:
        os.close(self._fd)
