"""Files of DigitalMicrograph 3 and 4, made here because no library writes them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy

KINDS = {"int16": 1, "float32": 2, "complex64": 3, "uint8": 6, "int32": 7, "int8": 9, "uint16": 10, "uint32": 11,
         "float64": 12, "complex128": 13}  # fmt: skip
_TYPES = {"int16": 2, "int32": 3, "uint16": 4, "uint32": 5, "float32": 6, "float64": 7, "int8": 9, "uint8": 10}
RGB = 23


class Writer:
    """Writes tags: [20 or 21][length of the name][name], then a group of tags or one value."""

    def __init__(self, version: int, order: str) -> None:
        self._long = ">i" if version == 3 else ">q"
        self._version, self._order = version, order

    def file(self, tags: Mapping[str, Any]) -> bytes:
        body = self._group(tags, root=True)
        return struct.pack(">i", self._version) + self._longs(len(body)) + struct.pack(">i", self._order == "<") + body

    def _longs(self, *values: int) -> bytes:
        return b"".join(struct.pack(self._long, value) for value in values)

    def _group(self, tags: Mapping[str, Any], root: bool = False) -> bytes:
        size = b"" if root or self._version == 3 else self._longs(0)
        return b"\1\0" + size + self._longs(len(tags)) + b"".join(self._tag(*tag) for tag in tags.items())

    def _tag(self, name: str, value: Any) -> bytes:
        kind = 20 if isinstance(value, dict) else 21
        stored = b"" if name.isdigit() else name.encode()  # the members of a list have no names
        head = struct.pack(">BH", kind, len(stored)) + stored
        if isinstance(value, dict):
            return head + self._group(value)
        return head + (b"" if self._version == 3 else bytes(8)) + b"%%%%" + self._value(value)

    def _value(self, value: Any) -> bytes:
        if isinstance(value, int):
            return self._longs(1, 5) + struct.pack(self._order + "I", value)
        if isinstance(value, float):
            return self._longs(1, 6) + struct.pack(self._order + "f", value)
        if isinstance(value, str):
            units = value.encode("utf-16-le" if self._order == "<" else "utf-16-be")
            return self._longs(3, 20, 4, len(units) // 2) + units
        samples = numpy.asarray(value)
        raw = samples.astype(samples.dtype.newbyteorder(self._order)).tobytes()
        if samples.dtype.kind == "c":
            part = 6 if samples.dtype.itemsize == 8 else 7
            return self._longs(8, 20, 15, 0, 2, 0, part, 0, part, samples.size) + raw
        return self._longs(3, 20, _TYPES[samples.dtype.name], samples.size) + raw


def image(
    samples: numpy.ndarray, name: str = "", scales: tuple[tuple[float, str], ...] = (), **more: Any
) -> dict[str, Any]:
    """Return the tags of an image of *samples* (…, Y, X); *scales* and their units are X first."""
    kind = more.pop("kind", None) or KINDS[samples.dtype.name]
    shape = more.pop("shape", samples.shape)
    dimension = {str(n): {"Origin": 0.0, "Scale": scale, "Units": unit} for n, (scale, unit) in enumerate(scales)}
    data = {
        "Calibrations": {"Brightness": {"Units": ""}, "Dimension": dimension},
        "Data": samples,
        "DataType": kind,
        "Dimensions": {str(n): length for n, length in enumerate(shape[::-1])},
    }
    return {"ImageData": data, "ImageTags": more, "Name": name}


def document(*images: dict[str, Any], version: int = 3, order: str = "<", thumbnails: tuple[int, ...] = ()) -> bytes:
    """Return a file of *images*, of which those at *thumbnails* are small versions of others."""
    marks = {str(n): {"ImageIndex": index} for n, index in enumerate(thumbnails)}
    listed = {str(n): image for n, image in enumerate(images)}
    return Writer(version, order).file({"ImageList": listed, "Thumbnails": marks, "InImageMode": 1})
