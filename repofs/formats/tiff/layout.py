"""Is a TIFF whole? Walks the chain of image file directories (IFDs) and holds every offset and length that they
declare against the size of the file. Reads no pixel, and costs in proportion to the directories that are there.

    [II or MM][42][offset of IFD 0]           TIFF 6.0: 2-byte counts, 4-byte offsets, entries of 12 bytes
    [II or MM][43][8][0][offset of IFD 0]     BigTIFF: 8-byte counts and offsets, entries of 20 bytes
    IFD: [number of entries][tag, type, count, value or its offset]…[offset of the next IFD, 0 at the end]
    NDPI of more than 4 GiB: TIFF 6.0, but offsets of IFDs take 8 bytes, and behind that of the next one stand the upper
    4 bytes of each entry's value (https://openslide.org/formats/hamamatsu)
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy

from repofs.formats.outcome import Fault
from repofs.formats.values import possible

MAX_PAGES = 200_000
MAX_CHILDREN = 256  # resolutions or other directories below one page
MAX_TAG_BYTES = 256 << 20  # of tag values looked at, in all

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION = 256, 257, 258, 259, 262, 270
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR, _NDPI = 273, 277, 278, 279, 284, 65420
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES, _SUB_IFDS, _JPEG_OFFSET = 322, 323, 324, 325, 330, 513
_WANTED = frozenset({
    _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION, _STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP,
    _STRIP_BYTES, _NDPI, _PLANAR, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES, _SUB_IFDS, _JPEG_OFFSET,
})  # fmt: skip
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_YCBCR = 6
# The most bytes of pixels that one stored byte can stand for; other compressions have no such bound.
_MOST_PER_BYTE = {1: 1, 5: 4096, 8: 1100, 32773: 128, 32946: 1100}  # none, LZW, deflate, PackBits, deflate


@dataclass(frozen=True, slots=True)
class Page:
    """One IFD of the main chain. Sizes are in pixels as declared, 0 where they are not."""

    width: int
    length: int
    fault: str | None = None  # what is missing
    pixels_whole: bool = True  # all its pixels are in the file, whatever else is missing


@dataclass(slots=True)
class Layout:
    """What the walk found. *fault*, a sentence without a full stop, says why the chain is not whole."""

    big_endian: bool
    wide_ndpi: bool = False  # an NDPI of more than 4 GiB
    pages: list[Page] = field(default_factory=list)
    fault: str | None = None
    end: tuple[int, int] = (0, 0)  # where the last page says which one follows: position and length in bytes

    @property
    def note(self) -> str | None:
        """One sentence on all that is missing, or None when the file is whole."""
        broken = [(number, page.fault) for number, page in enumerate(self.pages, 1) if page.fault]
        parts = [self.fault] if self.fault else []
        if broken:
            number, fault = broken[0]
            more = f" (and {len(broken) - 1} more of {len(self.pages)} pages are damaged)" if len(broken) > 1 else ""
            parts.append(f"page {number}: {fault}{more}")
        return "the file is not whole: " + "; ".join(parts) if parts else None


def is_tiff(head: bytes) -> bool:
    """Return whether *head* begins with the magic number of TIFF or BigTIFF."""
    return head[:4] in _MAGIC


def walk(file: BinaryIO) -> Layout | None:
    """Return the layout of *file*, or None when it does not begin as a TIFF."""
    begun = _begun(file)
    if begun is None:
        return None
    walk, first = begun
    layout = Layout(big_endian=walk.order == ">", wide_ndpi=walk.wide_ndpi)
    walk.chain(first, layout)
    return layout


def description(file: BinaryIO) -> bytes:
    """Return the ImageDescription of the first page; empty when there is none, or it is not in the file."""
    begun = _begun(file)
    try:
        return b"" if begun is None else begun[0].description(begun[1])
    except Fault:
        return b""


def _begun(file: BinaryIO) -> tuple[_Walk, int] | None:
    """Return how *file* is to be read and the offset of its first directory, or None when it is no TIFF."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return None
    version = struct.unpack(order + "H", head[2:4])[0]
    if version not in (42, 43) or (version == 43 and len(head) < 16):
        return None
    big = version == 43
    if size >= 1 << 32 and order == "<" and not big:
        walk, first = _Walk(file, size, order, big=False, wide_ndpi=True), struct.unpack_from("<Q", head, 4)[0]
        if walk.is_ndpi(first):
            return walk, first
    first = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    return _Walk(file, size, order, big=big), first


_Tags = dict[int, tuple[int, int, bytes]]  # tag -> type, count, value field


@dataclass(frozen=True, slots=True)
class _Directory:
    tags: _Tags  # the wanted ones
    following: int  # offset of the next directory, 0 at the end
    following_at: int  # where that stands in the file
    stray: int | None  # the first tag whose value is not in the file


class _Walk:
    """The file, its size and its way of writing numbers, for as long as the walk takes."""

    def __init__(self, file: BinaryIO, size: int, order: str, *, big: bool, wide_ndpi: bool = False) -> None:
        self._file = file
        self._size = size
        self.order = order
        self.wide_ndpi = wide_ndpi
        self._inline_bytes = 8 if big else 4
        self._count = struct.Struct(order + ("Q" if big else "H"))
        self._entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
        self._offset = struct.Struct(order + ("Q" if big or wide_ndpi else "I"))
        self._tag_bytes_left = MAX_TAG_BYTES

    def chain(self, offset: int, layout: Layout) -> None:
        seen: set[int] = set()
        while offset:
            number = len(layout.pages) + 1
            if offset in seen:
                layout.fault = f"after page {number - 1} the chain of pages runs back to an earlier one"
                return
            if number > MAX_PAGES:
                layout.fault = f"it has more than {MAX_PAGES} pages: the rest was not looked at"
                return
            seen.add(offset)
            try:
                directory = self._directory(offset)
            except Fault as damage:
                layout.fault = f"page {number} cannot be read: {damage}"
                return
            layout.pages.append(self._page(directory, children=True))
            offset = directory.following
            layout.end = directory.following_at, self._offset.size
        if not layout.pages:
            layout.fault = "it has no page"

    def is_ndpi(self, offset: int) -> bool:
        """Return whether the IFD at *offset* is that of a Hamamatsu slide."""
        try:
            return _NDPI in self._directory(offset).tags
        except Fault:
            return False

    def description(self, offset: int) -> bytes:
        """Return the ImageDescription of the IFD at *offset*, or nothing; Fault when it is not in the file."""
        kind, count, value = self._directory(offset).tags.get(_DESCRIPTION, (0, 0, b""))
        if _TYPE_BYTES.get(kind) != 1 or count <= self._inline_bytes:
            return value[:count]
        return self._bytes(self._offset.unpack(value)[0], count, "its description")

    def _directory(self, offset: int) -> _Directory:
        """Return the IFD at *offset*; Fault when a part of it is not in the file."""
        entries = self._count.unpack(self._bytes(offset, self._count.size, "its directory"))[0]
        offset += self._count.size
        raw = self._bytes(offset, entries * self._entry.size, "its directory")
        end = offset + len(raw)
        following = self._offset.unpack(self._bytes(end, self._offset.size, "the end of its directory"))[0]
        upper = self._bytes(end + self._offset.size, 4 * entries, "its directory") if self.wide_ndpi else b""
        tags: _Tags = {}
        stray = None
        for number, (tag, kind, count, value) in enumerate(self._entry.iter_unpack(raw)):
            value += upper[4 * number : 4 * number + 4]
            nbytes = _TYPE_BYTES.get(kind, 0) * count
            if nbytes > self._inline_bytes and self._offset.unpack(value)[0] + nbytes > self._size:
                stray = stray or tag
            if tag in _WANTED and tag not in tags:
                tags[tag] = (kind, count, value)
        return _Directory(tags, following, end, stray)

    def _bytes(self, offset: int, count: int, what: str) -> bytes:
        if offset + count > self._size:
            raise Fault(f"{what} lies beyond the end of the file")
        self._tag_bytes_left -= count
        if self._tag_bytes_left < 0:
            raise Fault(f"its directories are longer than {MAX_TAG_BYTES >> 20} MiB together")
        self._file.seek(offset)
        return self._file.read(count)

    def _values(self, tags: _Tags, tag: int) -> numpy.ndarray | None:
        """Return the numbers of *tag*, or None when it is absent or empty."""
        if tag not in tags:
            return None
        kind, count, value = tags[tag]
        if kind not in _INTEGERS:
            raise Fault(f"its tag {tag} holds no whole numbers")
        nbytes = _TYPE_BYTES[kind] * count
        if self.wide_ndpi and count == 1 and kind in (4, 13):
            kind, nbytes = 16, len(value)
        elif nbytes > self._inline_bytes:
            value = self._bytes(self._offset.unpack(value)[0], nbytes, f"its tag {tag}")
        return numpy.frombuffer(value[:nbytes], self.order + _INTEGERS[kind]).astype("u8") if count else None

    def _number(self, tags: _Tags, tag: int, default: int) -> int:
        kind, count, value = tags.get(tag, (0, 0, b""))
        if count == 1 and kind in (3, 4) and len(value) == self._inline_bytes:  # nearly all are: spare them the array
            return int.from_bytes(value[: _TYPE_BYTES[kind]], "little" if self.order == "<" else "big")
        values = self._values(tags, tag)
        return default if values is None else int(values[0])

    def _page(self, directory: _Directory, *, children: bool) -> Page:
        tags = directory.tags
        width = length = 0
        try:
            width, length = self._number(tags, _WIDTH, 0), self._number(tags, _LENGTH, 0)
            if not possible(width, length):
                raise Fault(f"a size of {width} x {length} pixels is not possible")
            self._check_data(tags, width, length)
        except Fault as damage:
            return Page(width, length, str(damage), pixels_whole=False)
        fault = None if directory.stray is None else f"its tag {directory.stray} lies beyond the end of the file"
        if children and fault is None:
            fault = self._fault_of_children(tags)
        return Page(width, length, fault)

    def _fault_of_children(self, tags: _Tags) -> str | None:
        """Return what is missing in the smaller resolutions that hang below a page (SubIFDs), one level deep."""
        try:
            values = self._values(tags, _SUB_IFDS)
            offsets = [] if values is None else values.tolist()
            if len(offsets) > MAX_CHILDREN:
                return f"it has {len(offsets)} resolutions, {MAX_CHILDREN} are looked at"
            for number, offset in enumerate(offsets, 1):
                fault = self._page(self._directory(offset), children=False).fault
                if fault:
                    return f"in its resolution {number}: {fault}"
        except Fault as damage:
            return f"in its resolutions: {damage}"
        return None

    def _check_data(self, tags: _Tags, width: int, length: int) -> None:
        tiled = _TILE_OFFSETS in tags or _TILE_WIDTH in tags
        if _JPEG_OFFSET in tags and not tiled and _STRIP_OFFSETS not in tags:
            return  # JPEG as of TIFF 6.0 section 22: one stream without a length that binds
        samples = self._number(tags, _SAMPLES, 1)
        planes = samples if self._number(tags, _PLANAR, 1) == 2 else 1
        if tiled:
            tile = max(1, self._number(tags, _TILE_WIDTH, width)), max(1, self._number(tags, _TILE_LENGTH, length))
            expected = -(-width // tile[0]) * -(-length // tile[1]) * planes
            pixels = tile[0] * tile[1] * expected // planes
        else:
            rows = min(length, max(1, self._number(tags, _ROWS_PER_STRIP, length)))
            expected = -(-length // rows) * planes
            pixels = width * length
        stored = self._stored_bytes(tags, "tiles" if tiled else "strips", expected)
        if stored is not None and self._number(tags, _PHOTOMETRIC, 0) != _YCBCR:  # that one may store fewer samples
            bits = self._number(tags, _BITS, 1) * samples
            most = _MOST_PER_BYTE.get(self._number(tags, _COMPRESSION, 1))
            if most is not None and stored * most < pixels * bits // 8:
                raise Fault(f"its {stored} bytes are too few for {width} x {length} pixels of {bits} bits")

    def _stored_bytes(self, tags: _Tags, what: str, expected: int) -> int | None:
        """Return the bytes that all *what* ("strips") take together, None when that cannot be told."""
        tiled = what == "tiles"
        offsets = self._values(tags, _TILE_OFFSETS if tiled else _STRIP_OFFSETS)
        counts = self._values(tags, _TILE_BYTES if tiled else _STRIP_BYTES)
        if offsets is None:
            raise Fault(f"it has no {what}")
        if len(offsets) < expected:
            raise Fault(f"it has {len(offsets)} of {expected} {what}")
        lengths_known = counts is not None
        if counts is None:
            counts = numpy.ones(1, "u8")  # early writers left it out: at least the beginning must be there
        elif len(counts) < expected:
            raise Fault(f"it has the lengths of {len(counts)} of {expected} {what}")
        offsets, counts = offsets[: len(counts)], counts[: len(offsets)]
        if lengths_known and len(offsets) == 1 and 0 < int(offsets[0]) <= self._size - int(counts[0]):
            return int(counts[0])  # most pages are one strip: spare them the rest
        sparse = (offsets == 0) & (counts == 0) if tiled else numpy.zeros(len(offsets), bool)  # GDAL's empty tiles
        size = numpy.uint64(self._size)
        outside = ((offsets >= size) | (counts > size - numpy.minimum(offsets, size)) | (offsets == 0)) & ~sparse
        if outside.any():
            raise Fault(f"{int(outside.sum())} of {expected} {what} are not in the file")
        return int(counts.sum()) if lengths_known and not sparse.any() else None
