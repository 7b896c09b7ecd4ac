"""Gatan DigitalMicrograph 3 and 4 (.dm3, .dm4), through RosettaSciIO: the extra ``em``.

Its classes read the tags and say where the samples are; those are read here, because it would read all of them. A third
axis is T when it is measured in seconds, else Z, as are all further ones.
"""

from __future__ import annotations

import math
import os
import struct
from typing import Any, BinaryIO

import numpy
from rsciio.digitalmicrograph._api import DigitalMicrographReader as Tags
from rsciio.digitalmicrograph._api import ImageObject
from rsciio.exceptions import DM3DataTypeError, DM3TagIDError, DM3TagTypeError

from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.outcome import label, recognised
from repofs.formats.pixel_types import pixel_type
from repofs.formats.raw_array import RawArray
from repofs.formats.reader import Files
from repofs.formats.units import micrometres, seconds
from repofs.formats.values import possible
from repofs.image import ImageInfo, Members, Recognised

_PACKED = (5, 27, 28)  # kinds of data that are half of a Fourier transform
# What it raises on damaged tags, besides OSError; the last ones when a tag is not what it should be.
_BROKEN = (
    struct.error, DM3DataTypeError, DM3TagIDError, DM3TagTypeError, NotImplementedError, RecursionError, KeyError,
    TypeError, AttributeError, ValueError, OverflowError,
)  # fmt: skip


class DigitalMicrographReader:
    """Reads DM3 and DM4."""

    name = "DigitalMicrograph"
    suffixes = (".dm3", ".dm4")
    library = "rosettasciio"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* is of version 3 or 4, with a byte order: [version][size, of 4 or 8 bytes][order]."""
        order_at = {b"\0\0\0\x03": 8, b"\0\0\0\x04": 12}.get(head[:4])
        return order_at is not None and head[order_at : order_at + 4] in (b"\0\0\0\0", b"\0\0\0\x01")

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        """Return the images that are whole, without their thumbnails."""
        with files.open(name) as file:
            try:
                tags, objects = _parse(file)
            except _BROKEN as error:
                return recognised(self.name, (), [f"the file is damaged or not whole ({error})"])
            size = file.seek(0, os.SEEK_END)
        metadata = OriginalMetadata()
        metadata.add("", {key: value for key, value in tags.items() if key != "ImageList"})
        images: list[ImageInfo] = []
        faults: list[str] = []
        for number, found in enumerate(objects):
            metadata.add(f"Image {number}" if number else "", found.imdict.to_dict().get("ImageTags", {}))
            fault = _fault(found, size)
            if fault:
                faults.append(f"image {number}: {fault}")
            else:
                images.append(_image(found, label(name, number, len(objects)), len(images)))
        return recognised(self.name, images, faults, metadata)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of the middle plane, of which every n-th row is read."""
        with files.open(name) as file:
            _, objects = _parse(file)
            size = file.seek(0, os.SEEK_END)
            whole = [found for found in objects if _fault(found, size) is None]
            if not 0 <= series < len(whole):
                raise LookupError(f"it has no image {series}")
            return _small(whole[series], file, pixels)


def _parse(file: BinaryIO) -> tuple[dict[str, Any], list[ImageObject]]:
    """Return all tags, and the images that are no thumbnails. Raises _BROKEN."""
    reader = Tags(file)
    try:
        reader.parse_file()
    except OSError as error:
        if error.errno is not None:
            raise  # the file could not be read; the library's own have no number
        raise ValueError(error) from error
    return reader.tags_dict, [ImageObject(image, file) for image in reader.get_image_dictionaries() or ()]


def _fault(found: ImageObject, size: int) -> str | None:
    """Return why *found* is no image of OMERO's, or not whole in a file of *size* bytes; None when it is."""
    data, kind, shape = found.imdict.ImageData.Data, found.imdict.ImageData.DataType, found.shape
    if kind in _PACKED:
        return "it is half of a Fourier transform, which is not read"
    if kind in (0, 4):
        return f"pixels of kind {kind} are not known to OMERO"
    if not shape or not all(isinstance(length, int) and possible(length) for length in shape):
        return f"a shape of {shape} is not possible"
    needed = math.prod(shape) * numpy.dtype(found.dtype).itemsize
    there = min(data.size_bytes, size - data.offset)
    if not possible(math.prod(shape[:-2])) or there < needed:
        return f"it has {max(0, there)} bytes of {needed}"
    return None


def _image(found: ImageObject, name: str, series: int) -> ImageInfo:
    dtype, outer = numpy.dtype(found.dtype), found.shape[:-2]
    units = ["Å" if unit == "A" else unit for unit in found.units[::-1]]
    spacing = list(zip(found.scales[::-1].tolist(), units, strict=True))  # X first
    spacing += [(0.0, "")] * (3 - len(spacing))
    is_time = len(outer) == 1 and seconds(1.0, spacing[2][1]) is not None
    colours = len(dtype.names or ("grey",))
    return ImageInfo(
        name=text(found.title, 1024) or name,
        series=series,
        size_x=found.shape[-1],
        size_y=found.shape[-2] if len(found.shape) > 1 else 1,
        size_z=1 if is_time else math.prod(outer),
        size_c=colours,
        size_t=math.prod(outer) if is_time else 1,
        pixel_type="uint8" if dtype.names else pixel_type(dtype) or "",
        rgb=colours > 1,
        big_endian=found.imdict.ImageData.Data.endian == "big",
        physical_size_x_um=micrometres(*spacing[0]),
        physical_size_y_um=micrometres(*spacing[1]),
        physical_size_z_um=None if is_time else micrometres(*spacing[2]),
        time_increment_s=seconds(*spacing[2]) if is_time else None,
        instrument=_instrument(found.imdict.to_dict().get("ImageTags", {})),
    )


def _instrument(tags: dict[str, Any]) -> str | None:
    places = (("Session Info", "Microscope"), ("Microscope Info", "Name"), ("Microscope Info", "Microscope"))
    names = (tags[group].get(key) for group, key in places if isinstance(tags.get(group), dict))
    return next((text(name, 1024) for name in names if isinstance(name, str) and name.strip()), None)


def _small(found: ImageObject, file: BinaryIO, pixels: int) -> numpy.ndarray:
    data, shape = found.imdict.ImageData.Data, (1, *found.shape)[-2:]
    dtype = numpy.dtype(found.dtype).newbyteorder(">" if data.endian == "big" else "<")
    middle = [length // 2 for length in found.shape[:-2]]
    plane = int(numpy.ravel_multi_index(middle, found.shape[:-2])) if middle else 0
    one = RawArray(data.offset, dtype, {"X": shape[1], "Y": shape[0]})
    (samples,) = one.following(plane).picture(file, pixels)
    return numpy.stack([samples[colour] for colour in "RGB"]) if dtype.names else samples[None]
