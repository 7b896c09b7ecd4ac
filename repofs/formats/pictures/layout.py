"""Is a picture of PNG, JPEG, GIF or JPEG 2000 whole? By the marks that their standards put at the end, and what else
Pillow does not tell: the frames of a GIF, and the samples of JPEG 2000.

    PNG        chunks [length][type][data][check sum], the last one IEND           ISO/IEC 15948, 5.3
    JPEG       segments FF xx [length], then coded data from SOS to EOI (FF D9)    ITU-T T.81, annex B
    GIF        blocks, each of sub-blocks [length][data]…[0], to a trailer 3B      GIF89a, 15 to 27
    JPEG 2000  boxes [length][type], in jp2c a codestream of segments to FF D9     ISO/IEC 15444-1, annexes A and I
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from repofs.formats.outcome import CUT_HEADER, Fault

MAX_FRAMES = 100_000

_TAIL_BYTES = 1 << 20  # writers and cameras append things of their own behind the end
_PNG_END = b"IEND\xaeB`\x82"
_JP2_BOXES = 1000
_GIF_IMAGE, _GIF_EXTENSION, _GIF_END = 0x2C, 0x21, 0x3B
_SOS, _EOI, _SIZ, _COD, _SOT = 0xDA, 0xD9, 0x51, 0x52, 0x90

NO_END = "the file is not whole: it has no end mark"


@dataclass(frozen=True, slots=True)
class Codestream:
    """What the main header of a JPEG 2000 codestream says. Offsets and sizes are in samples of its reference grid."""

    left: int
    top: int
    right: int
    bottom: int
    depths: tuple[int, ...]  # bits of each component, negative for signed ones
    levels: int  # how often it can be halved

    def reduced(self, halvings: int) -> tuple[int, int]:
        """Return width and height in pixels after so many *halvings*."""
        width, height = (
            _halved(end, halvings) - _halved(start, halvings)
            for start, end in ((self.left, self.right), (self.top, self.bottom))
        )
        return width, height


@dataclass(frozen=True, slots=True)
class GifFrames:
    """The frames of a GIF that are whole."""

    number: int
    largest: int  # pixels
    fault: str | None  # what is wrong with the rest


def png_ends(file: BinaryIO) -> None:
    """Raise Fault unless *file* ends as a PNG."""
    if _PNG_END not in _tail(file, 8):
        raise Fault(NO_END)


def jpeg_ends(file: BinaryIO) -> None:
    """Raise Fault unless the coded data of *file* end; thumbnails in its segments have ends of their own."""
    at = 2
    while True:
        marker, _, behind = _segment(file, at)
        if marker == _SOS:
            break
        at = behind
    if bytes((0xFF, _EOI)) not in _tail(file, at):
        raise Fault(NO_END)


def gif_frames(file: BinaryIO) -> GifFrames:
    """Return the frames of *file* that are whole."""
    file.seek(10)
    flags = _exactly(file, 3)[0]
    file.seek(_color_table(flags), os.SEEK_CUR)
    number = largest = 0
    try:
        while (kind := _exactly(file, 1)[0]) != _GIF_END:
            if number == MAX_FRAMES:
                return GifFrames(number, largest, f"only its first {MAX_FRAMES} frames are looked at")
            pixels = 0
            if kind == _GIF_IMAGE:
                width, height, flags = struct.unpack("<4xHHB", _exactly(file, 9))
                pixels = width * height
                file.seek(_color_table(flags) + 1, os.SEEK_CUR)  # and the least size of a code
            elif kind == _GIF_EXTENSION:
                _exactly(file, 1)
            else:
                fault = f"the file is damaged: a block of unknown kind {kind:#04x} follows frame {number}"
                return GifFrames(number, largest, fault)
            while length := _exactly(file, 1)[0]:
                file.seek(length, os.SEEK_CUR)
            number, largest = number + (kind == _GIF_IMAGE), max(largest, pixels)
    except Fault:
        return GifFrames(number, largest, f"{NO_END}, {number} frames are whole")
    return GifFrames(number, largest, None)


def codestream(file: BinaryIO) -> Codestream:
    """Return what the codestream of a JPEG 2000 file says. Raises Fault when it is not whole."""
    file.seek(0)
    start = 0 if _exactly(file, 2) == b"\xff\x4f" else _jp2_codestream(file)
    at = start + 2
    siz = cod = b""
    while True:
        marker, length, behind = _segment(file, at)
        if marker == _SOT:
            break
        if marker in (_SIZ, _COD):
            body = _exactly(file, length)
            siz, cod = (body, cod) if marker == _SIZ else (siz, body)
        at = behind
    if bytes((0xFF, _EOI)) not in _tail(file, at):
        raise Fault(NO_END)
    if len(siz) <= 36 or len(cod) < 6:
        raise Fault("the header of its codestream is damaged")
    right, bottom, left, top = struct.unpack(">4I", siz[2:18])
    parts = siz[36::3]  # of three bytes for each component
    depths = tuple((size & 0x7F) + 1 if size < 0x80 else -((size & 0x7F) + 1) for size in parts)
    return Codestream(left, top, right, bottom, depths, levels=cod[5])


def _jp2_codestream(file: BinaryIO) -> int:
    """Return where the codestream of a JP2 begins."""
    size = file.seek(0, os.SEEK_END)
    at = 0
    for _ in range(_JP2_BOXES):
        file.seek(at)
        length, kind = struct.unpack(">I4s", _exactly(file, 8))
        head = 8
        if length == 1:
            length, head = struct.unpack(">Q", _exactly(file, 8))[0], 16
        if kind == b"jp2c":
            if length and at + length > size:
                raise Fault(f"the file is not whole: its codestream of {length} bytes goes on behind its end")
            return at + head
        if length < head:
            break
        at += length
    raise Fault("the file has no codestream")


def _segment(file: BinaryIO, at: int) -> tuple[int, int, int]:
    """Return marker and length of the segment at *at*, where the file then stands, and where the next one begins."""
    file.seek(at)
    first, marker = _exactly(file, 2)
    while first == marker == 0xFF:  # a marker may have any number of these before it
        at, marker = at + 1, _exactly(file, 1)[0]
    (length,) = struct.unpack(">H", _exactly(file, 2))
    if first != 0xFF or length < 2:
        raise Fault(f"the file is damaged: there is no segment at byte {at}")
    return marker, length - 2, at + 2 + length


def _halved(edge: int, halvings: int) -> int:
    return -(-edge >> halvings)  # rounded up


def _color_table(flags: int) -> int:
    """Return the bytes of the colour table that the *flags* of a screen or an image descriptor announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tail(file: BinaryIO, start: int) -> bytes:
    """Return the last bytes of *file*, of those behind *start*."""
    file.seek(max(start, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
    return file.read()


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise Fault(CUT_HEADER)
    return data
