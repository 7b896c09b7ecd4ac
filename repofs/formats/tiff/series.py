"""The images of a TIFF without OME-XML: the series that tifffile makes of its pages, held against what is there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy
import tifffile

from repofs.formats.original_metadata import text
from repofs.formats.outcome import label
from repofs.formats.pixel_types import pixel_type
from repofs.formats.tiff import dialects as tiff_dialects
from repofs.formats.tiff.layout import Layout
from repofs.formats.tiff.preview import Plane
from repofs.formats.values import possible
from repofs.image import ImageInfo


@dataclass(frozen=True, slots=True)
class Stack:
    """One image and the series that holds it. Of its planes the first *planes* are there."""

    info: ImageInfo
    series: tifffile.TiffPageSeries
    layout: Layout
    planes: int
    whole: bool  # these are all

    def middle(self) -> Iterator[list[Plane]]:
        """Yield, for each channel, the plane in the middle of Z and T in all its resolutions."""
        for number in self._middle_numbers():
            nearest = _nearest_whole(self.series, number, self.planes, self.layout)
            yield [_plane(level, nearest) for level in self.series.levels]

    def _middle_numbers(self) -> Iterator[int]:
        if not self.whole:
            yield self.planes // 2
            return
        shape = list(self.series.get_shape(False))
        while math.prod(shape) > self.planes:  # the last axes are those within a page
            shape.pop()
        axes = self.series.get_axes(False)
        ranges = [range(n) if axis == "C" else (n // 2,) for axis, n in zip(axes, shape, strict=False)]
        for place in itertools.product(*ranges):
            yield int(numpy.ravel_multi_index(place, shape)) if place else 0


def stacks(tiff: tifffile.TiffFile, layout: Layout, name: str) -> tuple[list[Stack], str | None]:
    """Return the images that have a whole plane, and what is missing or None."""
    fault = None
    found: list[Stack] = []
    all_series = [series for series in tiff.series if not _is_thumbnail(series, tiff)]
    # tifffile's own header says the shape of a series; where it is not true, the series falls back to one page.
    headers = [tuple(header["shape"]) for header in tiff.shaped_metadata or ()]
    for number, series in enumerate(all_series):
        declared_shape = headers.pop(0) if series.kind == "shaped" and headers else ()
        shape = max(series.get_shape(False), declared_shape, key=math.prod)
        planes = math.prod(shape) // max(1, math.prod(series.keyframe.shape))
        there = _planes_there(series, planes, tiff, layout)
        if there < planes:
            fault = f"its header declares {planes} planes, {there} are there"
        kind = pixel_type(series.dtype)
        if kind is None:
            fault = f"pixels of type {series.dtype} are not known to OMERO"
        elif there > 0 and _any_whole(series, layout):
            sizes = _sizes(series) if there == planes else {"Z": there, "C": 1, "T": 1}
            said, doubt = tiff_dialects.details(tiff, series, sizes["C"])
            fault = fault or doubt
            shown = text(series.name, 1024) or label(name, number, len(all_series))
            info = replace(_image(tiff, series, sizes, kind, shown, len(found)), **said)
            if possible(*sizes.values()):
                found.append(Stack(info, series, layout, there, whole=there == planes))
    for kind in ("imagej", "shaped"):
        if fault is None and getattr(tiff, f"is_{kind}") and all(series.kind != kind for series in all_series):
            fault = "its header declares other planes than are there"
    return found, fault


def _is_thumbnail(series: tifffile.TiffPageSeries, tiff: tifffile.TiffFile) -> bool:
    return series.kind in ("generic", "lsm") and bool(series.keyframe.is_reduced) and series is not tiff.series[0]


def _planes_there(series: tifffile.TiffPageSeries, declared: int, tiff: tifffile.TiffFile, layout: Layout) -> int:
    """Return how many of the *declared* planes the file has room for, as pages or as bytes behind the first page."""
    if series.dataoffset is not None:
        room = tiff.filehandle.size - series.dataoffset
        return max(0, min(declared, room // max(1, series.keyframe.nbytes)))
    return min(declared, len(layout.pages))


def _any_whole(series: tifffile.TiffPageSeries, layout: Layout) -> bool:
    many = len(series) > len(layout.pages)  # one page stands for planes that follow it without pages of their own
    return any(_is_whole(page, layout) for page in ([series.keyframe] if many else series))


def _is_whole(page: tifffile.TiffPage | tifffile.TiffFrame | None, layout: Layout) -> bool:
    if page is None:
        return False
    index = page.index if isinstance(page.index, int) else page.index[0]
    return index < len(layout.pages) and layout.pages[index].pixels_whole


def _nearest_whole(series: tifffile.TiffPageSeries, number: int, planes: int, layout: Layout) -> int:
    """Return the plane nearest to plane *number* whose pixels are all in the file."""
    if layout.note is None or series.dataoffset is not None:
        return number
    numbers = sorted(range(planes), key=lambda other: abs(other - number))
    return next((other for other in numbers if _is_whole(series[other], layout)), number)


def _plane(series: tifffile.TiffPageSeries, number: int) -> Plane:
    """Return plane *number*. Raises ValueError when it has no page."""
    if series.dataoffset is not None:
        return Plane.of(series.keyframe, number * series.keyframe.nbytes)
    page = series[number]
    if page is None:
        raise ValueError(f"its plane {number} is not in the file")
    return Plane.of(page)


def _sizes(series: tifffile.TiffPageSeries) -> dict[str, int]:
    """Return sizes of Z, C and T: colour samples count as C, an axis that we have no letter for as Z."""
    sizes = {"Z": 1, "C": 1, "T": 1}
    for axis, length in zip(series.get_axes(False), series.get_shape(False), strict=True):
        if axis not in "XY":
            sizes["C" if axis == "S" else axis if axis in sizes else "Z"] *= int(length)
    return sizes


def _image(
    tiff: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    sizes: dict[str, int],
    kind: str,
    name: str,
    number: int,
) -> ImageInfo:
    page = series.keyframe
    samples = page.samplesperpixel if page.photometric in (2, 6) else 1  # RGB, YCbCr
    return ImageInfo(
        name=name,
        series=number,
        size_x=page.imagewidth,
        size_y=page.imagelength,
        size_z=sizes["Z"],
        size_c=sizes["C"] if sizes["C"] > 1 else samples,
        size_t=sizes["T"],
        pixel_type=kind,
        rgb=samples > 1,
        big_endian=tiff.byteorder == ">",
    )
