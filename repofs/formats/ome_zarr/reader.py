"""OME-Zarr 0.1 to 0.5 in Zarr 2 and 3, through zarr: directories of arrays in several resolutions.

Read from metadata alone: a chunk that is not there is one of the fill value, by Zarr's rules, so that chunks tell
nothing of wholeness. An array that the metadata names and that is not there is told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from zarr import AsyncArray

from repofs.formats import sampling
from repofs.formats.ome_zarr import layout as ome_zarr_layout
from repofs.formats.ome_zarr.layout import Multiscale
from repofs.formats.ome_zarr.store import Hierarchy, is_zarr, samples
from repofs.formats.original_metadata import text
from repofs.formats.outcome import Fault, label, recognised
from repofs.formats.pixel_types import pixel_type
from repofs.formats.reader import Files
from repofs.formats.units import micrometres, seconds
from repofs.formats.values import possible
from repofs.image import Channel, ImageInfo, Members, Recognised

_OLD_AXES = "TCZYX"  # of 0.1 and 0.2, which do not name them
_TYPES = {"channel": "C", "time": "T"}  # of axes whose name is not one letter of these
_MOST_LEVELS = 64
_MOST_CHANNELS = 1000  # told apart by name and colour
_MOST_CHUNK_BYTES = 1 << 30
_PREVIEW_BYTES, _PREVIEW_CHUNKS = 1 << 30, 10_000  # unpacked for one picture


class OmeZarrReader:
    """Reads a directory that is an OME-Zarr; of another Zarr it says that it has no image."""

    name = "OME-Zarr"
    library = "zarr"
    suffixes = (".zarr",)

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        return name.endswith("/") and is_zarr(name, siblings)

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        hierarchy = Hierarchy(files, name)
        try:
            layout = ome_zarr_layout.find(hierarchy)
        except Fault as fault:
            return recognised("Zarr", (), [str(fault)])
        if not layout.known:
            return recognised("Zarr", (), [*layout.faults, "it names no image of OME-Zarr"], layout.original)
        images = []
        faults = layout.faults
        for series, image in enumerate(layout.images):
            own = label(name.strip("/").rpartition("/")[2], series, len(layout.images))
            try:
                images.append(_image(hierarchy, image, series, own))
            except Fault as fault:
                faults.append(str(fault))
            else:
                faults += _missing_levels(hierarchy, image)
        return recognised(self.name, images, faults, layout.original)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        hierarchy = Hierarchy(files, name)
        try:
            image = ome_zarr_layout.find(hierarchy).images[series]
        except IndexError as error:
            raise LookupError(f"it has no image {series}") from error
        array = _smallest_sufficient(hierarchy, image, pixels)
        return _middle_plane(array, _axes(image, array), pixels)


def _datasets(image: Multiscale) -> list[Mapping[str, Any]]:
    """Return what is said of each array, the largest first. Raises Fault when it names none."""
    told = image.multiscale.get("datasets")
    found = [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
    datasets = [one for one in found[:_MOST_LEVELS] if isinstance(one.get("path"), str)]
    if not datasets:
        raise Fault(f"the image {image.path or 'of the root'} names no array")
    return datasets


def _levels(image: Multiscale) -> list[str]:
    return [f"{image.path}/{dataset['path']}".lstrip("/") for dataset in _datasets(image)]


def _missing_levels(hierarchy: Hierarchy, image: Multiscale) -> list[str]:
    return [f"the array {path} is not there" for path in _levels(image)[1:] if not hierarchy.has_array(path)]


def _axes(image: Multiscale, array: AsyncArray[Any]) -> list[str]:
    """Return one of X, Y, Z, C, T for each axis of *array*, "" for one of another kind. Raises Fault."""
    told = image.multiscale.get("axes")
    if not isinstance(told, list):
        axes = list(_OLD_AXES[-len(array.shape) :])
    else:
        axes = []
        for axis in told:
            letter = _letter(axis)
            axes.append(letter if letter not in axes else "")
    if len(axes) != len(array.shape) or not {"X", "Y"} <= set(axes):
        raise Fault(f"the axes of {array.path} are not those of an image of {len(array.shape)} dimensions")
    return axes


def _letter(axis: object) -> str:
    """Return the letter of an axis: an object since 0.4, a name in 0.3."""
    name = axis.get("name") if isinstance(axis, Mapping) else axis
    kind = axis.get("type") if isinstance(axis, Mapping) else None
    letter = str(name).upper()
    return letter if letter in tuple(_OLD_AXES) else _TYPES.get(str(kind), "")


def _image(hierarchy: Hierarchy, image: Multiscale, series: int, own: str) -> ImageInfo:
    """Return the image as its largest array has it. Raises Fault."""
    array = hierarchy.array(_levels(image)[0])
    axes = _axes(image, array)
    kind = pixel_type(numpy.dtype(array.dtype))
    if kind is None:
        raise Fault(f"pixels of type {array.dtype} are not known to OMERO")
    sizes = {letter: array.shape[axes.index(letter)] if letter in axes else 1 for letter in _OLD_AXES}
    sizes["Z"] *= math.prod(size for size, letter in zip(array.shape, axes, strict=True) if not letter)
    if not possible(*sizes.values()):
        raise Fault(f"{' x '.join(map(str, array.shape))} pixels of {array.path} are not possible")
    xml = image.xml
    scale = _scale(image, axes)
    name = image.multiscale.get("name")
    return ImageInfo(
        name=(text(name, 1024) if isinstance(name, str) else "") or (xml.name if xml else None) or own,
        series=series,
        size_x=sizes["X"],
        size_y=sizes["Y"],
        size_z=sizes["Z"],
        size_c=sizes["C"],
        size_t=sizes["T"],
        pixel_type=kind,
        big_endian=numpy.dtype(array.dtype).byteorder == ">",
        physical_size_x_um=scale.get("X") or (xml.physical_um.get("X") if xml else None),
        physical_size_y_um=scale.get("Y") or (xml.physical_um.get("Y") if xml else None),
        physical_size_z_um=scale.get("Z") or (xml.physical_um.get("Z") if xml else None),
        time_increment_s=scale.get("T") or (xml.time_increment_s if xml else None),
        acquired=xml.acquired if xml else None,
        channels=_channels(image, sizes["C"]),
    )


def _scale(image: Multiscale, axes: Sequence[str]) -> dict[str, float | None]:
    """Return the size of a pixel in µm, and the time between two in s, by axis; only where the axis has a unit."""
    told = image.multiscale.get("axes")
    scales = [*_scales(_datasets(image)[0], len(axes)), *_scales(image.multiscale, len(axes))]
    if not isinstance(told, list) or not scales:
        return {}
    found = {}
    for letter, axis, factors in zip(axes, told, zip(*scales, strict=True), strict=True):
        unit = axis.get("unit") if isinstance(axis, Mapping) else None
        found[letter] = (seconds if letter == "T" else micrometres)(math.prod(factors), unit)
    return found


def _scales(place: Mapping[str, Any], count: int) -> list[list[float]]:
    """Return the factors of each scale among the transformations of *place*, *count* of them; NaN for what is none."""
    transformations = place.get("coordinateTransformations")
    transformations = transformations if isinstance(transformations, list) else []
    scales = [one.get("scale") for one in transformations if isinstance(one, Mapping) and one.get("type") == "scale"]
    return [
        [float(factor) if isinstance(factor, (int, float)) and abs(factor) < 1e300 else math.nan for factor in scale]
        for scale in scales
        if isinstance(scale, list) and len(scale) == count
    ]


def _channels(image: Multiscale, count: int) -> tuple[Channel, ...]:
    """Return the channels by name and colour of the attributes, else of the OME-XML, which has wavelengths too."""
    told = image.omero.get("channels")
    named = [one if isinstance(one, Mapping) else {} for one in told] if isinstance(told, list) else []
    of_xml = image.xml.channels if image.xml and len(image.xml.channels) == count else []
    if len(named) < count and not of_xml:
        return ()
    channels = []
    for number in range(min(count, _MOST_CHANNELS)):
        own = named[number] if number < len(named) else {}
        other = of_xml[number] if of_xml else Channel()
        color = str(own.get("color", "")).removeprefix("#")
        name = text(own.get("label", ""), 1024)
        channels.append(
            Channel(
                name=name or other.name,
                color=f"#{color.upper()}" if re.fullmatch("[0-9a-fA-F]{6}", color) else other.color,
                excitation_nm=other.excitation_nm,
                emission_nm=other.emission_nm,
            )
        )
    return tuple(channels)


def _smallest_sufficient(hierarchy: Hierarchy, image: Multiscale, pixels: int) -> AsyncArray[Any]:
    """Return the smallest array with at least *pixels* on its longer side, else the largest that is there."""
    for path in reversed(_levels(image)):
        if hierarchy.has_array(path):
            array = hierarchy.array(path)
            axes = _axes(image, array)
            if max(array.shape[axes.index("X")], array.shape[axes.index("Y")]) >= pixels:
                return array
    return hierarchy.array(_levels(image)[0])


def _middle_plane(array: AsyncArray[Any], axes: Sequence[str], pixels: int) -> numpy.ndarray:
    """Return (C, Y, X) of the middle plane, with fewer samples where those would take too many chunks."""
    chunk_bytes = math.prod(array.chunks) * numpy.dtype(array.dtype).itemsize
    if chunk_bytes > _MOST_CHUNK_BYTES:
        raise Fault(f"its chunks are of {chunk_bytes} bytes, of which none is unpacked for a picture")
    shape = dict(zip(axes, array.shape, strict=True))
    every = sampling.step((shape["X"], shape["Y"]), pixels)
    most = min(_PREVIEW_CHUNKS, _PREVIEW_BYTES // max(1, chunk_bytes))
    while every < max(shape["X"], shape["Y"]) and _chunks(array, axes, every) > most:
        every *= 2
    spans = {"X": slice(None, None, every), "Y": slice(None, None, every), "C": slice(None)}
    chosen = tuple(spans.get(letter, size // 2) for letter, size in zip(axes, array.shape, strict=True))
    plane = samples(array, chosen)
    kept = [letter for letter in axes if letter in spans]
    if "C" not in kept:
        plane, kept = plane[numpy.newaxis], ["C", *kept]
    return plane.transpose([kept.index(letter) for letter in "CYX"])


def _chunks(array: AsyncArray[Any], axes: Sequence[str], every: int) -> int:
    """Return how many chunks every so-many-th sample of a plane touches."""
    touched = 1
    for letter, size, chunk in zip(axes, array.shape, array.chunks, strict=True):
        if letter in ("X", "Y", "C"):
            touched *= -(-size // max(chunk, 1 if letter == "C" else every))
    return touched
