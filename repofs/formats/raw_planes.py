"""Planes of samples that lie one after another in a file, as they are or compressed: what volume formats have after
their headers."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from typing import BinaryIO, cast

import numpy

MAX_PROBED_BYTES = 16 << 20  # unpacked to see whether one plane is there
MAX_UNPACKED_BYTES = 8 << 30  # on the way to the middle plane

_MOST_PER_BYTE = 1032  # that one byte of deflate can stand for
PIXEL_TYPES = {
    "bool": "bit", "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16", "int32": "int32",
    "uint32": "uint32", "float32": "float", "float64": "double", "complex64": "complex",
    "complex128": "double-complex",
}  # fmt: skip
MAX_SIZE = 2**31 - 1  # of one axis, as in OMERO


class VolumeFault(Exception):
    """What is wrong with a volume, for a sentence: "a size of 0 x 3 pixels is not possible"."""


def pixel_type(dtype: numpy.dtype) -> str:
    """Return OMERO's name of *dtype*. Raises VolumeFault when it has none."""
    found = PIXEL_TYPES.get(dtype.newbyteorder("=").name)
    if found is None:
        raise VolumeFault(f"pixels of type {dtype.name} are not known to OMERO")
    return found


def check(sizes: tuple[int, ...]) -> None:
    """Raise VolumeFault when *sizes*, X first, are none that an image can have."""
    if not sizes or not all(0 < size <= MAX_SIZE for size in sizes):
        raise VolumeFault(f"a size of {' x '.join(map(str, sizes))} pixels is not possible")


def unpacked(file: BinaryIO, compression: str | None) -> BinaryIO:
    """Return *file* as it is, or what is compressed in it ("gzip", "bzip2"), from where it stands."""
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
    return cast(BinaryIO, bz2.BZ2File(file)) if compression == "bzip2" else file


def planes_there(file: BinaryIO, start: int, plane: int, count: int, compression: str | None) -> tuple[int, str | None]:
    """Return how many of *count* planes of *plane* bytes are whole, and a sentence on what is missing or None.

    They begin *start* bytes into what `unpacked` returns for *file* as it stands. A compressed file is not unpacked for
    this: gzip ends with the length of what is in it, and where that is not as declared, the first plane is looked for.
    """
    packed = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(packed)
    declared = start + plane * count
    if compression is None:
        there = max(0, min(count, (size - packed - start) // plane))
        return there, None if there == count else f"the file is not whole: {there} of its {count} planes are there"
    if compression == "gzip" and (size - packed) * _MOST_PER_BYTE >= declared:
        file.seek(max(packed, size - 4))
        if int.from_bytes(file.read(4), "little") == declared & 0xFFFFFFFF:
            return count, None
    file.seek(packed)
    if not _has(unpacked(file, compression), start + min(plane, MAX_PROBED_BYTES)):
        return 0, "the file is not whole: not one plane can be unpacked"
    if compression == "bzip2":
        return count, None  # which does not say how much is in it
    return count, "the file may not be whole: it does not end with the length that its header declares"


def _has(file: BinaryIO, count: int) -> bool:
    try:
        while count > 0 and (got := len(file.read(min(count, 1 << 20)))):
            count -= got
    except (OSError, EOFError, zlib.error):
        return False
    return count == 0


def plane(
    file: BinaryIO, start: int, dtype: numpy.dtype, shape: tuple[int, int, int], step: int, pitch: int = 0
) -> numpy.ndarray:
    """Return every *step*-th row and column of one plane, as (samples, Y, X).

    *shape* is that of the plane in *file*, where it begins at *start*: (Y, X, samples that lie side by side). Its rows
    are *pitch* bytes apart, or follow each other. Raises VolumeFault when it is not all there.
    """
    height, width, samples = shape
    row_bytes = width * samples * dtype.itemsize
    kept = []
    for row in range(0, height, step):
        try:
            file.seek(start + row * (pitch or row_bytes))
            raw = file.read(row_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise VolumeFault(f"the plane cannot be unpacked: {error}") from error
        if len(raw) < row_bytes:
            raise VolumeFault("the plane is not whole")
        kept.append(numpy.frombuffer(raw, dtype).reshape(width, samples)[::step])
    return numpy.stack(kept).transpose(2, 0, 1)
