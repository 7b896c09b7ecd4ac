"""FITS, through astropy: each header-data unit that holds an image of two or more axes is one, compressed ones too.

The first axis is X, the second Y, one whose CTYPE is TIME is T, all others are Z. Samples are what the header makes of
the stored numbers: BSCALE and BZERO give unsigned integers, or floating point numbers (FITS standard 4.0, 4.4.2.5).
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO

import numpy
import numpy.rec  # compressed images are tables
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyWarning

from repofs.formats import sampling
from repofs.formats.original_metadata import MAX_ENTRIES, OriginalMetadata, text
from repofs.formats.outcome import label, recognised
from repofs.formats.reader import Files
from repofs.formats.units import micrometres
from repofs.formats.values import possible
from repofs.image import ImageInfo, Members, Recognised

MAX_UNITS = 1000
MOST_PIXELS = 1 << 26  # of a plane that a preview must decompress whole

_PIXEL_TYPES = {8: "uint8", 16: "int16", 32: "int32", -32: "float", -64: "double"}  # by BITPIX
_SHIFTED = {(8, -128): "int8", (16, 2**15): "uint16", (32, 2**31): "uint32"}  # by BITPIX and BZERO
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?)?")


class FitsReader:
    """Reads FITS."""

    name = "FITS"
    suffixes = (".fits", ".fit", ".fts")
    library = "astropy"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether the first card of *head* is that of FITS."""
        return re.match(rb"SIMPLE  = +T", head[:30]) is not None

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        """Return an image for each unit that has a whole plane; the note says what is missing."""
        try:
            return self._read(name, files)
        except OSError as error:
            if error.errno is not None:
                raise  # the file could not be read; astropy's own have no number
            return recognised("FITS", (), [f"the file is not whole: {error}"])

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample; raises ValueError for a compressed plane that is too large to unpack."""
        with files.open(name) as file, _units(file) as units:
            pictures = (unit for unit in units if unit.is_image and len(unit.shape) > 1 and _image(unit, file, 0)[0])
            unit = next(islice(pictures, series, None), None)
            if unit is None:
                raise LookupError(f"it has no image {series}")
            return _small(unit, file, pixels)

    def _read(self, name: str, files: Files) -> Recognised:
        metadata = OriginalMetadata()
        images: list[ImageInfo] = []
        faults: list[str] = []
        with files.open(name) as file, _units(file) as units:
            end = 0
            for number, unit in enumerate(units):
                end = _end(unit)
                _collect(unit.header, f"{number}." if number else "", metadata)
                if unit.is_image and len(unit.shape) > 1:
                    image, fault = _image(unit, file, len(images))
                    images += [image] if image else []
                    faults += [f"unit {number}: {fault}"] if fault else []
            if end < file.seek(0, os.SEEK_END):
                faults.append(f"what follows byte {end} is no unit of FITS or is not whole")
        images = [replace(image, name=image.name or label(name, image.series, len(images))) for image in images]
        return recognised("FITS", images, faults, metadata)


@contextmanager
def _units(file: BinaryIO) -> Iterator[Iterator[Any]]:
    """Give the units that hold an image or a table, of their headers only, one after another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # what is missing is found by comparing with the file's size
        with fits.open(file, memmap=False, lazy_load_hdus=True) as units:
            yield islice(iter(units), MAX_UNITS)


def _end(unit: Any) -> int:
    where = unit.fileinfo()
    return int(where["datLoc"] + where["datSpan"])


def _image(unit: Any, file: BinaryIO, series: int) -> tuple[ImageInfo | None, str | None]:
    """Return the image of *unit*, without a name where it has none, if a plane is whole; and what is missing."""
    pixel_type = _pixel_type(unit.header)
    if pixel_type is None:
        return None, f"numbers of BITPIX = {unit.header['BITPIX']} are not known to OMERO"
    if not possible(*unit.shape):
        return None, f"a shape of {unit.shape} is not possible"
    there, planes = _planes_there(unit, file), math.prod(unit.shape[:-2])
    if there == 0:
        return None, "its data are not whole"
    size_t = _times(unit) if there == planes else 1
    image = ImageInfo(
        name=text(unit.header.get("EXTNAME", ""), 1024),
        series=series,
        size_x=unit.shape[-1],
        size_y=unit.shape[-2],
        size_z=there // size_t,
        size_c=1,
        size_t=size_t,
        pixel_type=pixel_type,
        big_endian=True,
        physical_size_x_um=_spacing(unit.header, 1),
        physical_size_y_um=_spacing(unit.header, 2),
        physical_size_z_um=_spacing(unit.header, 3),
        acquired=_acquired(unit.header),
        instrument=text(unit.header.get("INSTRUME", ""), 1024) or None,
    )
    if not possible(image.size_z, image.size_t):
        return None, f"a shape of {unit.shape} is not possible"
    return image, None if there == planes else f"its header declares {planes} planes, {there} are there"


def _pixel_type(header: Any) -> str | None:
    """Return the type of the samples that the header makes of the stored numbers."""
    bits, scale, zero = header["BITPIX"], header.get("BSCALE", 1), header.get("BZERO", 0)
    if (scale, zero) == (1, 0) or bits not in _PIXEL_TYPES:
        return _PIXEL_TYPES.get(bits)
    if scale == 1 and (bits, zero) in _SHIFTED:
        return _SHIFTED[bits, zero]
    return "double" if bits in (32, -64) else "float"


def _planes_there(unit: Any, file: BinaryIO) -> int:
    """Return how many planes the file has room for; of a compressed image all or none."""
    planes = int(math.prod(unit.shape[:-2]))
    size = file.seek(0, os.SEEK_END)
    if isinstance(unit, fits.CompImageHDU):
        return planes if _end(unit) <= size else 0
    plane_bytes = int(math.prod(unit.shape[-2:])) * abs(int(unit.header["BITPIX"])) // 8
    room = (size - int(unit.fileinfo()["datLoc"])) // plane_bytes
    return max(0, min(planes, room))


def _times(unit: Any) -> int:
    """Return the length of the axes of time; FITS counts axes from the fastest, from 1."""
    outer = zip(range(len(unit.shape), 2, -1), unit.shape[:-2], strict=True)
    kinds = ((str(unit.header.get(f"CTYPE{axis}", "")).strip().upper(), int(size)) for axis, size in outer)
    return math.prod(size for kind, size in kinds if kind == "TIME")


def _spacing(header: Any, axis: int) -> float | None:
    """Return µm a pixel, None where the *axis* is none of length: most are angles on the sky."""
    step = header.get(f"CDELT{axis}")
    return micrometres(abs(step) if isinstance(step, (int, float)) else None, header.get(f"CUNIT{axis}", ""))


def _acquired(header: Any) -> str | None:
    """Return DATE-OBS; its old form of two digits for the year says no century."""
    observed = str(header.get("DATE-OBS", "")).strip()
    return observed if _ISO_DATE.fullmatch(observed) else None


def _collect(header: Any, prefix: str, metadata: OriginalMetadata) -> None:
    for card in islice(header.cards, MAX_ENTRIES):
        try:
            metadata.add(prefix + card.keyword, card.value)
        except VerifyError:  # not written as the standard wants it: as it stands
            metadata.add(prefix + card.image[:8], card.image[8:])


def _small(unit: Any, file: BinaryIO, pixels: int) -> numpy.ndarray:
    """Return (1, Y, X): every n-th sample of the middle plane of those that are there."""
    there, shape = _planes_there(unit, file), unit.shape
    step = sampling.step(shape[-2:], pixels)
    middle = tuple(size // 2 for size in shape[:-2])
    if there < math.prod(shape[:-2]):
        middle = tuple(int(index) for index in numpy.unravel_index(there // 2, shape[:-2]))
    if isinstance(unit, fits.CompImageHDU):
        if math.prod(shape[-2:]) > MOST_PIXELS or math.prod(unit.tile_shape) > MOST_PIXELS:
            raise ValueError(f"a preview unpacks no compressed plane or tile of more than {MOST_PIXELS} pixels")
        return numpy.array(unit.section[middle][None, ::step, ::step])
    return numpy.stack([unit.section[(*middle, row)][::step] for row in range(0, shape[-2], step)])[None]
