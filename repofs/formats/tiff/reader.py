"""TIFF, BigTIFF and OME-TIFF, through tifffile.

tifffile tells what the pages mean; whether they are there is asked of the file itself (`layout`), because
tifffile drops the pages of a truncated stack without a word. What the OME-XML says is read here too: tifffile would
open other files that it names. An image is given only when at least one of its planes is whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import tifffile

from repofs.formats import ome_xml
from repofs.formats.ome_xml import Ome
from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import CUT_HEADER, Fault, recognised
from repofs.formats.reader import Files
from repofs.formats.tiff import file as tiff_file
from repofs.formats.tiff import layout as tiff_layout
from repofs.formats.tiff import ome as ome_tiff
from repofs.formats.tiff import preview as tiff_preview
from repofs.formats.tiff import series as tiff_series
from repofs.formats.tiff.layout import Layout
from repofs.formats.tiff.ome import Layouts, OmeStack
from repofs.formats.tiff.series import Stack
from repofs.image import Members, Recognised

_MAX_TAG_VALUES = 4096  # longer tags are tables of offsets or pixels, no metadata
_TAGS_NOT_KEPT = frozenset({"ImageDescription", "IJMetadata", "IJMetadataByteCounts"})  # kept taken apart
_BLOCKS = ("imagej", "stk", "fei", "sem", "micromanager", "lsm", "scanimage", "metaseries")


class TiffReader:
    """Reads TIFF and OME-TIFF."""

    name = "TIFF"
    library = "tifffile"
    suffixes = (".tif", ".tiff", ".tf2", ".tf8", ".btf", ".lsm", ".stk", ".ndpi", ".svs", ".qptiff")

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins with the magic number of TIFF or BigTIFF."""
        return tiff_layout.is_tiff(head)

    def members(self, name: str, files: Files) -> Members | None:
        """Return the files that the OME-XML of an OME-TIFF names, when it names this one."""
        with files.open(name) as file:
            description = tiff_layout.description(file)
        if b"BinaryOnly" not in description and b"FileName" not in description:
            return None
        try:
            ome = ome_xml.found_in(description.decode("utf-8", "replace"))
        except Fault:
            return None  # `read` says why
        return None if ome is None else ome_tiff.members(ome, name)

    def read(self, name: str, files: Files) -> Recognised:
        """Return the images of the file, or of its fileset, whole or in part; the note says what is missing."""
        with files.open(name) as file:
            layout = tiff_layout.walk(file)
            if layout is None:
                return recognised("TIFF", (), [CUT_HEADER])
            if not any(page.pixels_whole for page in layout.pages):
                return recognised("TIFF", (), [layout.note])
            try:
                with tiff_file.opened(file, layout) as tiff:
                    return _recognised(tiff, layout, name, files)
            except Exception:
                if layout.note is None:
                    raise
                return recognised("TIFF", (), [layout.note])  # tifffile broke where the walk had seen the damage

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return samples (C, Y, X) of the middle plane of an image; of more than 64 channels, of the first 64."""
        with files.open(name) as file:
            layout = tiff_layout.walk(file)
            if layout is None:
                raise LookupError(f"it has no image {series}")
            with tiff_file.opened(file, layout) as tiff:
                for image in _stacks(tiff, layout, name, files)[1]:
                    if image.info.series == series:
                        return tiff_preview.joined(image.middle(), image.info, pixels)
        raise LookupError(f"it has no image {series}")


def _recognised(tiff: tifffile.TiffFile, layout: Layout, name: str, files: Files) -> Recognised:
    ome, images, faults = _stacks(tiff, layout, name, files)
    metadata = OriginalMetadata() if ome is None else ome.original
    _collect(tiff, metadata)
    kind = "TIFF" if ome is None else "OME-TIFF"
    return recognised(kind, (image.info for image in images), [layout.note, *faults], metadata)


def _stacks(
    tiff: tifffile.TiffFile, layout: Layout, name: str, files: Files
) -> tuple[Ome | None, Sequence[Stack | OmeStack], list[str | None]]:
    """Return what the OME-XML says, if it is of use, the images, and what is missing."""
    faults: list[str | None] = []
    ome = None
    try:
        ome = ome_xml.found_in(tiff.pages.first.description)
    except Fault as useless:
        faults.append(f"its OME-XML is of no use: {useless}")
    if ome is not None and ome.metadata_file is None:
        found, missing = ome_tiff.stacks(ome, name, Layouts(files, {name: layout}))
        return ome, found, missing
    if ome is not None:
        faults.append(f"its metadata is in {ome.metadata_file}, this file has only the planes")
    images, fault = tiff_series.stacks(tiff, layout, name)
    return ome, images, [*faults, fault]


def _collect(tiff: tifffile.TiffFile, metadata: OriginalMetadata) -> None:
    """Put in the tags of the first page and what tifffile makes of the writer's own block."""
    page = tiff.pages.first
    for tag in page.tags:
        if tag.count <= _MAX_TAG_VALUES and tag.name not in _TAGS_NOT_KEPT:
            value = tag.value
            metadata.add(tag.name, value.name if hasattr(value, "name") else value)
    for block in _BLOCKS:
        if getattr(page, f"is_{block}"):
            metadata.add("", getattr(tiff, f"{block}_metadata") or {})
    if page.description and not page.description.lstrip().startswith("<") and not tiff.is_imagej:
        metadata.add("ImageDescription", page.description)
