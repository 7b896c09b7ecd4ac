"""The index of an NDTiff: which frame of which axes lies where.

`tifffile.read_ndtiff_index` takes only a path, and as many bytes as a length in the file says; so it is read here, by
the same layout (https://github.com/micro-manager/NDTiffStorage). One entry after the other, little-endian:

    [length, 4 bytes][axes as JSON, {"time": 0, "channel": "DAPI"}][length, 4 bytes][name of the TIFF]
    [offset of the pixels, width, height, pixel type, compression, offset of metadata, length, compression: 8 x 4 bytes]
"""

from __future__ import annotations

import json
import struct
from typing import BinaryIO, NamedTuple

MAX_BYTES = 64 << 20  # of an index: about half a million frames

_FIXED = struct.Struct("<IiiiiIii")
_RGB = 2
_BYTES = {0: 1, 1: 2, _RGB: 3, 3: 2, 4: 2, 5: 2, 6: 2}  # of a pixel; 1 and 3 to 6: 16, 10, 12, 14 and 11 bits


class Frame(NamedTuple):
    """One frame: sizes in pixels, offsets and lengths in bytes."""

    axes: dict[str, int | str]
    file: str
    offset: int
    width: int
    height: int
    kind: int  # its pixel type
    metadata_offset: int
    metadata_bytes: int

    @property
    def rgb(self) -> bool:
        return self.kind == _RGB

    @property
    def pixel_bytes(self) -> int:
        return _BYTES[self.kind]

    @property
    def pixel_type(self) -> str:
        return "uint16" if self.pixel_bytes == 2 else "uint8"

    @property
    def end(self) -> int:
        return self.offset + self.width * self.height * self.pixel_bytes


def read(file: BinaryIO) -> tuple[list[Frame], str | None]:
    """Return the frames that the index *file* names, and what is wrong with it or None."""
    raw = file.read(MAX_BYTES)
    frames: list[Frame] = []
    position = 0
    while position < len(raw):
        try:
            frame, position = _frame(raw, position)
        except (ValueError, struct.error, RecursionError) as damage:
            why = f"it is longer than {MAX_BYTES >> 20} MiB" if len(raw) == MAX_BYTES else damage
            return frames, f"NDTiff.index cannot be read beyond frame {len(frames)}: {why}"
        frames.append(frame)
    return frames, None


def _frame(raw: bytes, position: int) -> tuple[Frame, int]:
    """Return the frame at *position* and where the next one begins. Raises ValueError and struct.error on damage."""
    words, position = _words(raw, position)
    axes = json.loads(words)
    name, position = _words(raw, position)
    offset, width, height, kind, compression, metadata, length, _ = _FIXED.unpack_from(raw, position)
    if not isinstance(axes, dict) or not all(type(value) in (int, str) for value in axes.values()):
        raise ValueError("its axes are none")
    if kind not in _BYTES or compression != 0:
        raise ValueError(f"pixels of type {kind} and compression {compression} are not known")
    if width < 1 or height < 1:
        raise ValueError(f"a size of {width} x {height} pixels is not possible")
    return Frame(
        {axis.lower(): value for axis, value in axes.items()}, name, offset, width, height, kind, metadata, length
    ), position + _FIXED.size


def _words(raw: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", raw, position)
    begin = position + 4
    if begin + length > len(raw):
        raise ValueError("it ends within an entry")
    return raw[begin : begin + length].decode("utf-8", "replace"), begin + length
