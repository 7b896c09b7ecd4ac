"""Where the planes of an OME-TIFF lie: the TiffData of one image, counted out into pages of files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from repofs.formats.ome_xml import OmeImage, Planes
from repofs.formats.tiff.layout import Layout
from repofs.formats.values import MAX_SIZE

MAX_PLACES = 1_000_000


class Part(NamedTuple):
    """What one file has of an image. *layout* is None when the file is not there."""

    file: str
    planes: list[Planes]
    layout: Layout | None

    @property
    def pages_there(self) -> int:
        """How many pages the file has."""
        return 0 if self.layout is None else len(self.layout.pages)

    def is_whole(self, page: int) -> bool:
        """Whether all pixels of *page* are in the file."""
        return self.layout is not None and page < self.pages_there and self.layout.pages[page].pixels_whole


class Place(NamedTuple):
    """One plane that is there: its position in the image, and where it lies."""

    z: int
    c: int
    t: int
    file: str
    layout: Layout  # of that file
    page: int


def channels(image: OmeImage) -> int:
    """Return how many planes the channels of one Z and T take: the samples of an RGB channel share one."""
    if image.channels and image.samples == image.size["C"]:
        return len(image.channels) if image.rgb else image.size["C"]
    return image.size["C"]


def pages(part: Part, declared: int) -> tuple[range, int]:
    """Return the pages from the first to the last that hold planes, and how many planes they are said to hold."""
    if not part.planes:
        count = min(declared, part.pages_there)
        return range(count), count
    first, stop, counted = MAX_SIZE, 0, 0
    for one in part.planes:
        page, count = one.page or 0, _count(one, min(declared, part.pages_there))
        first, stop, counted = min(first, page), max(stop, page + count), counted + count
    return range(first, stop), counted


def extent(planes: list[Planes], image: OmeImage) -> dict[str, int]:
    """Return sizes in Z, C, T of what lies in this file: the distinct positions that its TiffData names."""
    if all(one.count in (None, 1) for one in planes):
        c = len({one.c for one in planes})
        return {"Z": len({one.z for one in planes}), "C": image.size["C"] if image.rgb else c,
                "T": len({one.t for one in planes})}  # fmt: skip
    return {}


def places(image: OmeImage, parts: list[Part]) -> Iterator[Place]:
    """Yield the whole planes of *image*, MAX_PLACES at most, in the order of its TiffData."""
    sizes = {"Z": image.size["Z"], "C": channels(image), "T": image.size["T"]}
    order = [axis for axis in image.order if axis in sizes]
    declared = sizes["Z"] * sizes["C"] * sizes["T"]
    left = MAX_PLACES
    for part in parts:
        for one in part.planes or [Planes(None, None, 0, 0, 0)]:
            start = _number({"Z": one.z, "C": min(one.c, sizes["C"] - 1), "T": one.t}, order, sizes)
            first = one.page or 0
            count = min(_count(one, declared), part.pages_there - first, left)
            left -= max(0, count)
            for n in range(count):
                if part.layout is not None and part.is_whole(first + n):
                    at = _position(start + n, order, sizes)
                    yield Place(at["Z"], at["C"], at["T"], part.file, part.layout, first + n)


def _count(planes: Planes, all_pages: int) -> int:
    """Return how many planes a TiffData stands for: without IFD and PlaneCount for all pages, with an IFD for one."""
    if planes.count is not None:
        return planes.count
    return 1 if planes.page is not None else all_pages


def _number(at: dict[str, int], order: list[str], sizes: dict[str, int]) -> int:
    number = 0
    for axis in reversed(order):
        number = number * sizes[axis] + at[axis]
    return number


def _position(number: int, order: list[str], sizes: dict[str, int]) -> dict[str, int]:
    at = {}
    for axis in order:
        number, at[axis] = divmod(number, sizes[axis])
    return at
