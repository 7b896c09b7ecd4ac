"""All readers, and the one question put to them: what does this file hold?"""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import entry_points
from typing import BinaryIO

from repofs.errors import ReaderFailed
from repofs.formats.reader import Reader
from repofs.formats.tiff import TiffReader
from repofs.model import Recognised

ENTRY_POINTS = "repofs.readers"
HEAD_BYTES = 4096

KEPT = "kept as an original without an image"


@cache
def readers() -> tuple[Reader, ...]:
    """Return every reader: third parties' first, by name, so that they can do better than the house's own."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    return (*(point.load()() for point in found), TiffReader())


def recognise(file: BinaryIO, name: str) -> Recognised:
    """Return what the first reader that accepts *file* says of it, or a note why none does.

    Raises ReaderFailed when that reader broke on it.
    """
    head = file.read(HEAD_BYTES)
    if not head:
        return Recognised(note=f"the file is empty: {KEPT}")
    reader = next((reader for reader in readers() if reader.accepts(head, name)), None)
    if reader is None:
        return Recognised(note=_nobody(name))
    file.seek(0)
    try:
        return reader.read(file, name)
    except MemoryError as error:
        raise ReaderFailed(f"the {reader.name} reader ran out of memory: {KEPT}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ReaderFailed(f"the {reader.name} reader broke on it ({what}): {KEPT}") from error


def _nobody(name: str) -> str:
    suffix = os.path.splitext(name)[1].lower()
    named = next((reader.name for reader in readers() if suffix and suffix in reader.suffixes), None)
    if named is not None:
        return f"the name ends in {suffix} but the bytes do not begin as {named} does: {KEPT}"
    return f"no reader knows this format: {KEPT}"
