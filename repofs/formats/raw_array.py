"""An array that lies in a file as it lies in memory, sample after sample: what of it is there, and a small picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import BinaryIO

import numpy

from repofs.formats.values import possible


def step(width: int, height: int, pixels: int) -> int:
    """Return every how many-th sample gives at least *pixels*, and fewer than twice as many, on the longer side."""
    return max(1, max(width, height) // pixels)


@dataclass(frozen=True, slots=True)
class RawArray:
    """Samples of *dtype* from the byte *offset* on. *sizes* has each of X, Y, Z, C, T once, the fastest first."""

    offset: int
    dtype: numpy.dtype
    sizes: dict[str, int]

    @property
    def possible(self) -> bool:
        """Whether every size is one that an image can have."""
        return possible(*self.sizes.values())

    @property
    def nbytes(self) -> int:
        return math.prod(self.sizes.values()) * self.dtype.itemsize

    def whole(self, room: int) -> RawArray | None:
        """Return the part of it that is whole when *room* bytes are there, None when not even one plane is.

        The slowest axis is cut to what is there; where not one of its entries is whole, the next one is.
        """
        sizes = dict(self.sizes)
        for axis in reversed(self.sizes):
            one = RawArray(self.offset, self.dtype, {**sizes, axis: 1}).nbytes
            there = min(sizes[axis], room // one)
            if there < sizes[axis] and axis in "XY":
                return None
            sizes[axis] = max(1, there)
            if there:
                break
        return RawArray(self.offset, self.dtype, sizes)

    def picture(self, file: BinaryIO, pixels: int) -> numpy.ndarray:
        """Return every n-th sample (C, Y, X) of the middle plane, about *pixels* on the longer side.

        Read in the order of the file, so that one that is unpacked on the way is read once. Raises EOFError.
        """
        stride = self._strides()
        inner, outer = sorted("XY", key=stride.__getitem__)
        every = step(self.sizes["X"], self.sizes["Y"], pixels)
        start = sum(self.sizes[axis] // 2 * stride[axis] for axis in "ZT")
        apart = stride["C"] > stride[outer]  # the channels are planes of their own
        together = 1 if apart else self.sizes["C"]
        planes = []
        for channel in range(self.sizes["C"] if apart else 1):
            first = start + channel * stride["C"]
            rows = (first + row * stride[outer] for row in range(0, self.sizes[outer], every))
            planes.append(numpy.stack([self._line(file, at, inner, every, together) for at in rows], axis=1))
        plane = numpy.concatenate(planes)  # channel, outer, inner
        return plane if outer == "Y" else plane.swapaxes(1, 2)

    def _strides(self) -> dict[str, int]:
        """Return how many samples lie between neighbours, by axis."""
        strides, samples = {}, 1
        for axis, size in self.sizes.items():
            strides[axis] = samples
            samples *= size
        return strides

    def _line(self, file: BinaryIO, at: int, axis: str, every: int, channels: int) -> numpy.ndarray:
        """Return every so-many-th sample along *axis*, from the sample *at* on, of each of *channels*: (C, axis)."""
        stride = self._strides()
        count = -(-self.sizes[axis] // every)
        samples = (count - 1) * every * stride[axis] + (channels - 1) * stride["C"] + 1
        file.seek(self.offset + at * self.dtype.itemsize)
        raw = file.read(samples * self.dtype.itemsize)
        if len(raw) < samples * self.dtype.itemsize:
            raise EOFError("the file ends within the middle plane")
        line = numpy.frombuffer(raw, self.dtype)
        steps = (stride["C"] * line.itemsize, every * stride[axis] * line.itemsize)
        return numpy.lib.stride_tricks.as_strided(line, (channels, count), steps, writeable=False)
