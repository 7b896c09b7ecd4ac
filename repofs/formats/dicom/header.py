"""The header of one DICOM file, through pydicom: all data elements up to the pixels, and where those lie.

Source: DICOM PS3.5 (elements, encapsulated pixels) and PS3.10 (the file). pydicom reads the elements; what comes after
them is held against the size of the file here, because pydicom takes a value that is cut off for a short one.
"""

from __future__ import annotations

import codecs
import io
import math
import os
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy
from pydicom import charset, config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import dcmread, read_dataset, read_preamble
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from repofs.formats.outcome import Fault

for _encoding in charset.python_encoding.values():  # a confined process may be unable to load one
    codecs.lookup(_encoding)
config.settings.reading_validation_mode = config.IGNORE  # of odd values: a warning for each helps nobody here

MAX_HEADER_BYTES = 64 << 20
MAX_VALUE_BYTES = 4 << 20  # of one element; longer ones are overlays or waveforms, no metadata
MAX_INFLATED_BYTES = 256 << 20
MAX_FRAGMENTS = 1_000_000
UNDEFINED = 0xFFFFFFFF

_READ_COST = 64  # bytes that one read counts for besides its own: small elements take time and memory
_FILE_META = 0x0002
_PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_LONG_FORM = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN")  # value representations with a length of 4 bytes
BAD_VALUE = (
    BytesLengthException,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    NotImplementedError,
    AttributeError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Pixels:
    """The element that holds the pixels. *length* is in bytes, UNDEFINED for encapsulated ones."""

    keyword: str
    offset: int  # of the value, in `Header.file`
    length: int


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says. *file* is what *pixels* lies in: the file itself, or what was deflated in it."""

    data: Dataset
    transfer_syntax: UID
    big_endian: bool
    pixels: Pixels | None
    file: BinaryIO
    size: int  # of *file*, in bytes


class _Bounded:
    """A file of which only so much is read, for pydicom: a chain of sequences may run on to the end of a terabyte."""

    def __init__(self, file: BinaryIO) -> None:
        self._left = MAX_HEADER_BYTES
        self.seek = file.seek
        self.tell = file.tell
        self._read = file.read

    def read(self, count: int) -> bytes:
        self._left -= count + _READ_COST
        return self._read(count) if self._left >= 0 else b""

    def check(self) -> None:
        """Raise Fault when the bound was reached: at a read, pydicom takes it for the end of the file."""
        if self._left < 0:
            raise Fault(f"its header is longer than {MAX_HEADER_BYTES >> 20} MiB")


def is_dicom(head: bytes) -> bool:
    """Return whether a file that begins with *head* is DICOM.

    PS3.10 puts 128 bytes that mean nothing and "DICM" first. Older writers leave that out: then the first elements must
    be those that say what the object is, because any bytes are elements of some kind.
    """
    if head[128:132] == b"DICM":
        return True
    if head[:2] not in (b"\2\0", b"\x08\0", b"\0\x08"):
        return False
    try:
        data = dcmread(io.BytesIO(head), force=True, stop_before_pixels=True, defer_size=len(head))
        uid = data.get("SOPClassUID") or getattr(data, "file_meta", {}).get("MediaStorageSOPClassUID") or ""
    except (*BAD_VALUE, zlib.error, EOFError, OSError):
        return False
    return str(uid).startswith("1.2.840.10008.")


def read(file: BinaryIO) -> Header:
    """Return the header of *file*. Raises Fault when it cannot be read."""
    try:
        return _read(file)
    except (*BAD_VALUE, zlib.error, EOFError, RecursionError) as error:
        raise Fault(_unreadable(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise Fault(_unreadable(error)) from error  # pydicom's word for the end of the file within a sequence


def _unreadable(error: Exception) -> str:
    return f"its header cannot be read ({type(error).__name__}: {str(error)[:100]})"


def _read(file: BinaryIO) -> Header:
    syntax = _transfer_syntax(file)
    source = _inflated(file) if syntax == DeflatedExplicitVRLittleEndian else file
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    bounded = _Bounded(source)
    try:
        data = dcmread(cast(BinaryIO, bounded), MAX_VALUE_BYTES, stop_before_pixels=True, force=True)
    finally:
        bounded.check()
    for element in list(data.values()):
        if isinstance(element, RawDataElement) and element.value is None and element.length:
            del data[element.tag]  # pydicom left it in the file, which it would open by name
    implicit, little = data.original_encoding
    if syntax is None or source is not file:
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return Header(data, syntax, not little, _pixels(source, size, implicit=bool(implicit), little=little), source, size)


def _transfer_syntax(file: BinaryIO) -> UID | None:
    """Return the transfer syntax that the file names, and leave *file* behind its file meta information."""
    read_preamble(file, force=True)
    meta = read_dataset(
        cast(BinaryIO, _Bounded(file)), False, True, stop_when=lambda tag, vr, length: tag >> 16 != _FILE_META
    )
    found = meta.get("TransferSyntaxUID")
    return UID(str(found)) if found else None


def _inflated(file: BinaryIO) -> BinaryIO:
    """Return what is deflated in the rest of *file* (PS3.5 A.5), up to a bound that no bomb gets beyond."""
    raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(MAX_INFLATED_BYTES), MAX_INFLATED_BYTES)
    if len(raw) == MAX_INFLATED_BYTES:
        raise Fault(f"what is deflated in it is longer than {MAX_INFLATED_BYTES >> 20} MiB")
    return io.BytesIO(raw)


def _pixels(file: BinaryIO, size: int, *, implicit: bool, little: bool | None) -> Pixels | None:
    """Return the element that *file* stands at the start of, when it holds pixels."""
    order = "<" if little else ">"
    raw = file.read(12)
    if len(raw) < 8:
        return None
    group, element = struct.unpack(order + "HH", raw[:4])
    keyword = _PIXELS.get(group << 16 | element)
    if keyword is None:
        return None
    if implicit or raw[4:6] not in _LONG_FORM:
        return Pixels(keyword, file.tell() - len(raw) + 8, struct.unpack(order + "I", raw[4:8])[0])
    return Pixels(keyword, file.tell(), struct.unpack(order + "I", raw[8:12])[0]) if len(raw) == 12 else None


def frames_there(header: Header, declared: int, frame_bits: int) -> int:
    """Return how many of *declared* frames, each of *frame_bits* where it is not compressed, are whole in the file."""
    if header.pixels is None:
        return 0
    if header.transfer_syntax.is_encapsulated:
        return _encapsulated_there(header, header.pixels.offset, declared)
    room = header.size - header.pixels.offset
    there = room if header.pixels.length == UNDEFINED else min(room, header.pixels.length)
    return min(declared, there * 8 // max(1, frame_bits))


def _encapsulated_there(header: Header, at: int, declared: int) -> int:
    """Return how many compressed frames are whole: by the table of their offsets, or by walking from one to the next.

    PS3.5 A.4: an item with the table, or with nothing, and then items that are fragments of frames.
    """
    table = _item(header, at)
    if table is None or at + 8 + table > header.size:
        return 0
    start = at + 8 + table
    extended = header.data.get_item("ExtendedOffsetTable") if "ExtendedOffsetTable" in header.data else None
    header.file.seek(at + 8)
    raw, kind = (header.file.read(min(table, 4 * declared)), "<u4") if extended is None else (extended.value, "<u8")
    offsets = numpy.frombuffer(raw[: len(raw) // int(kind[2]) * int(kind[2])], kind).astype("f8") + start
    if declared == len(offsets) > 1:
        begun = offsets[offsets + 8 < header.size]
        last = _item(header, int(begun[-1])) if len(begun) else None
        return len(begun) if last is not None and begun[-1] + 8 + last <= header.size else max(0, len(begun) - 1)
    whole, cut = _fragments(header, start)
    return min(declared - cut, whole)


def _fragments(header: Header, at: int) -> tuple[int, bool]:
    """Return how many items from *at* on are whole, and whether one that is not follows them."""
    whole = 0
    while whole < MAX_FRAGMENTS:
        length = _item(header, at)
        if length is None:
            return whole, False
        at += 8 + length
        if at > header.size:
            return whole, True
        whole += 1
    return whole, False


def _item(header: Header, at: int) -> int | None:
    """Return the length in bytes of the item at *at*, None when there is none."""
    header.file.seek(at)
    raw = header.file.read(8)
    if raw[:4] != b"\xfe\xff\x00\xe0" or len(raw) < 8:
        return None
    return int(struct.unpack("<I", raw[4:])[0])


def text(data: Dataset, keyword: str) -> str | None:
    """Return an element as text, None when it is absent, empty or unreadable."""
    try:
        value = data.get(keyword)
    except BAD_VALUE:
        return None
    words = "" if value is None else str(value).replace("\0", "").strip()
    return words or None


def numbers(data: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the finite numbers of an element, none when it is absent or unreadable."""
    try:
        value = data.get(keyword)
        several = [] if value is None or value == "" else [value] if isinstance(value, (int, float, str)) else value
        found = tuple(float(one) for one in several)
    except BAD_VALUE:
        return ()
    return found if all(math.isfinite(one) for one in found) else ()
