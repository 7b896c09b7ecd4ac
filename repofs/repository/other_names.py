"""The names that lead to an original besides the one in its import directory: its user moves and links them freely."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from repofs.repository import openat2
from repofs.repository.openat2 import NO_WAY
from repofs.repository.trees import lent, walk


def find(
    user: int,
    files: Mapping[int, os.stat_result],
    dropped: Sequence[bytes],
    home: bytes,
    reserved: re.Pattern[bytes],
) -> set[tuple[bytes, int]]:
    """Return (path below the directory *user*, number) of each name of *files* there, but for import directories.

    They are sought where they were *dropped*, by number; when a file has more names than that and the one in its import
    directory, everywhere: in time that the number of names in *user* takes. *reserved* matches what import directories
    are called; *home* is that of these files, which may be called as the template said before.
    """
    found: set[tuple[bytes, int]] = set()
    missing: dict[int, int] = {}
    for number, status in files.items():
        there = status_of(user, dropped[number])
        if there is not None and os.path.samestat(there, status):
            found.add((dropped[number], number))
        if status.st_nlink > 1 + (there is not None and os.path.samestat(there, status)):
            missing[status.st_ino] = number
    return found | set(_everywhere(user, missing, home, reserved)) if missing else found


def status_of(directory: int, path: bytes) -> os.stat_result | None:
    """Return the status of *path* below *directory*, over no symbolic link; None when there is nothing."""
    try:
        with lent(openat2.beneath(directory, path, os.O_PATH)) as fd:
            return os.fstat(fd)
    except OSError as error:
        if error.errno in NO_WAY:
            return None
        raise


def _everywhere(
    user: int, wanted: Mapping[int, int], home: bytes, reserved: re.Pattern[bytes]
) -> Iterator[tuple[bytes, int]]:
    """Yield each name of the *wanted* inodes (to their numbers) below *user*, but for import directories."""
    device = os.fstat(user).st_dev
    for way, directories, names, fd in walk(user, passing=NO_WAY):
        directories[:] = [
            name for name in directories if os.path.join(way, name) != home and (way or not reserved.fullmatch(name))
        ]
        for name in names:
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if status.st_ino in wanted and status.st_dev == device:
                    yield os.path.join(way, name), wanted[status.st_ino]
