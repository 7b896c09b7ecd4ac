"""Which of many names lie below a directory: each directory is listed once, as an index may name a hundred thousand
files of which none is there."""

from __future__ import annotations

import os
from collections.abc import Iterable

from repofs.repository import openat2


def present(directory: int, names: Iterable[bytes]) -> set[bytes]:
    """Return those of *names*, below the directory of that descriptor, under which there is something."""
    listed: dict[bytes, frozenset[bytes]] = {}

    def lies(name: bytes) -> bool:
        way = b""
        for part in name.split(b"/"):
            if way not in listed:
                listed[way] = _listing(directory, way or b".")
            if part not in listed[way]:
                return False
            way = way + b"/" + part if way else part
        return True

    return {name for name in names if lies(name)}


def _listing(directory: int, way: bytes) -> frozenset[bytes]:
    try:
        fd = openat2.beneath(directory, way, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # a file, a symbolic link, or gone by now: nothing of a fileset lies below it
        return frozenset()
    try:
        return frozenset(map(os.fsencode, os.listdir(fd)))
    finally:
        os.close(fd)
