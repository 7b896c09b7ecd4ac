"""CZI, of Zeiss' ZEN, through czifile: each scene is an image.

Of czifile (2019.7) only the parts that read segments are used, on a file object: see `layout`. A file that was
split lies beside its first part under the same name with a number: "scan.czi", "scan(1).czi", "scan(2).czi".
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import BinaryIO

import numpy

from repofs.formats.czi import layout as czi_layout
from repofs.formats.czi import metadata as czi_metadata
from repofs.formats.czi import pixels as czi_pixels
from repofs.formats.czi.layout import Layout, Scene
from repofs.formats.czi.metadata import CziMetadata
from repofs.formats.outcome import Fault, recognised
from repofs.formats.pixel_types import pixel_type
from repofs.formats.reader import Files
from repofs.image import ImageInfo, Members, Recognised

_MAGIC = b"ZISRAWFILE\0"
_MOST_PARTS = 32  # of a split file; each takes a descriptor
_PART = re.compile(r"(?P<main>.+?) ?\((?P<part>[0-9]{1,4})\)\.czi", re.IGNORECASE | re.DOTALL)


class CziReader:
    """Reads CZI."""

    name = "CZI"
    library = "czifile"
    suffixes = (".czi",)

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins with the name of a CZI's first segment."""
        return head.startswith(_MAGIC)

    def members(self, name: str, files: Files) -> Members | None:
        """Return the parts of a split file: the first one lists them all, each other names the first by its own name.

        A number in the name means nothing by itself: browsers call a second download so.
        """
        try:
            with files.open(name) as file:
                layout = czi_layout.walk(file)
        except Fault:
            return None  # `read` says why
        if layout.part == 0:
            names = tuple(_part_name(name, part, files) for part in layout.parts)
            return Members(name, names, key=layout.primary) if len(names) > 1 else None
        main = _main_name(name)
        return None if main is None else Members(main, (main, name), key=layout.primary)

    def read(self, name: str, files: Files) -> Recognised:
        """Return an image for each scene that has a whole plane; the note says what is missing."""
        try:
            with ExitStack() as stack:
                layout, _ = _opened(name, files, stack)
            scenes = czi_layout.scenes(layout)
        except Fault as fault:
            return recognised("CZI", (), [str(fault)])
        metadata = CziMetadata()
        if layout.xml:
            try:
                metadata = czi_metadata.parse(layout.xml)
            except Fault as fault:
                layout.faults.append(f"its metadata is of no use: {fault}")
        images = tuple(
            _image(name if len(scenes) == 1 else f"scene {scene.number}", series, scene, metadata)
            for series, scene in enumerate(scenes)
            if scene.planes_whole
        )
        return recognised("CZI", images, layout.faults, metadata.original)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return the middle plane from the smallest sufficient pyramid. Raises Fault, LookupError."""
        with ExitStack() as stack:
            layout, parts = _opened(name, files, stack)
            scenes = czi_layout.scenes(layout)
            if not 0 <= series < len(scenes):
                raise LookupError(f"there is no scene {series}")
            return czi_pixels.preview(scenes[series], parts, pixels)


def _opened(name: str, files: Files, stack: ExitStack) -> tuple[Layout, dict[int, BinaryIO]]:
    """Return the layout of the file with all its parts, and those that are there by their numbers, open.

    Raises Fault where it has no image at all.
    """
    parts = {0: stack.enter_context(files.open(name))}
    layout = czi_layout.walk(parts[0])
    if layout.part:
        first = _main_name(name) or "a name that cannot be told"
        raise Fault(f"it is part {layout.part} of a split file, to be read through its first part, {first}")
    if not set(layout.parts) <= set(range(_MOST_PARTS)):
        raise Fault(f"it says that its subblocks lie in parts up to number {max(layout.parts)} of a split file")
    for part in layout.parts[1:]:
        part_name = _part_name(name, part, files)
        try:
            parts[part] = stack.enter_context(files.open(part_name))
        except FileNotFoundError:
            layout.faults.append(f"its part {part_name} is missing")
    czi_layout.check(layout, parts)
    return layout, parts


def _main_name(name: str) -> str | None:
    """Return what the first part of a split file is called, of which *name* is another part."""
    match = _PART.fullmatch(name)
    return None if match is None else f"{match['main']}{name[-4:]}"


def _part_name(name: str, part: int, files: Files) -> str:
    """Return what part number *part* of the split file *name* is called; there may be a blank in it."""
    if part == 0:
        return name
    stem, suffix = name[:-4], name[-4:]
    spaced = f"{stem} ({part}){suffix}"
    return spaced if files.has(spaced) else f"{stem}({part}){suffix}"


def _image(name: str, series: int, scene: Scene, metadata: CziMetadata) -> ImageInfo:
    kinds = {str(kind) for kind in numpy.unique(scene.subblocks["samples"])}
    kind = max(kinds, key=czi_layout.bytes_a_pixel)
    samples, dtype = czi_layout.samples_of(kind)
    size_c = scene.sizes["C"]
    named = metadata.channels[:size_c] if samples == 1 else ()
    return ImageInfo(
        name=name,
        series=series,
        size_x=scene.width,
        size_y=scene.height,
        size_z=scene.sizes["Z"],
        size_c=size_c * samples,
        size_t=scene.sizes["T"],
        pixel_type=pixel_type(dtype) or "",
        rgb=samples > 1,
        physical_size_x_um=metadata.x_um,
        physical_size_y_um=metadata.y_um,
        physical_size_z_um=metadata.z_um,
        time_increment_s=metadata.time_increment_s,
        acquired=metadata.acquired,
        channels=named,
        instrument=metadata.instrument,
        objective=metadata.objective,
        magnification=metadata.magnification,
        numerical_aperture=metadata.numerical_aperture,
    )
