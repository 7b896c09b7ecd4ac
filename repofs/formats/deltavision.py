"""DeltaVision files (.dv, .r3d) of Applied Precision's softWoRx.

The layout of the header is the package mrc's: it opens files by path only, but its structures take bytes. What stands
in the extended header for each plane is read for the first plane of each channel.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy
from mrc._new import BE_HDR, LE_HDR, ExtHeaderFrame, Header
from mrc.lenses import D as LENSES

from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.outcome import CUT_HEADER, NO_PLANE, recognised
from repofs.formats.raw_array import RawArray
from repofs.formats.reader import Files
from repofs.formats.values import positive
from repofs.image import Channel, ImageInfo, Members, Recognised

_MAGIC = {b"\xa0\xc0": "<", b"\xc0\xa0": ">"}  # the number -16224 at byte 96
_MAGIC_AT = slice(96, 98)
_MOST_WAVES = 5  # that the header has room for
_TYPES = {0: "u1", 1: "i2", 2: "f4", 4: "c8", 5: "i2", 6: "u2", 7: "i4"}  # 3, complex of int16, is not known to OMERO
_SEQUENCES = {0: "ZTC", 1: "CZT", 2: "ZCT"}  # the fastest first


@dataclass(frozen=True, slots=True)
class _DeltaVision:
    """The header of a file, and where it says that the samples are."""

    header: Header
    title: str
    order: str  # "<" or ">"
    declared: RawArray | None  # None: OMERO has no name for samples of this type
    there: RawArray | None  # the part that is whole
    size: int  # of the file, in bytes


class DeltaVisionReader:
    """Reads DeltaVision files of either byte order."""

    name = "DeltaVision"
    library = "mrc"
    suffixes = (".dv", ".r3d")

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        return head[_MAGIC_AT] in _MAGIC

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        with files.open(name) as file:
            found = _opened(file)
            if found is None:
                return recognised(self.name, (), [CUT_HEADER])
            metadata = _metadata(found)
            there = found.there
            images = [] if there is None else [_image(found, there, _channels(file, found, there), name)]
            return recognised(self.name, images, [_fault(found)], metadata)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        if series != 0:
            raise LookupError(f"it has no image {series}")
        with files.open(name) as file:
            found = _opened(file)
            if found is None or found.there is None:
                raise LookupError(NO_PLANE)
            return found.there.picture(file, pixels)


def _opened(file: BinaryIO) -> _DeltaVision | None:
    """Return what the header says, None when the file is shorter than that."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    raw = file.read(LE_HDR.size)
    if len(raw) < LE_HDR.size:
        return None
    order = _MAGIC[raw[_MAGIC_AT]]
    *fields, title = (LE_HDR if order == "<" else BE_HDR).unpack(raw)
    header = Header(*fields)
    declared = _declared(header, order)
    there = declared.whole(size - declared.offset) if declared is not None and declared.possible else None
    return _DeltaVision(header, text(title.replace(b"\0", b" ")), order, declared, there, size)


def _declared(header: Header, order: str) -> RawArray | None:
    if header.pixel_type not in _TYPES:
        return None
    channels, times = max(1, header.nc), max(1, header.nt)
    count = {"Z": header.n_sections // channels // times, "C": channels, "T": times}
    sizes = {"X": header.width, "Y": header.height} | {
        axis: count[axis] for axis in _SEQUENCES.get(header.img_seq, "ZTC")
    }
    return RawArray(LE_HDR.size + max(0, header.ext_hdr_len), numpy.dtype(order + _TYPES[header.pixel_type]), sizes)


def _fault(found: _DeltaVision) -> str | None:
    """Return one sentence on what is not as the header says."""
    header = found.header
    sizes = f"{header.width} x {header.height} pixels in {header.n_sections} planes"
    if found.declared is None:
        return f"pixels of type {header.pixel_type} are not known to OMERO"
    if not found.declared.possible:
        return f"{sizes} of {header.nc} channels and {header.nt} times are not possible"
    plane = header.width * header.height * found.declared.dtype.itemsize
    there = max(0, found.size - found.declared.offset) // plane
    if there < header.n_sections:
        return f"the file is not whole: its header declares {sizes}, {there} are there"
    if header.n_sections % (max(1, header.nc) * max(1, header.nt)):
        return f"its {header.n_sections} planes are no multiple of {header.nc} channels and {header.nt} times"
    return None


def _image(found: _DeltaVision, there: RawArray, channels: tuple[Channel, ...], name: str) -> ImageInfo:
    header = found.header
    lens = LENSES.get(header.lens_num, {})
    return replace(
        there.image(name),
        big_endian=found.order == ">",
        physical_size_x_um=positive(header.dx),
        physical_size_y_um=positive(header.dy),
        physical_size_z_um=positive(header.dz),
        channels=channels,
        objective=lens.get("name"),
        magnification=lens.get("magnification"),
        numerical_aperture=lens.get("lensNA"),
    )


def _channels(file: BinaryIO, found: _DeltaVision, there: RawArray) -> tuple[Channel, ...]:
    """Return the channels by their wavelengths: of the header the emission, by which softWoRx calls them."""
    header = found.header
    waves = (header.wave1, header.wave2, header.wave3, header.wave4, header.wave5)
    channels = []
    for number, wave in enumerate(waves[: there.sizes["C"]]):
        frame = _frame(file, found, there, number)
        excitation = None if frame is None else positive(frame.exWavelen)
        channels.append(Channel(str(wave) if wave else None, None, excitation, positive(wave)))
    return (*channels, *(Channel() for _ in range(min(there.sizes["C"], 1000) - len(channels))))


def _frame(file: BinaryIO, found: _DeltaVision, there: RawArray, channel: int) -> ExtHeaderFrame | None:
    """Return what the extended header says of the first plane of *channel*, None where it says nothing."""
    header = found.header
    floats = len(ExtHeaderFrame._fields)
    if header.n_ints < 0 or header.n_floats < floats:
        return None
    planes = 1
    for axis, size in there.sizes.items():
        if axis == "C":
            break
        planes *= 1 if axis in "XY" else size
    at = (channel * planes * (header.n_ints + header.n_floats) + header.n_ints) * 4
    form = struct.Struct(f"{found.order}{floats}f")
    if at + form.size > header.ext_hdr_len:
        return None
    file.seek(LE_HDR.size + at)
    raw = file.read(form.size)
    return ExtHeaderFrame(*form.unpack(raw)) if len(raw) == form.size else None


def _metadata(found: _DeltaVision) -> OriginalMetadata:
    metadata = OriginalMetadata()
    for key, value in found.header._asdict().items():
        if key not in ("blank", "dvid"):
            metadata.add(key, value)
    metadata.add("title", found.title)
    return metadata
