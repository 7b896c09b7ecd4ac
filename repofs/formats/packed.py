"""The samples of a volume as one stream in a file, plain or compressed: how much is there, and how to reach it."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from io import BufferedIOBase
from typing import BinaryIO, cast

import numpy

from repofs.formats.outcome import Fault
from repofs.formats.pixel_types import pixel_type
from repofs.formats.raw_array import RawArray

MAX_PROBED_BYTES = 16 << 20  # unpacked to see how much is there, where the file does not say it
MAX_UNPACKED_BYTES = 8 << 30  # on the way to the middle plane

_MOST_PER_BYTE = 1032  # that one byte of deflate can stand for
_TRAILER_BYTES = 4  # of a gzip stream: its unpacked length modulo 2^32


def unpacked(file: BinaryIO, compression: str | None) -> BinaryIO:
    """Return what is compressed ("gzip", "bzip2") in *file* from where it stands; *file* when it is not compressed.

    To be read forwards only.
    """
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
    return cast(BinaryIO, bz2.BZ2File(file)) if compression == "bzip2" else file


def room(file: BinaryIO, start: int, wanted: int, compression: str | None) -> tuple[int, str | None]:
    """Return how many of *wanted* bytes are there, and what is missing or None.

    They begin *start* bytes behind where *file* stands, after unpacking. A compressed file is not unpacked for this:
    gzip ends with the length of what is in it. Where that is not as wanted, and with bzip2, only a beginning is.
    """
    begin = file.tell()
    packed = file.seek(0, os.SEEK_END) - begin
    note = None
    if compression is None:
        there = max(0, min(wanted, packed - start))
    elif compression == "gzip" and ends_with_length(file, begin, start + wanted):
        there = wanted
    else:
        file.seek(begin)
        probed = min(wanted, MAX_PROBED_BYTES)
        there = max(0, _readable(cast(BufferedIOBase, unpacked(file, compression)), start + probed) - start)
        if there == probed:
            there = wanted
            if compression == "gzip":
                note = "the file may not be whole: it does not end with the length that its header declares"
    if there < wanted:
        note = f"the file is not whole: {there} of its {wanted} bytes of samples are there"
    return there, note


def ends_with_length(file: BinaryIO, begin: int, length: int) -> bool:
    """Return whether what gzip has packed in *file* from byte *begin* on says at its end that it is *length* bytes."""
    packed = file.seek(0, os.SEEK_END) - begin
    if packed < _TRAILER_BYTES or packed * _MOST_PER_BYTE < length:
        return False
    file.seek(-_TRAILER_BYTES, os.SEEK_END)
    return int.from_bytes(file.read(_TRAILER_BYTES), "little") == length & 0xFFFFFFFF


def _readable(file: BufferedIOBase, count: int) -> int:
    """Return how many bytes, at most *count*, can be unpacked: piece by piece, for an error takes its piece along."""
    there = 0
    try:
        while there < count and (got := len(file.read1(min(count - there, 1 << 16)))):
            there += got
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file, not of what is in it
    return there


def whole(array: RawArray, there: int, note: str | None) -> RawArray:
    """Return the part of *array* that is whole when *there* bytes are. Raises Fault, of *note*, for no plane."""
    found = array.whole(there)
    if found is None:
        raise Fault(note or "it has no plane")
    return found


def check(array: RawArray) -> None:
    """Raise Fault when *array* is none that an image can have."""
    if not array.possible:
        sizes = " x ".join(str(array.sizes[axis]) for axis in "XYZCT")
        raise Fault(f"a size of {sizes} (X Y Z C T) is not possible")
    if pixel_type(array.dtype) is None:
        raise Fault(f"pixels of type {array.dtype.name} are not known to OMERO")


def picture(array: RawArray, file: BinaryIO, pixels: int, compression: str | None) -> numpy.ndarray:
    """Return `RawArray.picture`, of what *file* stands at the start of. Raises Fault."""
    if compression is not None and array.nbytes // 2 > MAX_UNPACKED_BYTES:
        raise Fault("the middle plane lies too deep in a compressed file for a picture")
    try:
        return array.picture(unpacked(file, compression), pixels)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Fault(f"the middle plane cannot be read: {error}") from error
