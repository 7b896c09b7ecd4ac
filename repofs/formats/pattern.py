"""Image sequences by a pattern file: one line that names many files, as OMERO and Bio-Formats have it.

The layout is that of https://bio-formats.readthedocs.io/en/stable/formats/pattern-file.html. ``<…>`` stands for each of

    <3>  <red,green,blue>  <0-12>  <000-012>  <0-12:2>  <A-H>

and the letters before it say of which axis these are. A block without a known label is of the first axis that no
other one has and of which the files hold one: C if it is a list of words, else Z, T, C in this order.
"""

from __future__ import annotations

import codecs
import itertools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy

from repofs.formats import image_sequence
from repofs.formats.image_sequence import Place, Sequence
from repofs.formats.original_metadata import text
from repofs.formats.outcome import label, recognised
from repofs.formats.reader import Files
from repofs.formats.values import is_below
from repofs.image import Channel, Members, Recognised

LINE_BYTES = 4096

_LABELS = {
    "C": {"c", "ch", "w", "wavelength"},
    "T": {"t", "tl", "tp", "timepoint"},
    "Z": {"z", "zs", "sec", "fp", "focal", "focalplane"},
    "S": {"s", "sp", "series"},
}
_LABEL = re.compile(r"([a-z]*)[0-9 _.-]*$")
_NUMBERS = re.compile("([0-9]{1,18})-([0-9]{1,18})(?::([1-9][0-9]{0,17}))?")
_LETTERS = re.compile("([A-Za-z])-([A-Za-z])(?::([1-9]))?")


class _Block(NamedTuple):
    """What a ``<…>`` stands for."""

    axis: str | None  # C, T, Z, S as the letters before it say
    values: list[str]


class _Pattern(NamedTuple):
    literals: list[str]  # before, between and behind the blocks
    blocks: list[_Block]

    def name(self, indices: tuple[int, ...]) -> str:
        """Return the name with the values of these *indices*."""
        values = [block.values[index] for block, index in zip(self.blocks, indices, strict=True)]
        return "".join(itertools.chain(*itertools.zip_longest(self.literals, values, fillvalue="")))

    def places(self) -> Iterator[tuple[int, ...]]:
        """Yield the indices of all names, in order."""
        return itertools.product(*(range(len(block.values)) for block in self.blocks))


class PatternReader:
    """Reads .pattern files and the TIFFs that they name."""

    name = "file pattern"
    library = "tifffile"
    suffixes = (".pattern",)

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether it is called a pattern and is a text."""
        return name.lower().endswith(".pattern") and b"\0" not in head

    def members(self, name: str, files: Files) -> Members | None:
        """Return all files that the pattern names; None when it makes no sense, as `read` says."""
        try:
            pattern = _pattern(name, files)
        except ValueError:
            return None
        return Members(name, (name, *map(pattern.name, pattern.places())))

    def read(self, name: str, files: Files) -> Recognised:
        """Return an image for each value of the blocks that are of series; the note names files that are missing."""
        try:
            pattern = _pattern(name, files)
        except ValueError as useless:
            return recognised(self.name, (), [f"the pattern {useless}"])
        images, faults = image_sequence.images(_sequences(name, pattern, files), files)
        return recognised(self.name, images, faults)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return the middle plane of each channel; ValueError when the pattern makes no sense."""
        return image_sequence.preview(_sequences(name, _pattern(name, files), files)[series], files, pixels)


def _pattern(name: str, files: Files) -> _Pattern:
    """Return the pattern of the file *name*. Raises ValueError, with half a sentence, when it cannot be one fileset."""
    with files.open(name) as file:
        words = file.read(LINE_BYTES).removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    line = next((line.strip() for line in words.splitlines() if line.strip()), "")
    parts = re.split("<([^<>]*)>", line)
    literals = parts[::2]
    if len(parts) == 1 or any("<" in literal or ">" in literal for literal in literals):
        raise ValueError(f"{text(line, 64)!r} has no block, or half of one: write for example img_z<00-12>.tif")
    pattern = _Pattern(literals, [_block(part, before) for before, part in zip(literals, parts[1::2], strict=False)])
    longest = sum(map(len, literals)) + sum(max(map(len, block.values)) for block in pattern.blocks)
    image_sequence.check_count(math.prod(len(block.values) for block in pattern.blocks), longest)
    outside = next((one for one in map(pattern.name, pattern.places()) if not is_below(one)), None)
    if outside is not None:
        raise ValueError(f"names {text(outside, 64)}, which is no file below its directory: bring the files there")
    return pattern


def _block(part: str, before: str) -> _Block:
    """Return the block <*part*> behind the literal *before*. Raises ValueError as `_pattern` does."""
    found = _LABEL.search(before.lower())
    axis = next((axis for axis, labels in _LABELS.items() if found and found[1] in labels), None)
    letters = _LETTERS.fullmatch(part)
    if letters and letters[1].isupper() == letters[2].isupper() and letters[1] <= letters[2]:
        codes = range(ord(letters[1]), ord(letters[2]) + 1, int(letters[3] or 1))
        return _Block(axis, [chr(code) for code in codes])
    numbers = _NUMBERS.fullmatch(part)
    if numbers is None:
        return _Block(axis, part.split(","))
    first, last, step = numbers.groups()
    if int(last) < int(first):
        raise ValueError(f"has the block <{part}>, which ends before it begins")
    values = range(int(first), int(last) + 1, int(step or 1))
    image_sequence.check_count(len(values), len(last))
    width = len(first) if len(first) == len(last) else 0
    return _Block(axis, [str(value).rjust(width, "0") for value in values])


def _sequences(name: str, pattern: _Pattern, files: Files) -> list[Sequence]:
    """Return an image for each value of the blocks of axis S."""
    axes = _axes(pattern, files)
    sizes = [len(block.values) for block in pattern.blocks]

    def place(indices: tuple[int, ...], letter: str) -> int:
        """Return the place on an axis; of two blocks of one axis the last one goes fastest."""
        found = 0
        for axis, index, size in zip(axes, indices, sizes, strict=True):
            found = found * size + index if axis == letter else found
        return found

    grids: dict[int, dict[Place, str]] = {}
    for indices in pattern.places():
        grid = grids.setdefault(place(indices, "S"), {})
        grid[Place(*(place(indices, letter) for letter in "ZCT"))] = pattern.name(indices)
    size = Place(
        *(math.prod(size for axis, size in zip(axes, sizes, strict=True) if axis == letter) for letter in "ZCT")
    )
    words = [block.values for block, axis in zip(pattern.blocks, axes, strict=True) if axis == "C"]
    named = len(words) == 1 and not words[0][0].isdecimal()
    channels = tuple(Channel(name=word) for word in words[0]) if named else ()
    return [Sequence(label(name, number, len(grids)), grid, size, channels) for number, grid in grids.items()]


def _axes(pattern: _Pattern, files: Files) -> list[str]:
    """Return the axis of each block; the labels come first."""
    used = {block.axis for block in pattern.blocks if block.axis}
    if len(used) < len(pattern.blocks):
        used |= image_sequence.axes_within(pattern.name(next(pattern.places())), files)
    axes = []
    for block in pattern.blocks:
        order = "ZTC" if block.values[0].isdecimal() else "CZT"
        axis = block.axis or next((axis for axis in order if axis not in used), "T")
        used.add(axis)
        axes.append(axis)
    return axes
