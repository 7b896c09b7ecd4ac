"""Names for what views show: as people call it, as a file may be called, and each once in its directory."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import NamedTuple

MOST_NAME = 255  # bytes, the kernel's limit

# Any byte that is no name's, or that a terminal takes for a command.
_NOT_IN_NAMES = re.compile(r"[/\x00-\x1f\x7f-\x9f]")
_EXTENSION = re.compile(rb"(?:\.[A-Za-z][A-Za-z0-9]{0,9}){1,2}\Z")  # .tif, .ome.tif, .nii.gz


class Wanted(NamedTuple):
    """A name that something is to have, in two parts: what makes it unique comes between them."""

    stem: bytes
    extension: bytes = b""


def of_container(name: str) -> Wanted:
    """Return the name to show a project or dataset by: people may have called it anything."""
    shown = _NOT_IN_NAMES.sub("_", name)
    return Wanted(("_" if shown in ("", ".", "..") else shown).encode("utf-8", "backslashreplace"))


def of_file(name: bytes) -> Wanted:
    """Return the name to show a file by: programs look at how it ends."""
    found = _EXTENSION.search(name, 1)
    return Wanted(name[: found.start()], found[0]) if found else Wanted(name)


def unique(wanted: Wanted, ref: str, taken: Iterable[bytes]) -> bytes:
    """Return *wanted* as one name, with *ref* ("Image:101") in brackets when it is *taken*, cut to fit."""
    for mark in itertools.chain(("", f" ({ref})"), (f" ({ref}, {number})" for number in itertools.count(2))):
        rest = mark.encode() + wanted.extension
        name = _cut(wanted.stem, MOST_NAME - len(rest)) + rest
        if name not in taken:
            return name
    raise AssertionError("the numbers have no end")


def _cut(name: bytes, most: int) -> bytes:
    """Return the first bytes of *name*, *most* at most, and no half of a character in UTF-8."""
    while len(name) > most > 0 and name[most] & 0xC0 == 0x80:
        most -= 1
    return name[:most]
