"""Olympus cellSens: ``NAME.vsi``, a TIFF of small pictures, and its folder ``_NAME_`` of ``stackN/frame_t_N.ets``.

The pyramids lie in the .ets files, of which there is no description and no package that reads them from a file object:
what is read is the TIFF, and the note says so. An .ets file belongs to a .vsi outside its own directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy

from repofs.formats import image_sequence
from repofs.formats.outcome import recognised
from repofs.formats.reader import Files
from repofs.formats.tiff import layout as tiff_layout
from repofs.formats.tiff.reader import TiffReader
from repofs.image import Members, Recognised

_ETS_MAGIC = b"SIS\0"


class VsiReader:
    """Reads the pictures in .vsi files, and knows which files belong to them."""

    name = "cellSens VSI"
    library = "tifffile"
    suffixes = (".vsi", ".ets")

    def __init__(self) -> None:
        self._tiff = TiffReader()

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether it is a TIFF called .vsi, or an .ets file."""
        if name.lower().endswith(".ets"):
            return head.startswith(_ETS_MAGIC)
        return name.lower().endswith(".vsi") and tiff_layout.is_tiff(head)

    def members(self, name: str, files: Files) -> Members | None:
        """Return the .vsi and all files below its folder, or, where that is not there, the one that it would have."""
        if name.lower().endswith(".ets"):
            return None
        pyramids = tuple(_below(_folder(name), files))
        if not pyramids:
            return Members(name, (name, f"{_folder(name)}/stack1/frame_t_0.ets"), certain=False)
        return Members(name, (name, *pyramids))

    def read(self, name: str, files: Files) -> Recognised:
        """Return the pictures in the .vsi; the note says what is not read."""
        if name.lower().endswith(".ets"):
            return recognised(self.name, (), ["the pyramid of a .vsi image is not read"])
        found = self._tiff.read(name, files)
        pyramids = sum(path.lower().endswith(".ets") for path in _below(_folder(name), files))
        if pyramids:
            fault = f"the pyramids in {pyramids} .ets files are not read, only the pictures in the .vsi are"
        else:
            fault = f"there is no .ets file below {_folder(name)}: if it has one, bring it to the same place"
        note = fault if found.note is None else f"{found.note}; {fault}"
        return replace(found, format=self.name, note=note)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return a picture of the .vsi as TIFF has it."""
        return self._tiff.preview(name, files, series, pixels)


def _folder(name: str) -> str:
    return f"_{name[: -len('.vsi')]}_"


def _below(folder: str, files: Files) -> Iterator[str]:
    """Yield the files in *folder* and in the directories in it, as many as can be of one fileset."""
    for name in files.names(folder)[: image_sequence.MAX_FILES]:
        if name.endswith("/"):
            yield from (f"{folder}/{name}{file}" for file in files.names(f"{folder}/{name[:-1]}") if file[-1] != "/")
        else:
            yield f"{folder}/{name}"
