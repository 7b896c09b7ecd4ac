"""MRC and CCP4 maps of electron microscopy, through mrcfile.

mrcfile reads the header; the samples behind it are left where they are. Modes that mrcfile has no type for: 16, three
bytes a pixel, is read as IMOD defines it; 3 and 101 (complex of whole numbers, four bits) are not known to OMERO.
Format: Cheng et al., "MRC2014: Extensions to the MRC format header", J. Struct. Biol. 192 (2015);
https://www.ccpem.ac.uk/mrc_format/mrc2014.php and https://bio3d.colorado.edu/imod/doc/mrc_format.txt
"""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import replace
from typing import Any, BinaryIO

import numpy
from mrcfile import utils
from mrcfile.dtypes import get_ext_header_dtype
from mrcfile.mrcinterpreter import MrcInterpreter

from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.outcome import CUT_HEADER, recognised
from repofs.formats.raw_array import RawArray
from repofs.formats.reader import Files
from repofs.formats.values import positive
from repofs.image import ImageInfo, Members, Recognised

_HEADER_BYTES = 1024
_MAP = slice(208, 211)  # "MAP" and a blank or a zero
_RGB = 16
_ANGSTROM = 1e-4  # µm


class MrcReader:
    """Reads MRC, CCP4 and IMOD files that have the word MAP, which they have since 2000."""

    name = "MRC"
    library = "mrcfile"
    suffixes = (".mrc", ".mrcs", ".map", ".ccp4", ".rec", ".st", ".ali", ".preali")

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        return head[_MAP] == b"MAP"

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        with files.open(name) as file:
            size = file.seek(0, os.SEEK_END)
            if size < _HEADER_BYTES:
                return recognised(self.name, (), [CUT_HEADER])
            header = _header(file)
            extended = _extended(file, header)
        metadata = _metadata(header, extended)
        there, fault = _there(header, size)
        images = [] if there is None else [_image(header, there, name, extended)]
        return recognised(self.name, images, [fault], metadata)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        if series != 0:
            raise LookupError(f"it has no image {series}")
        with files.open(name) as file:
            size = file.seek(0, os.SEEK_END)
            there, fault = _there(_header(file), size)
            if there is None:
                raise LookupError(fault)
            return there.picture(file, pixels)


class _HeaderOnly(MrcInterpreter):  # type: ignore[misc]
    """mrcfile without the extended header: it may claim two gigabytes, which mrcfile would take before it looks."""

    def _read_extended_header(self) -> None:
        self._extended_header = None


def _header(file: BinaryIO) -> Any:
    """Return the record of the first 1024 bytes, in the byte order that makes its mode a known one."""
    file.seek(0)
    copy = io.BytesIO(file.read(_HEADER_BYTES))  # mrcfile writes to its stream when it is done
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a wrong machine stamp is common, and the header is read all the same
        return _HeaderOnly(copy, permissive=True, header_only=True).header


def _extended(file: BinaryIO, header: Any) -> dict[str, Any]:
    """Return what FEI's microscopes say of the first plane, by mrcfile's names; nothing of other makers' files."""
    dtype = get_ext_header_dtype(bytes(header.exttyp), header.mode.dtype.byteorder)
    if dtype is None or header.nsymbt < dtype.itemsize:
        return {}
    file.seek(_HEADER_BYTES)
    raw = file.read(dtype.itemsize)
    if len(raw) < dtype.itemsize:
        return {}
    return dict(zip(dtype.names, numpy.frombuffer(raw, dtype)[0].tolist(), strict=True))


def _declared(header: Any) -> RawArray | None:
    """Return where the samples lie by the header, None when OMERO has no name for what they are."""
    byte_order = header.mode.dtype.byteorder
    if header.mode == _RGB:
        dtype, samples = numpy.dtype("u1"), 3
    else:
        try:
            dtype, samples = utils.dtype_from_mode(header.mode).newbyteorder(byte_order), 1
        except ValueError:
            return None
    x, y, z, t = int(header.nx), int(header.ny), int(header.nz), 1
    if utils.spacegroup_is_volume_stack(header.ispg) and header.mz > 0 and z % header.mz == 0:
        z, t = int(header.mz), z // int(header.mz)
    offset = _HEADER_BYTES + max(0, int(header.nsymbt))
    return RawArray(offset, dtype, {"C": samples, "X": x, "Y": y, "Z": z, "T": t})


def _there(header: Any, size: int) -> tuple[RawArray | None, str | None]:
    """Return the planes that are whole in a file of *size* bytes, None when none is, and what is wrong."""
    declared = _declared(header)
    sizes = f"{int(header.nx)} x {int(header.ny)} x {int(header.nz)} pixels"
    if declared is None:
        return None, f"pixels of mode {int(header.mode)} are not known to OMERO"
    if not declared.possible:
        return None, f"{sizes} are not possible"
    room = max(0, size - declared.offset)
    there = declared.whole(room)
    missing = declared.nbytes - room
    return there, f"the file is not whole: {missing} bytes of {sizes} are missing" if missing > 0 else None


def _image(header: Any, there: RawArray, name: str, extended: dict[str, Any]) -> ImageInfo:
    x_um, y_um, z_um = _pixel_um(header)
    return replace(
        there.image(name),
        rgb=there.sizes["C"] > 1,
        physical_size_x_um=x_um,
        physical_size_y_um=y_um,
        physical_size_z_um=z_um,
        instrument=text(extended.get("Microscope type", b"")) or None,
    )


def _pixel_um(header: Any) -> tuple[float | None, ...]:
    """Return the size of a pixel along columns, rows and sections: the cell is of X, Y and Z, which the header maps."""
    cell = dict(zip((1, 2, 3), header.cella.tolist(), strict=True))
    intervals = {1: int(header.mx), 2: int(header.my), 3: int(header.mz)}
    axes = [int(header.mapc), int(header.mapr), int(header.maps)]
    if sorted(axes) != [1, 2, 3]:
        axes = [1, 2, 3]  # early writers left them zero
    return tuple(positive(cell[axis] / intervals[axis], _ANGSTROM) if intervals[axis] > 0 else None for axis in axes)


def _metadata(header: Any, extended: dict[str, Any]) -> OriginalMetadata:
    """Return the fields of the header by mrcfile's names, the labels that it counts, and the extended header."""
    metadata = OriginalMetadata()
    for field in header.dtype.names:
        if field not in ("extra1", "extra2", "label", "map", "machst"):
            value = header[field]
            metadata.add(field, dict(zip(value.dtype.names, value.tolist(), strict=True)) if value.dtype.names
                         else value.item())  # fmt: skip
    for number, label in enumerate(header.label.tolist()[: min(10, max(0, int(header.nlabl)))]):
        metadata.add(f"label {number}", label.strip(b"\0 "))
    metadata.add(text(header.exttyp.item()), extended)
    return metadata
