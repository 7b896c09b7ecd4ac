"""What a reader is: it knows one file format and says what images a file of it holds.

A reader is a module in this room, one a format, or a third party's, named by an entry point of the group
``repofs.readers``. It runs in a process without privileges (`sandbox`), on files that nobody has checked. All names
are below the directory that the file lies in, with ``/`` between parts; bytes that are no UTF-8 are lone surrogates,
as `os.fsdecode` has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol

import numpy

from repofs.image import Members, Recognised


class Files(Protocol):
    """The files that a reader may look at: those beside one file, or of one fileset. Each question is a trip to
    another process: ask for what is needed."""

    def has(self, name: str) -> bool:
        """Return whether there is a file or a directory called *name*."""
        ...

    def names(self, directory: str = "") -> Sequence[str]:
        """Return what lies in *directory*, in order of name; directories end in ``/``. Empty when it is none."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Return the file *name*, seekable, at its start, to be closed by who asks.

        Raises FileNotFoundError; PermissionError for what is not of the fileset.
        """
        ...


class Reader(Protocol):
    """One file format. An instance is made once a process and used for many files.

    Any exception but OSError of `Files` means that the reader broke on the file. Modules needed must be imported when
    this one is: a confined process may not be able to read them any more.
    """

    name: str  # of the format, as people say it: "TIFF"
    suffixes: tuple[str, ...]  # of file names, lower case: (".tif", ".tiff")
    library: str  # the distribution that does the reading: "tifffile"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether a file that begins with *head* (up to `registry.HEAD_BYTES`) is of this format.

        The name may tell formats with the same beginning apart; by itself it proves nothing. A directory has no *head*,
        and a name that ends in ``/``.
        """
        ...

    def members(self, name: str, files: Files) -> Members | None:
        """Return which files form one fileset with the file *name*, of this format; None: it stands alone.

        Only *name* itself can be opened; of the others it can be asked whether they are there.
        """
        ...

    def read(self, name: str, files: Files) -> Recognised:
        """Return what the fileset whose main file is *name* holds: its images in the order of their `series`.

        A damaged file gives a `Recognised` with a note, and with images only where a plane is whole; a member that is
        missing is named in the note.
        """
        ...

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return a small version of the image *series*: samples of shape (C, Y, X), an RGB one as C = 3.

        Its middle plane (Z and T), of each channel, with about *pixels* on the longer side, and fewer than twice as
        many where the format allows: a smaller resolution, or every n-th sample. No more is read than that needs.
        Raises as `read` does; LookupError when there is no such image.
        """
        ...
