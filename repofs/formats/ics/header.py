"""The header of the Image Cytometry Standard, by its published layout: there is no Python package that reads it.

Lines of fields, told apart by the two characters that the file begins with:

    <tab><newline>
    ics_version <tab> 1.0
    layout <tab> order <tab> bits <tab> x <tab> y …
    end                                                    version 2: the samples follow, if no source is named

Sources: P. Dean et al., "Proposed standard for image cytometry data files", Cytometry 11 (1990), and the description
of ICS 1.0 and 2.0 at https://svi-opensource.github.io/libics/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy

from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import Fault
from repofs.formats.raw_array import RawArray

MAX_BYTES = 4 << 20  # of a header: the rest is not looked at

_START = re.compile(rb"([^\r\n])(\r\n|.)ics_version\1([12])\.\d", re.DOTALL)
_AXES = {"x": "X", "y": "Y", "z": "Z", "c": "C", "ch": "C", "channel": "C", "t": "T", "time": "T"}
_KINDS = {"integer": {"signed": "i", "unsigned": "u"}, "real": dict.fromkeys(("signed", "unsigned"), "f"),
          "complex": dict.fromkeys(("signed", "unsigned"), "c")}  # fmt: skip
_SAMPLES = frozenset({"i1", "i2", "i4", "u1", "u2", "u4", "f4", "f8", "c8", "c16"})


@dataclass(slots=True)
class IcsHeader:
    """The fields, by category and key in lower case: ("layout", "order") -> ["bits", "x", "y"]."""

    version: int
    length: int  # bytes up to the samples, if they follow
    fields: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    original: OriginalMetadata = field(default_factory=OriginalMetadata)

    def words(self, category: str, key: str) -> list[str]:
        return self.fields.get((category, key), [])

    def word(self, category: str, key: str, default: str = "") -> str:
        return next(iter(self.words(category, key)), default)

    def per_axis(self, key: str) -> dict[str, str]:
        """Return the parameter *key* (scale, units, labels) by axis, as far as the header gives it."""
        return dict(zip(self.axes(), self.words("parameter", key)[1:], strict=False))

    def axes(self) -> list[str]:
        """Return X, Y, Z, C, T in the order of the file, fastest first. An axis of another kind (lifetime, probe)
        takes the letter that is left. Raises Fault."""
        order = [word.lower() for word in self.words("layout", "order")]
        if order[:1] != ["bits"]:
            raise Fault("its order does not begin with bits")
        known = [_AXES.get(word) for word in order[1:]]
        left = [letter for letter in "CTZ" if letter not in known]
        if len(known) > 5 or len(set(known) - {None}) < sum(1 for letter in known if letter):
            raise Fault(f"its order ({' '.join(order)}) is not one of an image")
        axes = [letter or (left.pop(0) if left else "") for letter in known]
        if not {"X", "Y"} <= set(axes) or "" in axes:
            raise Fault(f"its order ({' '.join(order)}) is not one of an image")
        return axes

    def array(self, offset: int) -> RawArray:
        """Return the samples that the header declares, from *offset* on. Raises Fault."""
        axes = self.axes()
        words = self.words("layout", "sizes")
        if len(words) != len(axes) + 1 or not all(word.isascii() and word.isdigit() for word in words):
            raise Fault("its sizes are not those of its axes")
        bits, *sizes = (int(word) for word in words)
        return RawArray(offset, self._dtype(bits), dict(zip(axes, sizes, strict=True)))

    def _dtype(self, bits: int) -> numpy.dtype:
        kind = self.word("representation", "format", "integer").lower()
        sign = self.word("representation", "sign", "unsigned").lower()
        samples = f"{_KINDS.get(kind, {}).get(sign, '?')}{bits // 8}"
        if bits % 8 or samples not in _SAMPLES:
            raise Fault(f"{sign} {kind} samples of {bits} bits are not known to OMERO")
        little = self.word("representation", "byte_order", "1") == "1"
        return numpy.dtype(("<" if little else ">") + samples)


def begins(head: bytes) -> bool:
    """Return whether *head* is the beginning of a header."""
    return _START.match(head) is not None


def parse(file: BinaryIO) -> IcsHeader:
    """Return the header at the beginning of *file*, which `begins` so."""
    raw = file.read(MAX_BYTES)
    start = _START.match(raw)
    if start is None:
        raise Fault("it does not begin as one")
    separator, line_end = start[1].decode("latin-1"), start[2]
    header = IcsHeader(int(start[3]), len(raw))
    at = start.start(2) + len(line_end)
    while at < len(raw):
        stop = raw.find(line_end, at)
        line = raw[at : len(raw) if stop < 0 else stop]
        at = len(raw) if stop < 0 else stop + len(line_end)
        words = [word.strip() for word in line.decode("utf-8", "replace").strip("\r\n").split(separator)]
        if words[0].lower() == "end":
            header.length = at
            break
        _take(words, header)
    return header


def _take(words: list[str], header: IcsHeader) -> None:
    if len(words) < 2:
        return
    category, key, *values = words
    header.original.add(f"{category}.{key}" if values else category, " ".join(values) if values else key)
    key = f"{key} {values.pop(0)}" if category.lower() == "sensor" and key == "s_params" and values else key
    header.fields.setdefault((category.lower(), key.lower()), [word for word in values if word])
