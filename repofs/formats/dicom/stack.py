"""Instances of a DICOM series that are planes of one image: in which order they lie, along Z, C and T."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy

from repofs.formats.dicom import pixels as dicom_pixels
from repofs.formats.dicom.header import Header
from repofs.formats.dicom.instance import Instance
from repofs.formats.values import positive
from repofs.image import Channel, ImageInfo

Opened = Callable[[str], AbstractContextManager[Header]]

_EVEN = 0.02  # distances of slices that differ by less than this part are one


@dataclass(frozen=True, slots=True)
class Stack:
    """One image. *planes* are instance and frame in the order T, C, Z."""

    planes: tuple[tuple[Instance, int], ...]
    size_z: int
    size_c: int = 1
    size_t: int = 1
    z_mm: float | None = None
    note: str | None = None

    def info(self, name: str, series: int) -> ImageInfo:
        first = self.planes[0][0]
        y_mm, x_mm = first.spacing or (None, None)
        echoes = [self.planes[number * self.size_z][0].echo[0] for number in range(self.size_c)]
        return ImageInfo(
            name=name,
            series=series,
            size_x=first.columns,
            size_y=first.rows,
            size_z=self.size_z,
            size_c=self.size_c * first.samples,
            size_t=self.size_t,
            pixel_type=first.pixel_type,
            rgb=first.samples > 1,
            big_endian=first.big_endian,
            physical_size_x_um=positive(x_mm, 1e3),
            physical_size_y_um=positive(y_mm, 1e3),
            physical_size_z_um=positive(self.z_mm, 1e3),
            time_increment_s=first.time_increment_s if self.size_t > 1 else None,
            acquired=min((plane.acquired for plane, _ in self.planes if plane.acquired), default=None),
            channels=tuple(Channel(name=f"TE {echo:g} ms") for echo in echoes) if len(set(echoes)) > 1 else (),
            instrument=first.instrument,
        )

    def preview(self, opened: Opened, pixels: int) -> numpy.ndarray:
        """Return (C, Y, X) of the middle plane. Raises Fault, and OSError of *opened*."""
        found = []
        for c in range(self.size_c):
            instance, frame = self.planes[(self.size_t // 2 * self.size_c + c) * self.size_z + self.size_z // 2]
            with opened(instance.name) as header:
                found.append(dicom_pixels.frame(header, instance, frame, pixels))
        return numpy.concatenate(found)


def stacks(instances: Iterable[Instance]) -> list[Stack]:
    """Return the images that *instances* form: each file of many frames is one, and all alike of one frame are one."""
    alike: dict[object, list[Instance]] = defaultdict(list)
    for instance in sorted(instances, key=lambda one: (one.number, one.name)):
        direction = tuple(round(cosine, 2) + 0.0 for cosine in instance.orientation)
        shape = (instance.columns, instance.rows, instance.samples, instance.pixel_type, direction)
        alike[instance.name if instance.declared_frames > 1 else shape].append(instance)
    return [_stack(group) if group[0].declared_frames == 1 else _frames(group[0]) for group in alike.values()]


def _frames(instance: Instance) -> Stack:
    planes = tuple((instance, frame) for frame in range(instance.frames))
    return Stack(planes, instance.frames, z_mm=instance.slice_distance)


def _stack(instances: list[Instance]) -> Stack:
    """Return the image of *instances* of one frame, which are in order of their number."""
    heights = sorted({height for one in instances if (height := one.height) is not None})
    kinds = sorted({(one.echo, one.kind) for one in instances}) if instances[0].samples == 1 else []
    if any(one.height is None for one in instances) or len(heights) == 1 == len(instances):
        return Stack(tuple((one, 0) for one in instances), len(instances))
    for channels in (kinds, [None]):
        places: dict[tuple[object, float | None], list[Instance]] = defaultdict(list)
        for one in instances:
            places[(one.echo, one.kind) if channels is kinds else None, one.height].append(one)
        times = len(instances) // max(1, len(heights) * len(channels))
        cells = [places.get((channel, height), []) for channel in channels for height in heights]
        if cells and all(len(cell) == times for cell in cells):
            planes = tuple((cell[time], 0) for time in range(times) for cell in cells)
            return Stack(planes, len(heights), len(channels), times, _distance(heights))
    note = f"its {len(instances)} slices at {len(heights)} places are no whole number of stacks: all are planes of Z"
    return Stack(tuple((one, 0) for one in instances), len(instances), z_mm=None, note=note)


def _distance(heights: list[float]) -> float | None:
    """Return the distance of neighbouring slices in mm, None when it is not the same everywhere."""
    steps = numpy.diff(heights)
    if not len(steps) or steps.max() - steps.min() > _EVEN * numpy.median(steps):
        return None
    return float(numpy.mean(steps))
