"""Where the subblocks of a CZI are, which scene and plane each belongs to, and whether they are there.

czifile reads the segments; it folds all scenes into one array, so that scenes, sizes and planes are worked out here,
from the directory alone: no pixel is read. A subblock is a tile of one plane, at one resolution:

    file header: [part of a split file][position of the directory][position of the XML metadata]
    directory: one entry a subblock: [pixel type][position][part][compression] and for each dimension
        [letter][start][size][stored size]; stored smaller than size: of a pyramid
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

import czifile
import numpy
import tifffile

from repofs.formats.outcome import CUT_HEADER, Fault
from repofs.formats.values import MAX_SIZE, possible

MAX_SUBBLOCKS = 1_000_000

UNCOMPRESSED = 0

_SAMPLES = {"F8": "c8", "i8": "f8"}  # what czifile calls otherwise than numpy

# A newer czifile has neither: the reader says so, rather than keep all others from being loaded.
SegmentNotFoundError: type[Exception] = getattr(
    getattr(czifile, "czifile", czifile), "SegmentNotFoundError", ValueError
)

# Dimensions that OMERO has no axis for are counted with one that it has: block, phase, rotation, view, illumination.
AXES = {"C": "CI", "Z": "Z", "T": "TBHRV"}
DIMENSIONS = "XYSMCZTRIHVB"

_TABLE = numpy.dtype(
    [("position", "i8"), ("part", "i8"), ("compression", "i8"), ("samples", "U4")]
    + [(dimension, "i8") for dimension in DIMENSIONS]  # where it starts
    + [("width", "i8"), ("height", "i8"), ("stored_width", "i8"), ("stored_height", "i8")]
    + [(axis, "i8") for axis in ("c", "z", "t")]  # number of the plane within its scene, counted from 0
    + [("whole", "?")]
)
_SEGMENT_BYTES = 32  # id, allocated size, used size
_SMALLEST_SUBBLOCK = _SEGMENT_BYTES + 16 + 32  # its header and the beginning of its entry


@dataclass(slots=True)
class Scene:
    """One image: its bounding box in pixels of the whole slide, how many planes it has, and all its subblocks."""

    number: int  # as the file counts it
    x: int
    y: int
    width: int
    height: int
    sizes: dict[str, int]  # of Z, C and T
    subblocks: numpy.ndarray  # of _TABLE

    @property
    def planes_whole(self) -> int:
        """How many planes have all their tiles at full resolution."""
        tiles = self.subblocks[_full_resolution(self.subblocks)]
        planes = tiles[["c", "z", "t"]]
        return len(numpy.unique(planes)) - len(numpy.unique(planes[~tiles["whole"]]))


@dataclass(slots=True)
class Layout:
    """The header and the directory of one file."""

    part: int
    primary: str  # which file the parts of a split one belong to
    table: numpy.ndarray
    xml: bytes = b""
    faults: list[str] = field(default_factory=list)

    @property
    def parts(self) -> list[int]:
        """The numbers of the parts that the subblocks lie in."""
        return sorted({*map(int, numpy.unique(self.table["part"])), 0})


def walk(file: BinaryIO) -> Layout:
    """Return what the header and the directory of *file* say. Raises Fault where they are not there."""
    if not hasattr(czifile, "DirectoryEntryDV"):
        raise Fault(f"czifile {czifile.__version__} is installed, it is read with 'czifile>=2019.7.2,<2020'")
    handle = handle_of(file)
    try:
        header = czifile.Segment(handle, 0).data()
        layout = Layout(header.file_part, header.primary_file_guid.hex, numpy.zeros(0, _TABLE))
    except (struct.error, SegmentNotFoundError) as error:
        raise Fault(CUT_HEADER) from error
    if header.update_pending:
        layout.faults.append("it is marked as not finished by the program that wrote it")
    if layout.part == 0:
        layout.table = _directory(handle, header.directory_position)
        layout.xml = _xml(handle, header.metadata_position, layout)
    return layout


def handle_of(file: BinaryIO) -> tifffile.FileHandle:
    """Return *file* as czifile wants it: it begins where it stands now, and its name is not that of a descriptor."""
    file.seek(0)
    return tifffile.FileHandle(file, name="CZI")


def _directory(handle: tifffile.FileHandle, position: int) -> numpy.ndarray:
    """Return the entries of the directory as a table; `c`, `z`, `t` and `whole` are not filled in yet."""
    if not 0 < position < handle.size:
        raise Fault("its directory of subblocks is not in the file")
    try:
        if czifile.Segment(handle, position).sid != "ZISRAWDIRECTORY":
            raise Fault("its directory of subblocks is not where its header says")
        count = struct.unpack("<i124x", handle.read(128))[0]
        if count > MAX_SUBBLOCKS:
            raise Fault(f"it has {count} subblocks, more than the {MAX_SUBBLOCKS} that are looked at")
        if count * 32 > handle.size:
            raise Fault("it ends within its directory of subblocks")
        table = numpy.zeros(max(0, count), _TABLE)
        for row in table:
            _fill(row, czifile.DirectoryEntryDV(handle))
    except (struct.error, SegmentNotFoundError) as error:
        raise Fault("it ends within its directory of subblocks") from error
    except KeyError as error:
        raise Fault(f"its pixel type {error} is not known") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise Fault("its directory of subblocks is damaged") from error
    return table


def _fill(row: numpy.void, entry: czifile.DirectoryEntryDV) -> None:
    row["position"], row["part"], row["compression"] = entry.file_position, entry.file_part, entry.compression
    row["samples"] = entry.dtype
    for dimension in entry.dimension_entries:
        if dimension.dimension in DIMENSIONS:
            row[dimension.dimension] = dimension.start
        if dimension.dimension == "X":
            row["width"], row["stored_width"] = dimension.size, dimension.stored_size
        elif dimension.dimension == "Y":
            row["height"], row["stored_height"] = dimension.size, dimension.stored_size


def _xml(handle: tifffile.FileHandle, position: int, layout: Layout) -> bytes:
    """Return the XML metadata, b"" where it is not in the file, which is a fault."""
    try:
        if 0 < position < handle.size and czifile.Segment(handle, position).sid == "ZISRAWMETADATA":
            size = struct.unpack("<i252x", handle.read(256))[0]
            raw = handle.read(size) if 0 < size <= handle.size else b""
            if raw and len(raw) == size:
                return bytes(raw)
    except (struct.error, SegmentNotFoundError):
        pass  # said below
    layout.faults.append("its metadata is not in the file")
    return b""


def check(layout: Layout, files: dict[int, BinaryIO]) -> None:
    """Fill in which subblocks are whole, given the *files* by their part, and say which are not.

    Subblocks do not overlap: one is whole when the next thing in the file begins late enough, and the last one when
    its own header says so.
    """
    table = layout.table
    for part in layout.parts:
        rows = numpy.flatnonzero(table["part"] == part)
        if part in files and rows.size:
            table["whole"][rows] = _whole(table[rows], files[part])
    missing = int((~table["whole"]).sum())
    if missing:
        layout.faults.append(f"{missing} of its {len(table)} subblocks are not whole or not in the file")


def _whole(rows: numpy.ndarray, file: BinaryIO) -> numpy.ndarray:
    size = file.seek(0, os.SEEK_END)
    order = numpy.argsort(rows["position"], kind="stable")
    positions = rows["position"][order]
    ends = numpy.append(positions[1:], size)
    inside = (positions > 0) & (positions < size - _SMALLEST_SUBBLOCK)
    if inside.any():
        last = int(numpy.flatnonzero(inside)[-1])
        ends[last] = size if _ends_within(file, int(positions[last]), size) else positions[last]
    room = numpy.where(inside, ends - positions, 0)
    whole = numpy.zeros(len(rows), bool)
    whole[order] = room >= _least_bytes(rows[order])
    return whole


def _ends_within(file: BinaryIO, position: int, size: int) -> bool:
    """Whether the subblock at *position* says of itself that it ends within *size* bytes."""
    try:
        subblock = czifile.Segment(handle_of(file), position).data()
        return bool(subblock.data_size >= 0 and subblock.data_offset + subblock.data_size <= size)
    except (struct.error, KeyError, ValueError, AttributeError, SegmentNotFoundError):
        return False


def _least_bytes(rows: numpy.ndarray) -> numpy.ndarray:
    """Return how many bytes each subblock takes at least; only those of uncompressed ones are known."""
    pixels = numpy.clip(rows["stored_width"], 0, MAX_SIZE) * numpy.clip(rows["stored_height"], 0, MAX_SIZE)
    sample_bytes = numpy.ones(len(rows), "i8")
    for kind in numpy.unique(rows["samples"]):
        sample_bytes[rows["samples"] == kind] = bytes_a_pixel(str(kind))
    pixel_bytes = numpy.minimum(pixels, 2**58) * sample_bytes
    return _SMALLEST_SUBBLOCK + numpy.where(rows["compression"] == UNCOMPRESSED, pixel_bytes, 0)


def samples_of(kind: str) -> tuple[int, numpy.dtype]:
    """Return how many samples a pixel of czifile's type *kind* has, and their type: "<3u2" has three of "<u2"."""
    code = kind[-2:]
    return int(kind[1]) if kind[1].isdigit() else 1, numpy.dtype("<" + _SAMPLES.get(code, code))


def bytes_a_pixel(kind: str) -> int:
    """Return the bytes of one pixel of czifile's type *kind*: "<3u2" has 6."""
    samples, dtype = samples_of(kind)
    return samples * dtype.itemsize


def scenes(layout: Layout) -> list[Scene]:
    """Return the scenes in the order of their numbers, those of impossible sizes left out and named as faults."""
    found = []
    table = layout.table[(layout.table["width"] > 0) & (layout.table["height"] > 0)]
    if len(table) < len(layout.table):
        layout.faults.append(f"{len(layout.table) - len(table)} of its subblocks have no size")
    for number in numpy.unique(table["S"]):
        scene = _scene(int(number), table[table["S"] == number])
        if not possible(scene.width, scene.height, *scene.sizes.values()):
            layout.faults.append(f"scene {number} has an impossible size")
        else:
            found.append(scene)
    return found


def _scene(number: int, rows: numpy.ndarray) -> Scene:
    full = rows[_full_resolution(rows)]
    x, y = int(full["X"].min()), int(full["Y"].min())
    sizes = {}
    for axis, dimensions in AXES.items():
        planes = numpy.zeros(len(rows), "i8")
        size = 1
        for dimension in dimensions:
            first, last = int(full[dimension].min()), int(full[dimension].max())
            planes = planes * (last - first + 1) + rows[dimension] - first
            size *= last - first + 1
        rows[axis.lower()], sizes[axis] = planes, size
    width, height = int((full["X"] + full["width"]).max()) - x, int((full["Y"] + full["height"]).max()) - y
    return Scene(number, x, y, width, height, sizes, rows)


def _full_resolution(rows: numpy.ndarray) -> numpy.ndarray:
    """Return which *rows* are of no pyramid; all of them when there is nothing else."""
    full = (rows["stored_width"] == rows["width"]) & (rows["stored_height"] == rows["height"])
    return full if full.any() else numpy.ones(len(rows), bool)
