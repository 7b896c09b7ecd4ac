"""One image of a LIF: its XML element, where each pixel is in its block, and a small version of its middle plane.

Data/Image/ImageDescription
    Channels/ChannelDescription: DataType (0 integer, 1 float), Resolution in bits, ChannelTag (0 grey, 1 red,
        2 green, 3 blue), LUTName, BytesInc: where its first pixel is
    Dimensions/DimensionDescription: DimID, NumberOfElements, Length from the first to the last, Unit, BytesInc:
        from one element to the next
Data/Image/Attachment: settings of the hardware
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO
from xml.etree.ElementTree import Element

import numpy

from repofs.formats import sampling
from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import NO_PLANE, Fault
from repofs.formats.pixel_types import pixel_type
from repofs.formats.units import micrometres, seconds
from repofs.formats.values import positive, possible, words
from repofs.image import Channel, ImageInfo

_MOST_BYTES = 1 << 28  # of the rows that a picture is made of
_MOST_PLANES = 1000  # of a picture: channels, or wavelengths
_AXES = {1: "X", 2: "Y", 3: "Z", 4: "T", 5: "C", 9: "C"}  # 5: emission, 9: excitation; what OMERO has not is with T
_COLORS = {"red": "#FF0000", "green": "#00FF00", "blue": "#0000FF", "cyan": "#00FFFF", "magenta": "#FF00FF",
           "yellow": "#FFFF00", "gray": "#FFFFFF", "grey": "#FFFFFF"}  # fmt: skip
_FILETIME_START = datetime(1601, 1, 1)  # in no time zone, as it is shown
_HEX = re.compile("[0-9A-Fa-f]{1,16}")


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of the pixels. *step* is in bytes, *length* in *unit* from the first to the last element."""

    axis: str  # of X, Y, Z, C and T
    count: int
    step: int
    length: float
    unit: str


class Stored:
    """How the pixels of an image lie in its block of *there* bytes at *offset*. Fault: no plane is whole."""

    def __init__(self, element: Element, offset: int, there: int) -> None:
        self.offset, self.there = offset, there
        try:
            self.axes = [_axis(one) for one in element.iterfind("Data/Image/ImageDescription/Dimensions/*")]
            channels = element.findall("Data/Image/ImageDescription/Channels/*")
            self.starts = [int(channel.get("BytesInc", "0")) for channel in channels]
            self.kinds = [_kind(channel) for channel in channels]
            tags = [channel.get("ChannelTag") for channel in channels]
        except ValueError as error:
            raise Fault(f"its description is damaged ({error!s:.100})") from error
        if (
            not channels
            or min(self.starts) < 0
            or any(one.count < 1 or one.step < (one.count > 1) for one in self.axes)
        ):
            raise Fault("its description has impossible sizes or no channel")
        self.kind = max(self.kinds, key=lambda kind: int(kind[1]))
        self.rgb = sorted(map(str, tags)) == ["1", "2", "3"]
        if self.rgb:  # as red, green, blue, whatever the order is in the file
            order = sorted(range(3), key=lambda at: str(tags[at]))
            self.starts, self.kinds = [self.starts[at] for at in order], [self.kinds[at] for at in order]
        last = max(start + int(kind[1]) for start, kind in zip(self.starts, self.kinds, strict=True))
        needed = last + sum((one.count - 1) * one.step for one in self.axes)
        plane = int(self.kinds[0][1]) + sum((one.count - 1) * one.step for one in self.axes if one.axis in "XY")
        self.missing = max(0, needed - there)
        if min(self.starts) + plane > there:
            raise Fault(NO_PLANE)

    def size(self, axis: str) -> int:
        """Return the number of elements along all dimensions that count as *axis*, channels left aside."""
        return math.prod(one.count for one in self.axes if one.axis == axis)

    def spacing(self, axis: str) -> float | None:
        """Return the distance of two elements along *axis*, in µm, or in s along T."""
        known = seconds if axis == "T" else micrometres
        distances = (
            known(abs(one.length) / (one.count - 1), one.unit)
            for one in self.axes
            if one.axis == axis and one.count > 1 and known(1.0, one.unit)
        )
        return next(distances, None)


def _axis(description: Element) -> Axis:
    return Axis(
        _AXES.get(int(description.get("DimID", "")), "T"),
        int(description.get("NumberOfElements", "")),
        int(description.get("BytesInc", "")),
        float(description.get("Length", "0")),
        description.get("Unit", ""),
    )


def _kind(channel: Element) -> str:
    bits = int(channel.get("Resolution", ""))
    kind = "uf"[int(channel.get("DataType", "0")) == 1] + str(
        1 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8
    )
    if pixel_type(kind) is None:
        raise ValueError(f"pixels of {bits} bits")
    return kind


def image(name: str, series: int, element: Element, stored: Stored) -> ImageInfo:
    """Return what *element* says of an image. Raises Fault when its sizes are beyond what OMERO has."""
    count = len(stored.starts) * stored.size("C")
    sizes = {axis: stored.size(axis) for axis in "XYZT"}
    if not possible(count, *sizes.values()):
        raise Fault("its description has impossible sizes")
    settings = next((one for one in element.iter() if one.get("ObjectiveName")), Element("Nothing"))
    return ImageInfo(
        name=name,
        series=series,
        size_x=sizes["X"],
        size_y=sizes["Y"],
        size_z=sizes["Z"],
        size_c=count,
        size_t=sizes["T"],
        pixel_type=pixel_type(stored.kind) or "",
        rgb=stored.rgb,
        physical_size_x_um=stored.spacing("X"),
        physical_size_y_um=stored.spacing("Y"),
        physical_size_z_um=stored.spacing("Z"),
        time_increment_s=stored.spacing("T"),
        acquired=_acquired(element),
        channels=() if stored.rgb or stored.size("C") > 1 else tuple(_channels(element)),
        instrument=_instrument(element, settings),
        objective=words(settings.get("ObjectiveName")),
        magnification=positive(settings.get("Magnification")),
        numerical_aperture=positive(settings.get("NumericalAperture")),
    )


def _acquired(element: Element) -> str | None:
    """Return the first time stamp: tenths of microseconds since 1601, as one hexadecimal number or in two halves."""
    stamps = element.find("Data/Image/TimeStampList")
    if stamps is None:
        return None
    first = stamps.find("TimeStamp")
    match = _HEX.match((stamps.text or "").lstrip())
    try:
        if first is not None:
            ticks = (int(first.get("HighInteger", "")) << 32) + int(first.get("LowInteger", ""))
        elif match is not None:
            ticks = int(match[0], 16)
        else:
            return None
        return (_FILETIME_START + timedelta(microseconds=ticks // 10)).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        return None


def _instrument(element: Element, settings: Element) -> str | None:
    """Return the system and its stand: "TCS SP8, DMI6000B-CS"."""
    system = next((one.get("SystemTypeName") for one in element.iter("Attachment") if one.get("SystemTypeName")), None)
    return words(", ".join(part for part in (system, settings.get("MicroscopeModel")) if part))


def _channels(element: Element) -> Iterator[Channel]:
    """Yield the channels with the colour of their lookup table, and the dye where it is known which is whose."""
    descriptions = element.findall("Data/Image/ImageDescription/Channels/*")
    dyes = list(_confocal_dyes(element))
    wide = element.findall(".//WideFieldChannelInfo")
    for number, description in enumerate(descriptions):
        properties = {one.findtext("Key"): one.findtext("Value") for one in description.iterfind("ChannelProperty")}
        info = wide[number] if len(wide) == len(descriptions) else Element("Nothing")
        dye = dyes[number] if len(dyes) == len(descriptions) else None
        named = properties.get("DyeName") or info.get("UserDefName") or info.get("FluoCubeName") or dye
        yield Channel(
            name=words((named or "").rsplit("/", 1)[-1]),
            color=_COLORS.get(description.get("LUTName", "").lower()),
            excitation_nm=positive(info.get("ExcitationWavelength")),
            emission_nm=positive(info.get("EmissionWavelength")),
        )


def _confocal_dyes(element: Element) -> Iterator[str]:
    """Yield the dye of each active detector, "" where it has none, through the settings of a sequential scan."""
    settings = element.findall(".//LDM_Block_Sequential_List/ATLConfocalSettingDefinition")
    for one in settings or element.findall(".//ATLConfocalSettingDefinition")[:1]:
        bands = {band.get("Channel"): band.get("DyeName", "") for band in one.iterfind("Spectro/MultiBand")}
        for detector in one.iterfind("DetectorList/Detector"):
            if detector.get("IsActive") == "1":
                yield bands.get(detector.get("Channel"), "")


def collect(element: Element, original: OriginalMetadata, name: str) -> None:
    """Put in the attributes of the description and of the settings of the image *name*."""
    for path in ("Data/Image/ImageDescription", "Data/Image"):
        for one in element.findall(f"{path}/Attachment/*") + element.findall(f"{path}/*/*"):
            for key, value in one.attrib.items():
                original.add(f"{name}.{one.tag}.{key}", value)


def preview(stored: Stored, file: BinaryIO, pixels: int) -> numpy.ndarray:
    """Return samples (C, Y, X) of the middle plane, or of the first one where the middle is not in the file."""
    size_x, size_y = stored.size("X"), stored.size("Y")
    step = sampling.step((size_x, size_y), pixels)
    x_step, y_step = (sum(one.step for one in stored.axes if one.axis == axis) for axis in "XY")
    others = sum(one.count // 2 * one.step for one in stored.axes if one.axis in "ZT")
    bands = [one for one in stored.axes if one.axis == "C"]
    if len(stored.starts) * stored.size("C") > _MOST_PLANES:
        raise Fault(f"{len(stored.starts) * stored.size('C')} channels are too many for a picture")
    deepest = sum((one.count - 1) * one.step for one in stored.axes if one.axis in "XYC")
    if others + max(stored.starts) + deepest + int(stored.kind[1]) > stored.there:
        others = 0
    planes = []
    for band in numpy.ndindex(*(one.count for one in bands)):
        base = others + sum(at * one.step for at, one in zip(band, bands, strict=True))
        for start, kind in zip(stored.starts, stored.kinds, strict=True):
            starts = range(base + start, base + start + size_y * max(1, y_step), step * max(1, y_step))
            planes.append(
                _rows(stored, file, list(starts)[:size_y], numpy.dtype("<" + kind), (size_x, x_step))[:, ::step]
            )
    return numpy.stack(planes).astype(stored.kind)


def _rows(stored: Stored, file: BinaryIO, starts: list[int], dtype: numpy.dtype, x: tuple[int, int]) -> numpy.ndarray:
    """Return the rows of *x*: count and step, that begin at *starts*; what is not in the file is 0."""
    count, step = x
    step = step if count > 1 else dtype.itemsize
    row_bytes = (count - 1) * step + dtype.itemsize
    if row_bytes * len(starts) > _MOST_BYTES:
        raise Fault(f"rows of {count} pixels are too long for a picture")
    rows = numpy.zeros((len(starts), count), dtype)
    for row, start in zip(rows, starts, strict=True):
        file.seek(stored.offset + start)
        raw = file.read(max(0, min(row_bytes, stored.there - start)))
        if len(raw) == row_bytes and step >= dtype.itemsize:
            row[:] = numpy.ndarray(count, dtype, raw, strides=(step,))
    return rows
