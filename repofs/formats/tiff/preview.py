"""Every n-th sample of one plane of a TIFF: from its smallest sufficient resolution, block by block.

A *block* is a strip or a tile. Of one without compression only the samples wanted are read; of compressed ones those
that hold a wanted sample are decoded, one after the other, and where these would be too many, fewer of them: every
n-th block then gives the samples of its neighbours too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy
import tifffile

from repofs.formats import sampling
from repofs.image import ImageInfo

MAX_CHANNELS = 64  # of one picture
MAX_BLOCK_BYTES = 256 << 20  # of one block, decoded
MAX_DECODED_BYTES = 512 << 20  # of all blocks that are decoded for one picture
_AT_ONCE_BYTES = 64 << 10  # samples that are farther apart are read by themselves


@dataclass(frozen=True, slots=True)
class Plane:
    """Where the pixels of one plane lie: in blocks as *page* says, at *offsets*, each of so many stored bytes."""

    page: tifffile.TiffPage
    offsets: Sequence[int]
    counts: Sequence[int]
    jpeg_tables: bytes | None = None

    @classmethod
    def of(cls, page: tifffile.TiffPage | tifffile.TiffFrame, shift: int = 0) -> Plane:
        """Return the plane of *page*, or that which lies *shift* bytes behind it and has no page of its own."""
        if page.keyframe is None or page.keyframe.dtype is None:
            raise ValueError("a page of it does not say how its pixels are stored")
        offsets = [offset + shift for offset in page.dataoffsets] if shift else page.dataoffsets
        return cls(page.keyframe, offsets, page.databytecounts, page.jpegtables)

    @property
    def long_side(self) -> int:
        """Pixels of the longer side."""
        return max(self.page.imagewidth, self.page.imagelength)

    @property
    def dtype(self) -> numpy.dtype:
        """The type of its samples, in this machine's byte order."""
        return numpy.dtype(self.page.dtype)

    @property
    def file(self) -> tifffile.FileHandle:
        """The file that it lies in."""
        return self.page.parent.filehandle

    @property
    def in_file(self) -> bool:
        """Whether all its blocks lie within the file."""
        ends = map(sum, zip(self.offsets, self.counts, strict=False))
        return max(ends, default=math.inf) <= self.file.size


def joined(middle: Iterable[Sequence[Plane]], image: ImageInfo, pixels: int) -> numpy.ndarray:
    """Return samples (C, Y, X) of planes, each given in all its resolutions, one a channel; of an RGB one, three.

    Of more than MAX_CHANNELS, the first are taken.
    """
    planes = (smallest(levels, pixels) for levels in itertools.islice(middle, MAX_CHANNELS))
    budget = MAX_DECODED_BYTES // (1 if image.rgb else min(image.size_c, MAX_CHANNELS))
    samples = numpy.concatenate([sampled(plane, pixels, budget) for plane in planes])
    return samples[:3] if image.rgb else samples


def smallest(levels: Sequence[Plane], pixels: int) -> Plane:
    """Return the smallest of the resolutions *levels* that has *pixels* on its longer side, else the first.

    One whose blocks are not all in the file does not count.
    """
    enough = [level for level in levels[1:] if level.long_side >= pixels and level.in_file]
    return min(enough, key=lambda level: level.long_side, default=levels[0])


def sampled(plane: Plane, pixels: int, budget: int) -> numpy.ndarray:
    """Return samples (S, Y, X) of *plane*, about *pixels* on the longer side, fewer than twice as many.

    *budget* is how many bytes may be decoded for it, but for one block. Raises ValueError for pixels that cannot be had
    in parts.
    """
    separate, depth, length, width, together = plane.page.shaped
    step = sampling.step((length, width), pixels)
    grid = _Grid.of(plane)
    rows, columns = grid.thinned(numpy.arange(0, length, step), numpy.arange(0, width, step), budget // separate)
    samples = numpy.zeros((separate, together, len(rows), len(columns)), plane.dtype)
    for sample in range(separate):
        for block, here, there in grid.blocks(rows, columns, sample, depth // 2):
            taken = _taken(plane, grid, block, rows[here] % grid.length, columns[there] % grid.width)
            if taken is not None:  # GDAL leaves out blocks of zeros
                samples[sample, :, here, there] = taken.transpose(2, 0, 1)
    return samples.reshape(-1, len(rows), len(columns))


class _Grid(NamedTuple):
    """How blocks of *length* x *width* pixels lie in a page: *down* x *across* of them, in *layers* of *depth*."""

    length: int
    width: int
    depth: int
    down: int
    across: int
    layers: int
    nbytes: int  # of one block, decoded
    raw: bool  # its bytes are the samples

    @classmethod
    def of(cls, plane: Plane) -> _Grid:
        page = plane.page
        _, depth, length, width, together = page.shaped
        if page.is_tiled:
            block = max(1, page.tilelength), max(1, page.tilewidth), max(1, page.tiledepth)
        else:
            block = min(length, max(1, page.rowsperstrip)), width, 1
        counts = (-(-length // block[0]), -(-width // block[1]), -(-depth // block[2]))
        if page.is_subsampled and page.compression not in (6, 7):
            raise ValueError(
                "its colours are stored with fewer samples than its brightness, which tifffile cannot read"
            )
        raw = (
            page.compression == 1 and page.predictor == 1 and page.fillorder == 1 and page.sampleformat != 5
            and page.bitspersample == plane.dtype.itemsize * 8
        )  # fmt: skip
        return cls(*block, *counts, math.prod(block) * together * plane.dtype.itemsize, raw)

    def thinned(self, rows: numpy.ndarray, columns: numpy.ndarray, budget: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return *rows* and *columns*, moved to every n-th block where more than *budget* bytes were to be decoded."""
        if self.raw:
            return rows, columns
        if self.nbytes > MAX_BLOCK_BYTES:
            raise ValueError(f"its blocks of {self.nbytes >> 20} MiB are too large to be decoded for a picture")
        wanted = len(_runs(rows // self.length)) * len(_runs(columns // self.width))
        times = wanted * self.nbytes / budget
        down = max(1, math.ceil(math.sqrt(times) if self.across > 1 else times))
        across = max(1, math.ceil(times / down))
        return (
            rows - rows // self.length % down * self.length,
            columns - columns // self.width % across * self.width,
        )

    def blocks(
        self, rows: numpy.ndarray, columns: numpy.ndarray, sample: int, layer: int
    ) -> Iterator[tuple[int, slice, slice]]:
        """Yield the number of each block that is needed and which of *rows* and *columns* lie in it."""
        first = (sample * self.layers + layer // self.depth) * self.down
        for down, here in _runs(rows // self.length):
            for across, there in _runs(columns // self.width):
                yield (first + down) * self.across + across, here, there


def _runs(numbers: numpy.ndarray) -> list[tuple[int, slice]]:
    """Return each number of the ascending *numbers*, and where it stands."""
    values, starts = numpy.unique(numbers, return_index=True)
    return [
        (int(value), slice(start, stop))
        for value, start, stop in zip(values, starts, [*starts[1:], len(numbers)], strict=True)
    ]


def _taken(plane: Plane, grid: _Grid, block: int, rows: numpy.ndarray, columns: numpy.ndarray) -> numpy.ndarray | None:
    """Return the samples (Y, X, S) at *rows* and *columns* of one block; None when it is left out."""
    offset, nbytes = plane.offsets[block], plane.counts[block]
    if not nbytes:
        return None
    if grid.raw:
        return _Raw(plane, grid.width, offset).taken(rows, columns)
    if nbytes > MAX_BLOCK_BYTES:
        raise ValueError(f"a block of it is stored in {nbytes >> 20} MiB, too many for a picture")
    decode = plane.page.decode  # looks into the file when it is made
    plane.file.seek(offset)
    tables = {"jpegtables": plane.jpeg_tables, "jpegheader": plane.page.jpegheader}
    layer = numpy.asarray(decode(plane.file.read(nbytes), block, **tables)[0])[0]
    taken: numpy.ndarray = layer[numpy.minimum(rows, len(layer) - 1)][:, columns]
    return taken


class _Raw:
    """A block that lies in the file as it is, *width* pixels wide, from *offset* on."""

    def __init__(self, plane: Plane, width: int, offset: int) -> None:
        page = plane.page
        self._file = plane.file
        self._type = plane.dtype.newbyteorder(page.parent.byteorder)
        self._samples = page.shaped[-1]
        self._width, self._offset = width, offset

    def taken(self, rows: numpy.ndarray, columns: numpy.ndarray) -> numpy.ndarray:
        """Return the samples (Y, X, S) at *rows* and *columns*. Raises ValueError when they are not in the file."""
        places = rows[:, None] * self._width + columns
        first, count = int(places[0, 0]), int(places[-1, -1] - places[0, 0]) + 1
        nbytes = self._samples * self._type.itemsize
        if count * nbytes > _AT_ONCE_BYTES and len(rows) > 1:
            return numpy.concatenate([self.taken(rows[n : n + 1], columns) for n in range(len(rows))])
        if count * nbytes > _AT_ONCE_BYTES and len(columns) > 1:
            return numpy.concatenate([self.taken(rows, columns[n : n + 1]) for n in range(len(columns))], axis=1)
        self._file.seek(self._offset + first * nbytes)
        run = numpy.frombuffer(self._file.read(count * nbytes), self._type).reshape(count, self._samples)
        return numpy.asarray(run[places - first])
