"""Originals put into the backing tree as the importer leaves them: marked, sticky, read-only; no catalogue knows them.

Importing as many would take longer than measuring them, and what is measured asks the mark alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.calls import Calls
from repofs.model import Original
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.xattrs import MARK

_MARK = Original(
    original=1,
    fileset=1,
    images=(),
    checksum=f"SHA1-160:{'0' * 40}",
    transfer="upload",
    imported="2026-01-01T00:00:00Z",
    user_directory="user_1",
    import_directory="2026-01/01/00-00-00.000",
    name="0",
    importing=1,
)


class Originals:
    """Fills directories of *layout*, in which nothing is mounted yet."""

    def __init__(self, layout: Layout, calls: Calls) -> None:
        marks = Marks(load_key(layout))
        specimen = layout.root / "specimen"  # all have the same mark: it is signed, of no inode
        specimen.touch()
        marks.write(str(specimen), _MARK)
        self._value = os.getxattr(specimen, MARK).decode()
        self._calls = calls
        specimen.unlink()

    def fill(self, directory: Path, files: int, size: int) -> None:
        """Make *files* originals of *size* bytes in *directory*, which is made, named 0, 1, 2 …"""
        directory.mkdir(parents=True)
        self._calls.do("fill", directory, files, size, MARK.decode(), self._value)
