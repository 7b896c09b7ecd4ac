"""What a reader is: it knows one file format and says what images a file of it holds.

A reader is a module in this room, one a format, or a third party's, named by an entry point of the group
``repofs.readers``. It runs in a process without privileges (`sandbox`), on a file that nobody has checked.
"""

from __future__ import annotations

from typing import BinaryIO, Protocol

from repofs.model import Recognised


class Reader(Protocol):
    """One file format. An instance is made once a process and used for many files."""

    name: str  # of the format, as people say it: "TIFF"
    suffixes: tuple[str, ...]  # of file names, lower case: (".tif", ".tiff")

    def accepts(self, head: bytes, name: str) -> bool:
        """Return whether a file that begins with *head* (up to `registry.HEAD_BYTES`) is of this format.

        The name may tell formats with the same beginning apart; by itself it proves nothing.
        """
        ...

    def read(self, file: BinaryIO, name: str) -> Recognised:
        """Return what *file* (seekable, at its start, not to be closed) holds; *name* is its name without directories.

        A damaged file gives a `Recognised` with a note, and with images only where a plane is whole. Any exception
        means that the reader broke on it. Modules needed must be imported when this one is: a confined process
        may not be able to read them any more.
        """
        ...
