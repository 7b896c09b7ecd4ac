"""The header of a NRRD volume, through pynrrd: which files have the samples, and how they lie in them.

Source: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import nrrd
import numpy

from repofs.formats import raw_planes
from repofs.formats.raw_planes import VolumeFault

MAX_HEADER_BYTES = 1 << 20
MAX_FILES = 100_000

MAGIC = re.compile(rb"NRRD000\d\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_DATA_FILE = re.compile(rb"^data ?file: *(.*?)\r?$", re.MULTILINE)
_LIST = re.compile(r"LIST(?: \d+)?")
_PATTERN = re.compile(r"(\S*%0?(\d*)d\S*) (-?\d+) (-?\d+) (-?\d+)(?: \d+)?")
_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2",
    "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8", "int64": "i8",
    "ulonglong": "u8", "unsigned long long": "u8", "uint64": "u8", "float": "f4", "double": "f8",
}  # fmt: skip
_ENCODINGS = {"raw": None, "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2",
              "txt": "text", "text": "text", "ascii": "text", "hex": "hex"}  # fmt: skip
_COLOURS = ("rgb-color", "rgba-color")
_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1.0, "µm": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3}
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3}


@dataclass(frozen=True, slots=True)
class Header:
    """*data_files* are below the header's directory; none: the data follows the header, *offset* bytes on."""

    fields: Mapping[str, Any]
    data_files: tuple[str, ...]
    offset: int


def read(file: BinaryIO) -> Header:
    """Return the header in *file*. Raises VolumeFault when it is none, or names a file outside its directory."""
    raw = file.read(MAX_HEADER_BYTES)
    end = _END.search(raw)
    text = raw[: end.start()] if end else raw
    named = _DATA_FILE.search(text)
    listed: list[str] = []
    if named and _LIST.fullmatch(os.fsdecode(named[1])):
        listed = [os.fsdecode(line.strip()) for line in text[named.end() :].split(b"\n") if line.strip()]
        text = text[: named.end()]
    try:
        lines = [line + "\n" for line in text.decode("utf-8", "replace").splitlines()]
        fields = nrrd.read_header(lines)
    except (nrrd.NRRDError, ValueError, KeyError, IndexError, StopIteration, TypeError) as error:
        raise VolumeFault(f"its header cannot be read: {error}") from error
    names = listed or (_expanded(os.fsdecode(named[1])) if named else [])
    for name in names:
        if name.startswith("/") or ".." in name.split("/"):
            raise VolumeFault(f"its data file {name} lies outside its directory: put it beside the header")
    if len(names) > MAX_FILES:
        raise VolumeFault(f"it names more than {MAX_FILES} data files")
    if not names and end is None:
        raise VolumeFault("the file ends within its header")
    return Header(fields, tuple(os.path.normpath(name) for name in names), 0 if end is None else end.end())


def _expanded(value: str) -> list[str]:
    """Return the file names that *value* stands for: itself, or a pattern with first, last and step of a number."""
    pattern = _PATTERN.fullmatch(value)
    if pattern is None:
        return [value]
    first, last, step = (int(pattern[group]) for group in (3, 4, 5))
    if step == 0 or len(pattern[2]) > 2:
        raise VolumeFault(f"its data files {value} cannot be counted")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    return [pattern[1] % number for number in numbers[: MAX_FILES + 1]]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the samples lie. *roles* are letters of the axes (X Y Z T, C for others), the fastest first, as *sizes*."""

    fields: Mapping[str, Any]
    sizes: tuple[int, ...]
    roles: str
    dtype: numpy.dtype
    encoding: str | None  # gzip, bzip2, text, hex
    rgb: bool

    def size(self, role: str) -> int:
        """Return the product of the sizes of the axes with that letter."""
        return math.prod(size for size, own in zip(self.sizes, self.roles, strict=True) if own == role)

    def stride(self, axis: int) -> int:
        """Return the bytes between neighbours on *axis*."""
        return math.prod(self.sizes[:axis]) * self.dtype.itemsize

    @property
    def samples(self) -> int:
        """How many samples lie side by side in a pixel."""
        return math.prod(self.sizes[: self.roles.index("X")])

    @property
    def piece_bytes(self) -> int:
        """The bytes of whole planes: of one, or of all channels that lie between its rows."""
        return self.stride(self.roles.index("Y") + 1)

    @property
    def pieces(self) -> int:
        return math.prod(self.sizes[self.roles.index("Y") + 1 :])

    def starts(self, z: int, t: int) -> list[int]:
        """Return the byte at which each channel's plane begins; those side by side in a pixel have one."""
        starts = [0]
        for axis in range(self.roles.index("X") + 1, len(self.sizes)):
            steps = {"Y": [0], "Z": [z], "T": [t]}.get(self.roles[axis], range(self.sizes[axis]))
            starts = [start + step * self.stride(axis) for step in steps for start in starts]
        return starts

    def length_um(self, role: str) -> float | None:
        """Return the size of a pixel along that axis, None where no unit is given."""
        return self._spacing(role, _UM)

    def seconds(self) -> float | None:
        """Return the time between time points, None where no unit is given."""
        return self._spacing("T", _SECONDS)

    def _spacing(self, role: str, units: Mapping[str, float]) -> float | None:
        axis = self.roles.find(role)
        if axis < 0:
            return None
        length, unit = _at(self.fields.get("spacings"), axis), _at(self.fields.get("units"), axis)
        direction = _at(self.fields.get("space directions"), axis)
        if direction is not None and role != "T":
            length = float(numpy.linalg.norm(numpy.asarray(direction, float)))
            space = set(self.fields.get("space units") or ())
            unit = space.pop() if len(space) == 1 else unit
        found = float(length or 0) * units.get(str(unit or "").strip(), 0.0)
        return found if 0 < found < math.inf else None


def _at(values: Sequence[Any] | None, axis: int) -> Any:
    return None if values is None or axis >= len(values) else values[axis]


def layout(header: Header) -> Layout:
    """Return how the samples lie. Raises VolumeFault when they are none of an image."""
    fields = header.fields
    kind, encoding = (str(fields.get(word, "")).lower() for word in ("type", "encoding"))
    if kind not in _TYPES:
        raise VolumeFault(f"samples of type {kind or 'unknown'} cannot be read")
    if encoding not in _ENCODINGS:
        raise VolumeFault(f"the encoding {encoding or 'unknown'} cannot be read")
    sizes = tuple(int(size) for size in fields.get("sizes", ()))
    raw_planes.check(sizes)
    kinds = [str(name).lower() for name in fields.get("kinds", ())]
    roles = _roles(kinds, fields.get("space directions"), len(sizes))
    if "Y" not in roles:
        sizes, roles = (*sizes, 1), roles + "Y"
    dtype = numpy.dtype((">" if fields.get("endian") == "big" else "<") + _TYPES[kind])
    raw_planes.pixel_type(dtype)
    rgb = dtype.itemsize == 1 and any(name in _COLOURS for name in kinds)
    return Layout(fields, sizes, roles, dtype, _ENCODINGS[encoding], rgb)


def _roles(kinds: list[str], directions: Sequence[Any] | None, count: int) -> str:
    """Return the letter of each axis, by its kind, or by whether it has a direction in space."""
    if len(kinds) != count:
        kinds = ["domain"] * count
        if directions is not None and len(directions) == count:
            kinds = ["list" if numpy.isnan(numpy.asarray(row, float)).any() else "domain" for row in directions]
    free = {"X": "domain space ??? none", "Y": "domain space ??? none", "Z": "domain space ??? none",
            "T": "time domain space"}  # fmt: skip
    roles = ""
    for kind in kinds:
        role = next((letter for letter, kinds_of in free.items() if kind in kinds_of.split()), "C")
        free.pop(role, None)
        roles += role
    if "X" not in roles or ("Y" not in roles and "C" in roles):
        return "XYZTCCCCCCCCCCCC"[:count]  # without two axes of space the kinds say nothing of a picture
    return roles
