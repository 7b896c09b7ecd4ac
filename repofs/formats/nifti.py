"""NIfTI-1 and NIfTI-2, through nibabel: one file (``.nii``), or a header with its data (``.hdr`` and ``.img``), each
also compressed by gzip. Source: nifti.nimh.nih.gov, nifti1.h and nifti2.h.

nibabel reads the header; it would map or unpack the whole data, so the planes are read by `raw_array`.
"""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass, replace

import numpy
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from repofs.formats import packed, units
from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import CUT_HEADER, Fault, recognised
from repofs.formats.raw_array import RawArray
from repofs.formats.reader import Files
from repofs.image import ImageInfo, Members, Recognised

_HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
_GZIP = b"\x1f\x8b\x08"


class NiftiReader:
    """Reads NIfTI."""

    name = "NIfTI"
    suffixes = (".nii", ".nii.gz", ".hdr", ".img")
    library = "nibabel"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* is such a header, maybe compressed, or *name* is the data of one by its name.

        Data has no beginning of its own. Whether its header is of NIfTI cannot be seen from here.
        """
        return _version(_unpacked(head)) is not None or _is_data(name)

    def members(self, name: str, files: Files) -> Members | None:
        """Return header and data of a pair. The data is known by its name only."""
        if _is_data(name):
            header = _partner(name, "hdr")
            return Members(header, (header, name), certain=False)
        with files.open(name) as file:
            return None if _single(_unpacked(file.read(4096))) else Members(name, (name, _partner(name, "img")))

    def read(self, name: str, files: Files) -> Recognised:
        """Return the image of the volume, with the planes that are whole."""
        if _is_data(name):
            header = _partner(name, "hdr")
            return Recognised(note=f"no reader knows this format; if it is a NIfTI volume, {header} belongs to it")
        metadata = OriginalMetadata()
        try:
            volume = _volume(name, files)
            _collect(volume.header, metadata)
            image, note = _image(volume, name, files)
        except Fault as fault:
            return recognised(self.name, (), [str(fault)], metadata)
        return recognised(self.name, [image], [note], metadata)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of the middle plane, of each channel. Raises Fault, LookupError."""
        if series:
            raise LookupError(f"it has no image {series}")
        volume = _volume(name, files)
        array, _ = _there(volume, files)
        with files.open(volume.data) as file:
            return packed.picture(array, file, pixels, volume.compression)


@dataclass(frozen=True, slots=True)
class _Volume:
    header: Nifti1Header
    data: str  # the file that has it
    compression: str | None
    array: RawArray  # in what is unpacked
    rgb: bool


def _unpacked(head: bytes) -> bytes:
    """Return what *head* begins with, unpacked when it is gzip."""
    if not head.startswith(_GZIP):
        return head
    try:
        return zlib.decompressobj(31).decompress(head, _HEADER_BYTES)
    except zlib.error:
        return b""


def _version(head: bytes) -> int | None:
    """Return 1 or 2, None for what is no header: it begins with its own length, and has a magic word."""
    if head[344:348] in (b"n+1\0", b"ni1\0") and head[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c"):
        return 1
    if head[4:12] in (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n") and head[:4] in (b"\x1c\2\0\0", b"\0\0\2\x1c"):
        return 2
    return None


def _single(head: bytes) -> bool:
    return b"n+" in (head[344:346], head[4:6])


def _stem(name: str) -> tuple[str, str, str]:
    """Return what stands before the suffix, the suffix, and ".gz" where that follows."""
    packed = name[-3:] if name.lower().endswith(".gz") else ""
    return *os.path.splitext(name.removesuffix(packed)), packed


def _is_data(name: str) -> bool:
    return _stem(name)[1].lower() == ".img"


def _partner(name: str, suffix: str) -> str:
    """Return what the other file of a pair is called, in the same case of letters."""
    stem, own, packed = _stem(name)
    return f"{stem}.{suffix.upper() if own.isupper() else suffix}{packed}"


def _volume(name: str, files: Files) -> _Volume:
    """Return what the header in the file *name* says. Raises Fault when that is no volume."""
    with files.open(name) as file:
        is_packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        head = _unpacked(file.read(4096))
    version = _version(head)
    if version is None:
        raise Fault(CUT_HEADER)
    kind = Nifti1Header if version == 1 else Nifti2Header
    order = ">" if head[0] == 0 else "<"
    try:
        header = kind(head[: kind.sizeof_hdr], order, check=False)  # type: ignore[no-untyped-call]
        dtype = header.get_data_dtype()  # type: ignore[no-untyped-call]
        offset = int(header["vox_offset"])
        axes = [int(size) for size in header["dim"]]
    except (HeaderDataError, WrapStructError, ValueError, KeyError, OverflowError) as error:
        raise Fault(f"its header cannot be read: {error}") from error
    if _single(head) and offset < kind.sizeof_hdr:
        raise Fault(f"its data cannot begin at byte {offset}, within its header")
    if not 1 <= axes[0] <= 7:
        raise Fault(f"{axes[0]} axes are not possible")
    array = RawArray(max(0, offset), dtype[0] if dtype.names else dtype, _sizes(axes[1 : axes[0] + 1], dtype))
    packed.check(array)
    data = name if _single(head) else _partner(name, "img")
    return _Volume(header, data, "gzip" if is_packed else None, array, bool(dtype.names))


def _sizes(axes: list[int], dtype: numpy.dtype) -> dict[str, int]:
    """Return the size of each axis, the fastest first: the fifth and later ones, and colours, are channels."""
    x, y, z, t, *more = axes + [1] * (4 - len(axes))
    channels = math.prod(more) if all(size > 0 for size in more) else 0
    if not dtype.names:
        return {"X": x, "Y": y, "Z": z, "T": t, "C": channels}
    if channels != 1:
        raise Fault("colours of several channels cannot be read")
    return {"C": len(dtype.names), "X": x, "Y": y, "Z": z, "T": t}


def _there(volume: _Volume, files: Files) -> tuple[RawArray, str | None]:
    """Return what is whole of the samples, and what is missing. Raises Fault when no plane is."""
    array = volume.array
    try:
        with files.open(volume.data) as file:
            there, note = packed.room(file, array.offset, array.nbytes, volume.compression)
    except FileNotFoundError as error:
        raise Fault(f"{volume.data}, which has its data, is missing: put it beside this file") from error
    return packed.whole(array, there, note), note


def _image(volume: _Volume, name: str, files: Files) -> tuple[ImageInfo, str | None]:
    array, note = _there(volume, files)
    unit, time_unit = volume.header.get_xyzt_units()  # type: ignore[no-untyped-call]
    x, y, z, t = (float(zoom) for zoom in volume.header["pixdim"][1:5])
    dimensions = int(volume.header["dim"][0])
    image = replace(
        array.image(name),
        big_endian=volume.header.endianness == ">",
        rgb=volume.rgb,
        physical_size_x_um=units.micrometres(x, unit),
        physical_size_y_um=units.micrometres(y, unit) if dimensions > 1 else None,
        physical_size_z_um=units.micrometres(z, unit) if dimensions > 2 else None,
        time_increment_s=units.seconds(t, time_unit) if array.sizes["T"] > 1 else None,
    )
    return image, note


def _collect(header: Nifti1Header, metadata: OriginalMetadata) -> None:
    for key in header:
        value = header[key]
        metadata.add(key, value.tolist() if value.size > 1 else value.item())
