"""An array that lies in a file as it lies in memory, sample after sample: what of it is there, and a small picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy

from repofs.formats import sampling
from repofs.formats.pixel_types import pixel_type
from repofs.formats.values import possible
from repofs.image import ImageInfo


@dataclass(frozen=True, slots=True)
class RawArray:
    """Samples of *dtype* from the byte *offset* on. *sizes* has X, Y, Z, C, T, the fastest first; one left out is 1."""

    offset: int
    dtype: numpy.dtype
    sizes: dict[str, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", self.sizes | {axis: 1 for axis in "XYZCT" if axis not in self.sizes})

    def image(self, name: str) -> ImageInfo:
        """Return what is known of it as the only image of a file *name*."""
        return ImageInfo(
            name=name,
            series=0,
            size_x=self.sizes["X"],
            size_y=self.sizes["Y"],
            size_z=self.sizes["Z"],
            size_c=self.sizes["C"],
            size_t=self.sizes["T"],
            pixel_type=pixel_type(self.dtype) or "",
            big_endian=self.dtype.str.startswith(">"),
        )

    @property
    def possible(self) -> bool:
        """Whether every size is one that an image can have."""
        return possible(*self.sizes.values())

    @property
    def nbytes(self) -> int:
        return math.prod(self.sizes.values()) * self.dtype.itemsize

    def following(self, number: int, stride: int | None = None) -> RawArray:
        """Return the array like this one that comes *number* later, each *stride* bytes after another, or at once."""
        return replace(self, offset=self.offset + number * (self.nbytes if stride is None else stride))

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
        every = sampling.step((self.sizes["X"], self.sizes["Y"]), pixels)
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
