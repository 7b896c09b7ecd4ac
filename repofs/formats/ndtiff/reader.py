"""NDTiff 2 and 3, of Micro-Manager and Pycro-Manager: a directory of an ``NDTiff.index`` and ``*_NDTiffStack*.tif``.

The index says which frame lies where in the stacks, so that none of their pages is looked at. An image is one position,
or one value of whatever other axes there are beside Z, channel and time.
"""

from __future__ import annotations

import numpy

from repofs.formats.ndtiff import images as ndtiff_images
from repofs.formats.ndtiff import index as ndtiff_index
from repofs.formats.outcome import recognised
from repofs.formats.reader import Files
from repofs.formats.tiff.reader import TiffReader
from repofs.formats.values import is_below
from repofs.image import Members, Recognised

_INDEX = "NDTiff.index"
_DISPLAY = "display_settings.txt"


class NdTiffReader:
    """Reads the directories of NDTiff by their index."""

    name = "NDTiff"
    library = "tifffile"
    suffixes = (".index",)

    def __init__(self) -> None:
        self._tiff = TiffReader()

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether it is an index, a stack of NDTiff 2 or later by its header, or the settings of a display."""
        match name:
            case "NDTiff.index":
                return head[4:5] == b"{"
            case "display_settings.txt":
                return head[:1] == b"{"
        return ndtiff_images.is_stack(head)

    def members(self, name: str, files: Files) -> Members | None:
        """Return the index, the stacks that it names, and the settings of the display if they are there."""
        if name == _DISPLAY:
            return Members(_INDEX, (_INDEX, name), certain=False)
        if name != _INDEX:
            return Members(_INDEX, (_INDEX, name))
        with files.open(name) as file:
            frames, _ = ndtiff_index.read(file)
        stacks = sorted({frame.file for frame in frames if is_below(frame.file)})
        return Members(name, (name, *stacks, *([_DISPLAY] if files.has(_DISPLAY) else [])))

    def read(self, name: str, files: Files) -> Recognised:
        """Return an image a position; the note says which stacks are missing, and how many frames are not in them."""
        match name:
            case "NDTiff.index":
                return ndtiff_images.read(name, files)
            case "display_settings.txt":
                return recognised(None, (), [f"the settings of a display are of no use without {_INDEX}"])
        return self._tiff.read(name, files)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return the middle frame of each channel; a missing one is dark. Raises LookupError for no such image."""
        if name == _INDEX:
            return ndtiff_images.preview(name, files, series, pixels)
        return self._tiff.preview(name, files, series, pixels)
