"""The header of a NRRD volume, through pynrrd: which files have the samples, and how they lie in them.

Source: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import nrrd
import numpy

from repofs.formats import packed, units
from repofs.formats.outcome import CUT_HEADER, Fault
from repofs.formats.raw_array import RawArray

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
_SPACE = ("domain", "space", "???", "none")
_KINDS = {"X": _SPACE, "Y": _SPACE, "Z": _SPACE, "T": ("time", *_SPACE)}  # of an axis with that letter


@dataclass(frozen=True, slots=True)
class Header:
    """*data_files* are below the header's directory; none: the data follows the header, *offset* bytes on."""

    fields: Mapping[str, Any]
    data_files: tuple[str, ...]
    offset: int


def read(file: BinaryIO) -> Header:
    """Return the header in *file*. Raises Fault when it is none, or names a file outside its directory."""
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
        raise Fault(f"its header cannot be read: {error}") from error
    names = listed or (_expanded(os.fsdecode(named[1])) if named else [])
    for name in names:
        if name.startswith("/") or ".." in name.split("/"):
            raise Fault(f"its data file {name} lies outside its directory: put it beside the header")
    if len(names) > MAX_FILES:
        raise Fault(f"it names more than {MAX_FILES} data files")
    if not names and end is None:
        raise Fault(CUT_HEADER)
    return Header(fields, tuple(os.path.normpath(name) for name in names), 0 if end is None else end.end())


def _expanded(value: str) -> list[str]:
    """Return the file names that *value* stands for: itself, or a pattern with first, last and step of a number."""
    pattern = _PATTERN.fullmatch(value)
    if pattern is None:
        return [value]
    first, last, step = (int(pattern[group]) for group in (3, 4, 5))
    if step == 0 or len(pattern[2]) > 2:
        raise Fault(f"its data files {value} cannot be counted")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    return [pattern[1] % number for number in numbers[: MAX_FILES + 1]]


@dataclass(frozen=True, slots=True)
class Volume:
    """What the header says of the samples. *axes* are the positions of X, Y, Z and T in its fields."""

    fields: Mapping[str, Any]
    array: RawArray
    axes: Mapping[str, int]
    encoding: str | None  # gzip, bzip2, text, hex
    rgb: bool

    def length_um(self, letter: str) -> float | None:
        """Return the size of a pixel along that axis, None where no unit is given."""
        spacing, unit = self._spacing(letter)
        return units.micrometres(spacing, unit)

    def seconds(self) -> float | None:
        """Return the time between time points, None where no unit is given."""
        spacing, unit = self._spacing("T")
        return units.seconds(spacing, unit)

    def _spacing(self, letter: str) -> tuple[float, str]:
        axis = self.axes.get(letter, -1)
        spacing, unit = (_at(self.fields.get(word), axis) for word in ("spacings", "units"))
        direction = _at(self.fields.get("space directions"), axis)
        if direction is not None and letter != "T":
            spacing = numpy.linalg.norm(numpy.asarray(direction, float))
            space = set(self.fields.get("space units") or ())
            unit = space.pop() if len(space) == 1 else unit
        return float(spacing or 0), str(unit or "")


def _at(values: Sequence[Any] | None, axis: int) -> Any:
    return None if values is None or not 0 <= axis < len(values) else values[axis]


def volume(header: Header) -> Volume:
    """Return how the samples lie. Raises Fault when they are none of an image."""
    fields = header.fields
    kind, encoding = (str(fields.get(word, "")).lower() for word in ("type", "encoding"))
    if kind not in _TYPES:
        raise Fault(f"samples of type {kind or 'unknown'} cannot be read")
    if encoding not in _ENCODINGS:
        raise Fault(f"the encoding {encoding or 'unknown'} cannot be read")
    kinds = [str(name).lower() for name in fields.get("kinds", ())]
    lengths = [int(size) for size in fields.get("sizes", ())]
    letters = _letters(kinds, fields.get("space directions"), len(lengths))
    dtype = numpy.dtype((">" if fields.get("endian") == "big" else "<") + _TYPES[kind])
    array = RawArray(0, dtype, _sizes(lengths, letters))
    packed.check(array)
    axes = {letter: letters.index(letter) for letter in letters if letter != "C"}
    return Volume(fields, array, axes, _ENCODINGS[encoding], dtype.itemsize == 1 and bool(set(kinds) & set(_COLOURS)))


def _letters(kinds: list[str], directions: Sequence[Any] | None, count: int) -> str:
    """Return the letter of each axis, by its kind, or by whether it has a direction in space; C is any other."""
    if len(kinds) != count:
        kinds = ["domain"] * count
        if directions is not None and len(directions) == count:
            kinds = ["list" if numpy.isnan(numpy.asarray(row, float)).any() else "domain" for row in directions]
    found = ""
    for kind in kinds:
        found += next((letter for letter in "XYZT" if letter not in found and kind in _KINDS[letter]), "C")
    if "X" not in found or ("Y" not in found and count > 1):
        return "XYZT".ljust(count, "C")[:count]  # with less than two axes of space, the kinds are of no picture
    return found


def _sizes(lengths: list[int], letters: str) -> dict[str, int]:
    """Return the size of each letter, the fastest first. Raises Fault for channels on axes that lie apart."""
    sizes: dict[str, int] = {}
    for letter, size in zip(letters, lengths, strict=True):
        if letter in sizes and next(reversed(sizes)) != "C":
            raise Fault("channels on two axes that lie apart cannot be read")
        sizes[letter] = sizes.get(letter, 1) * size
    return sizes
