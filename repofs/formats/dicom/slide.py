"""Instances of a DICOM whole-slide series (PS3.3 A.32.8) that are resolutions of one image, each made of tiles."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy
from pydicom.dataset import Dataset

from repofs.formats import sampling
from repofs.formats.dicom import pixels as dicom_pixels
from repofs.formats.dicom.header import Header, numbers, text
from repofs.formats.dicom.instance import Instance, Slide, items
from repofs.formats.dicom.stack import Opened
from repofs.formats.outcome import Fault
from repofs.formats.pixel_types import dtype_of
from repofs.formats.values import positive
from repofs.image import ImageInfo

MAX_TILES = 4096  # that one picture is made of

_APART = ("LABEL", "OVERVIEW")  # of ImageType: pictures of something else than the specimen


@dataclass(frozen=True, slots=True)
class Pyramid:
    """One image. *levels* are its resolutions, the largest first, each in as many files as it is stored in."""

    levels: tuple[tuple[Instance, ...], ...]
    flavour: str | None = None  # "label", "overview"
    note: str | None = None

    def info(self, name: str, series: int) -> ImageInfo:
        first = self.levels[0][0]
        slide = _slide(first)
        y_mm, x_mm = first.spacing or (None, None)
        return ImageInfo(
            name=name,
            series=series,
            size_x=slide.columns,
            size_y=slide.rows,
            size_z=slide.focal_planes,
            size_c=slide.optical_paths * first.samples,
            size_t=1,
            pixel_type=first.pixel_type,
            rgb=first.samples > 1,
            big_endian=first.big_endian,
            physical_size_x_um=positive(x_mm, 1e3),
            physical_size_y_um=positive(y_mm, 1e3),
            physical_size_z_um=positive(first.slice_distance, 1e3) if slide.focal_planes > 1 else None,
            acquired=first.acquired,
            channels=slide.optics.channels if first.samples == 1 else (),
            instrument=first.instrument,
            magnification=slide.optics.magnification,
            numerical_aperture=slide.optics.numerical_aperture,
        )

    def preview(self, opened: Opened, pixels: int) -> numpy.ndarray:
        """Return (C, Y, X) of the middle focal plane, from the smallest resolution that is large enough.

        Where even that has more than MAX_TILES tiles, every n-th stands for its neighbours. Raises Fault, and
        OSError of *opened*.
        """
        large_enough = [level for level in self.levels if max(_size(level[0])) >= pixels]
        level = large_enough[-1] if large_enough else self.levels[0]
        slide = _slide(level[0])
        step = sampling.step((slide.columns, slide.rows), pixels)
        channels = slide.optical_paths * level[0].samples
        shape = channels, -(-slide.rows // step), -(-slide.columns // step)
        canvas = numpy.zeros(shape, dtype_of(level[0].pixel_type))
        for instance in level:
            with opened(instance.name) as header:
                _paint(canvas, header, instance, step)
        return canvas


def pyramids(instances: Iterable[Instance]) -> list[Pyramid]:
    """Return the images that *instances* of slide scanners form: the specimen first, then label and overview."""
    apart: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        apart[next((kind for kind in instance.kind if kind in _APART), "")].append(instance)
    found = []
    for flavour, group in sorted(apart.items()):
        levels: dict[tuple[int, int], list[Instance]] = defaultdict(list)
        for instance in sorted(group, key=lambda one: (_slide(one).first_frame, one.name)):
            levels[_size(instance)].append(instance)
        ordered = sorted(levels.values(), key=lambda level: math.prod(_size(level[0])), reverse=True)
        found.append(Pyramid(tuple(tuple(level) for level in ordered), flavour.lower() or None))
    return found


def _slide(instance: Instance) -> Slide:
    assert instance.slide is not None
    return instance.slide


def _size(instance: Instance) -> tuple[int, int]:
    return _slide(instance).columns, _slide(instance).rows


def _paint(canvas: numpy.ndarray, header: Header, instance: Instance, step: int) -> None:
    """Put every *step*-th pixel of the tiles of one file into *canvas*."""
    tiles = _tiles(header, instance)
    skip = math.isqrt(max(0, len(tiles) - 1) // MAX_TILES) + 1
    seen: dict[tuple[int, int, int], numpy.ndarray] = {}
    for (path, top, left), frame in sorted(tiles.items()):
        stands_for = path, top // instance.rows // skip, left // instance.columns // skip
        if stands_for not in seen:  # from the first of its pixels that is one of the canvas
            tile = dicom_pixels.frame(header, instance, frame, max(instance.rows, instance.columns))
            seen[stands_for] = tile[:, -top % step :: step, -left % step :: step].copy()
        tile = seen[stands_for]
        y, x, first = -(-top // step), -(-left // step), path * instance.samples
        place = canvas[first : first + instance.samples, y : y + tile.shape[1], x : x + tile.shape[2]]
        place[...] = tile[:, : place.shape[1], : place.shape[2]]


def _tiles(header: Header, instance: Instance) -> dict[tuple[int, int, int], int]:
    """Return the frame of each tile of the middle focal plane, by optical path, row and column of its first pixel."""
    groups = items(header.data, "PerFrameFunctionalGroupsSequence")
    if text(header.data, "DimensionOrganizationType") != "TILED_FULL" and len(groups) >= instance.frames:
        return _sparse(groups[: instance.frames])
    slide = _slide(instance)
    across, down = -(-slide.columns // instance.columns), -(-slide.rows // instance.rows)
    found = {}
    for path in range(slide.optical_paths):
        first = (path * slide.focal_planes + slide.focal_planes // 2) * across * down - slide.first_frame
        for tile in range(max(0, -first), min(across * down, instance.frames - first)):
            found[path, tile // across * instance.rows, tile % across * instance.columns] = first + tile
    return found


def _sparse(groups: Iterable[Dataset]) -> dict[tuple[int, int, int], int]:
    """Return the same of a file that says of each frame where it lies."""
    places = []
    for frame, group in enumerate(groups):
        position = next(iter(items(group, "PlanePositionSlideSequence")), Dataset())
        path = next(iter(items(group, "OpticalPathIdentificationSequence")), Dataset())
        top, left, z = (
            next(iter(numbers(position, keyword)), 0.0)
            for keyword in (
                "RowPositionInTotalImagePixelMatrix",
                "ColumnPositionInTotalImagePixelMatrix",
                "ZOffsetInSlideCoordinateSystem",
            )
        )
        if top < 1 or left < 1:
            raise Fault(f"frame {frame + 1} has no place on the slide")
        places.append((text(path, "OpticalPathIdentifier") or "", z, int(top) - 1, int(left) - 1, frame))
    focal = sorted({z for _, z, _, _, _ in places})
    paths = sorted({path for path, _, _, _, _ in places})
    middle = focal[len(focal) // 2]
    return {(paths.index(path), top, left): frame for path, z, top, left, frame in places if z == middle}
