"""What the trash says of itself, for when the catalogue is lost: `.trash/17/note` has all rows of Fileset:17, signed.

It is durable before the catalogue commits that the fileset is deleted. It goes before the first of its files goes for
good, and after it is committed that the fileset is back. So files without a note are on their way to nowhere, and a
note without files is of a fileset that is not deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from repofs.repository.kept import Kept
from repofs.repository.layout import Layout
from repofs.repository.trash_can import FILES

_NOTE = "note"


class TrashNotes:
    """Those of one repository. What is in a note is `catalog.trashed_rows`' to know."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def numbers(self) -> list[int]:
        """Return the filesets that the trash has something of."""
        names = os.listdir(self._layout.trash) if self._layout.trash.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def left(self) -> Iterator[int]:
        """Yield the filesets of which only a note is there, or not even that."""
        for fileset in self.numbers():
            if not self.has_more(fileset):
                yield fileset

    def has_more(self, fileset: int) -> bool:
        """Return whether the trash has something else of a fileset than the note."""
        return not set(os.listdir(self._path(fileset).parent)) <= {_NOTE, f".{_NOTE}"}

    def has_files(self, fileset: int) -> bool:
        """Return whether the files of a fileset lie in the trash."""
        return (self._path(fileset).parent / os.fsdecode(FILES)).is_dir()

    def read(self, fileset: int) -> Any:
        """Return the rows; None when there are none, or none of ours."""
        return self._kept(fileset).read()

    def write(self, fileset: int, rows: object) -> None:
        """Replace them; durable when this returns."""
        self._kept(fileset).write(rows)

    def remove(self, fileset: int) -> None:
        """Remove the note, and the directory when nothing else is in it; not durable. May run again."""
        path = self._path(fileset)
        for name in (path, path.with_name(f".{_NOTE}")):
            name.unlink(missing_ok=True)
        with suppress(OSError):  # files are in it, or it has gone
            path.parent.rmdir()

    def _path(self, fileset: int) -> Path:
        return self._layout.trash / str(fileset) / _NOTE

    def _kept(self, fileset: int) -> Kept:
        return Kept(self._layout, self._path(fileset), f"trash {fileset}")
