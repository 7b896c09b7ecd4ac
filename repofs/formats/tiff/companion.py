"""OME-TIFF whose OME-XML is a file of its own, `NAME.companion.ome`, and whose TIFFs say only that it is there.

https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html#binary-only-ome-tiff-example
"""

from __future__ import annotations

import numpy

from repofs.formats import ome_xml
from repofs.formats.ome_xml import Ome
from repofs.formats.outcome import Fault, recognised
from repofs.formats.reader import Files
from repofs.formats.tiff import ome as ome_tiff
from repofs.formats.tiff import preview as tiff_preview
from repofs.formats.tiff.ome import Layouts
from repofs.formats.values import is_below
from repofs.image import Members, Recognised


class CompanionReader:
    """Reads the companion file of an OME-TIFF fileset, and with it all of its TIFFs."""

    name = "OME-TIFF companion"
    library = "tifffile"
    suffixes = (".companion.ome",)

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether the name is that of a companion and *head* begins as XML does."""
        return name.lower().endswith(self.suffixes) and head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"

    def members(self, name: str, files: Files) -> Members | None:
        """Return the companion and the TIFFs that it names."""
        try:
            ome = _parsed(name, files)
        except Fault:
            return None  # `read` says why
        others = sorted(filter(is_below, ome_tiff.file_names(ome)))
        return Members(name, (name, *others)) if others else None

    def read(self, name: str, files: Files) -> Recognised:
        """Return the images that the OME-XML declares and whose planes are, in part, in the TIFFs beside it."""
        try:
            ome = _parsed(name, files)
        except Fault as useless:
            return recognised("OME-TIFF", (), [f"its OME-XML is of no use: {useless}"])
        stacks, faults = ome_tiff.stacks(ome, name, Layouts(files, {name: None}))
        return recognised("OME-TIFF", (stack.info for stack in stacks), faults, ome.original)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return samples (C, Y, X) of the middle plane of an image; of more than 64 channels, of the first 64."""
        for stack in ome_tiff.stacks(_parsed(name, files), name, Layouts(files, {name: None}))[0]:
            if stack.info.series == series:
                return tiff_preview.joined(stack.middle(), stack.info, pixels)
        raise LookupError(f"it has no image {series}")


def _parsed(name: str, files: Files) -> Ome:
    """Return what the companion says. Raises Fault."""
    with files.open(name) as file:
        raw = file.read(ome_xml.MAX_BYTES + 1)
    ome = ome_xml.parse(raw.decode("utf-8", "replace").lstrip("\ufeff \r\n\t"))
    if ome is None:
        raise Fault("its root is not OME")
    return ome
