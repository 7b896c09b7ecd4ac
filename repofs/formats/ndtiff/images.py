"""The images of an NDTiff: frames put in order by their axes, and held against the stacks that they lie in."""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy
import tifffile

from repofs.formats import image_sequence, sampling
from repofs.formats.image_sequence import MAX_IMAGES, MAX_SHOWN, Place
from repofs.formats.ndtiff import index as ndtiff_index
from repofs.formats.ndtiff.index import Frame
from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.outcome import recognised
from repofs.formats.raw_array import RawArray
from repofs.formats.reader import Files
from repofs.formats.tiff import layout as tiff_layout
from repofs.formats.values import is_below, moment, positive
from repofs.image import Channel, ImageInfo, Recognised

MAX_METADATA = 1 << 20  # bytes that are looked at of what is said of one frame, or of all

_MAGIC = 483729  # behind the header of the TIFF, since NDTiff 2

Value = int | str


@dataclass(frozen=True, slots=True)
class _Stack:
    """One TIFF that is there."""

    nbytes: int
    big_endian: bool


@dataclass(frozen=True, slots=True)
class _Image:
    """The frames of one image that are whole, all of one kind, by their place."""

    name: str
    frames: dict[Place, Frame]
    size: Place
    channels: list[Value]


def is_stack(head: bytes) -> bool:
    """Return whether *head* begins as a TIFF of NDTiff 2 or later does."""
    return tiff_layout.is_tiff(head) and int.from_bytes(head[8:12], "big" if head[:1] == b"M" else "little") == _MAGIC


def read(name: str, files: Files) -> Recognised:
    """Return what the index *name* and the stacks beside it hold."""
    images, stacks, faults = _images(name, files)
    metadata = OriginalMetadata()
    found: list[ImageInfo] = []
    for series, image in enumerate(images):
        if not image.frames:
            faults.append(f"no frame of {image.name} is whole")
            continue
        first = image.frames[min(image.frames)]
        own, summary = _said(first, files)
        if not found:
            metadata.add("Summary", summary)
            metadata.add("", own)
        found.append(_info(image, series, own, summary, big_endian=stacks[first.file].big_endian))
        if len(image.frames) < math.prod(image.size):
            faults.append(f"{len(image.frames)} of {math.prod(image.size)} frames of {image.name} are there")
    return recognised("NDTiff", found, faults, metadata)


def preview(name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
    """Return samples (C, Y, X) of the frames nearest to the middle. Raises LookupError when there are none."""
    images, stacks, _ = _images(name, files)
    image = images[series]
    if not image.frames:
        raise LookupError(f"no frame of {image.name} is whole")
    some = next(iter(image.frames.values()))
    every = sampling.step((some.width, some.height), pixels)
    samples = 3 if some.rgb else 1
    dark = numpy.zeros((samples, -(-some.height // every), -(-some.width // every)), some.pixel_type)
    planes = []
    for channel in range(min(image.size.c, MAX_SHOWN)):
        frame = _middle(image, channel)
        if frame is None:
            planes.append(dark)
        else:
            with files.open(frame.file) as file:
                planes.append(_array(frame, stacks[frame.file]).picture(file, pixels))
    return numpy.concatenate(planes)


def _images(name: str, files: Files) -> tuple[list[_Image], dict[str, _Stack], list[str]]:
    """Return the images of the index, the stacks that are there, and what is wrong."""
    with files.open(name) as file:
        frames, fault = ndtiff_index.read(file)
    faults = [fault] if fault else []
    named = dict.fromkeys(frame.file for frame in frames)
    below = [stack for stack in named if is_below(stack)]
    outside = next((stack for stack in named if not is_below(stack)), None)
    if outside is not None:
        faults.append(f"it names {text(outside, 64)}, which is no file below its directory")
    stacks = _stacks(set(below), files)
    missing = image_sequence.missing([stack for stack in below if stack not in stacks], len(named))
    faults += [missing] if missing else []
    groups: dict[tuple[tuple[str, Value], ...], list[Frame]] = {}
    for frame in frames:
        others = sorted((axis, value) for axis, value in frame.axes.items() if axis not in ("z", "channel", "time"))
        groups.setdefault(tuple(others), []).append(frame)
    if len(groups) > MAX_IMAGES:
        faults.append(f"it has {len(groups)} positions, {MAX_IMAGES} are taken")
    title = next(iter(named), name).split("_NDTiffStack")[0]
    images = []
    for position, group in list(groups.items())[:MAX_IMAGES]:
        where = ", ".join(str(value) for _, value in position)
        images.append(_image(title if len(groups) == 1 else f"{title} [{where}]", group, stacks))
    return images, stacks, faults


def _stacks(names: set[str], files: Files) -> dict[str, _Stack]:
    """Return those of *names* that are there."""
    stacks = {}
    for name in image_sequence.there(names, files):
        with files.open(name) as file:
            big_endian = file.read(2) == b"MM"
            stacks[name] = _Stack(file.seek(0, os.SEEK_END), big_endian)
    return stacks


def _image(name: str, group: list[Frame], stacks: dict[str, _Stack]) -> _Image:
    """Return the image of the frames *group*. Where the index names a place again, the later one counts."""
    z, c, t = (_values(frame.axes.get(axis, 0) for frame in group) for axis in ("z", "channel", "time"))
    whole = [frame for frame in group if frame.file in stacks and frame.end <= stacks[frame.file].nbytes]
    kinds = Counter((frame.width, frame.height, frame.kind) for frame in whole)
    kind = kinds.most_common(1)[0][0] if kinds else None
    frames = {
        Place(z[frame.axes.get("z", 0)], c[frame.axes.get("channel", 0)], t[frame.axes.get("time", 0)]): frame
        for frame in whole
        if (frame.width, frame.height, frame.kind) == kind
    }
    return _Image(name, frames, Place(len(z), len(c), len(t)), list(c))


def _values(values: Iterable[Value]) -> dict[Value, int]:
    """Return the place of each of *values* on their axis: numbers by their size, words as they come."""
    distinct = list(dict.fromkeys(values))
    if all(isinstance(value, int) for value in distinct):
        distinct.sort()
    return {value: place for place, value in enumerate(distinct)}


def _info(
    image: _Image, series: int, frame_metadata: dict[str, Any], summary: dict[str, Any], *, big_endian: bool
) -> ImageInfo:
    frame = next(iter(image.frames.values()))
    pixel = positive(frame_metadata.get("PixelSizeUm")) or positive(summary.get("PixelSize_um"))
    named = any(isinstance(value, str) for value in image.channels)
    return ImageInfo(
        name=image.name,
        series=series,
        size_x=frame.width,
        size_y=frame.height,
        size_z=image.size.z,
        size_c=image.size.c * (3 if frame.rgb else 1),
        size_t=image.size.t,
        pixel_type=frame.pixel_type,
        rgb=frame.rgb and image.size.c == 1,
        big_endian=big_endian,
        physical_size_x_um=pixel,
        physical_size_y_um=pixel,
        physical_size_z_um=positive(summary.get("z-step_um")),
        time_increment_s=positive(summary.get("Interval_ms"), 1e-3),
        acquired=_began(summary.get("DateAndTime")) or _began(frame_metadata.get("Time")),
        channels=tuple(Channel(name=text(value, 256)) for value in image.channels) if named and not frame.rgb else (),
    )


def _said(frame: Frame, files: Files) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the stack of *frame* says of that frame, and of all frames."""
    with files.open(frame.file) as file:
        head = io.BytesIO(file.read(MAX_METADATA))  # a length in the file cannot ask for more
        file.seek(max(0, frame.metadata_offset))
        own = file.read(min(max(0, frame.metadata_bytes), MAX_METADATA))
    try:
        said = json.loads(own)
    except (ValueError, RecursionError):
        said = None
    try:
        summary = tifffile.read_micromanager_metadata(tifffile.FileHandle(head), {"Summary"}).get("Summary")
    except (ValueError, RecursionError):
        summary = None
    return (said if isinstance(said, dict) else {}), (summary if isinstance(summary, dict) else {})


def _began(value: object) -> str | None:
    """Return ISO 8601 of "2022/08/21 13:21:40", or of "2022-08-21 13:21:41 -", where the zone was left out."""
    return moment(str(value)[:19], "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


def _middle(image: _Image, channel: int) -> Frame | None:
    """Return the frame of *channel* that is nearest to the middle of Z and T."""
    z, t = image.size.z // 2, image.size.t // 2
    places = [place for place in image.frames if place.c == channel]
    nearest = min(places, key=lambda place: (abs(place.t - t), abs(place.z - z)), default=None)
    return None if nearest is None else image.frames[nearest]


def _array(frame: Frame, stack: _Stack) -> RawArray:
    """Return the samples of *frame*, which are not compressed."""
    dtype = numpy.dtype(frame.pixel_type).newbyteorder(">" if stack.big_endian else "<")
    return RawArray(frame.offset, dtype, {"C": 3 if frame.rgb else 1, "X": frame.width, "Y": frame.height})
