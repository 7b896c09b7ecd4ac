"""What one DICOM file (an instance) adds to the images of its series: the shape of its frames, where they lie in the
patient or on the slide, and when they were taken.

Source: DICOM PS3.3, the modules Image Pixel, Image Plane, Multi-frame, General Equipment and Whole Slide Microscopy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, VLWholeSlideMicroscopyImageStorage

from repofs.formats.dicom import header as dicom_header
from repofs.formats.dicom.header import Header, numbers, text
from repofs.formats.outcome import Fault
from repofs.formats.values import positive, possible
from repofs.image import Channel

_DATE = re.compile(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)")
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d{1,6})?)?)?")


@dataclass(frozen=True, slots=True)
class Optics:
    """What a slide scanner says of its light and its objective."""

    channels: tuple[Channel, ...] = ()
    magnification: float | None = None
    numerical_aperture: float | None = None


@dataclass(frozen=True, slots=True)
class Slide:
    """The whole of which the frames of a slide scanner are tiles, in pixels of this resolution."""

    columns: int
    rows: int
    focal_planes: int
    optical_paths: int
    first_frame: int  # of the frames of a concatenation
    optics: Optics


@dataclass(frozen=True, slots=True)
class Instance:
    """One file with pixels. Lengths are in mm, sizes in pixels; *frames* are those that are whole."""

    name: str
    columns: int
    rows: int
    frames: int
    declared_frames: int
    samples: int
    pixel_type: str
    big_endian: bool
    spacing: tuple[float, ...]  # between rows, between columns
    slice_distance: float | None  # between the frames
    orientation: tuple[float, ...]  # of a row and of a column: six direction cosines
    position: tuple[float, ...]  # of the first pixel
    number: float  # of the instance
    kind: tuple[str, ...]  # ORIGINAL, PRIMARY, …
    echo: tuple[float, ...]  # time and number
    acquired: str | None
    time_increment_s: float | None
    instrument: str | None
    description: str | None
    slide: Slide | None

    @property
    def height(self) -> float | None:
        """Where the slice lies along its normal, in mm."""
        if len(self.position) != 3 or len(self.orientation) != 6:
            return None
        normal = numpy.cross(self.orientation[:3], self.orientation[3:])
        return round(float(numpy.dot(normal, self.position)), 3)


def of(header: Header, name: str) -> Instance:
    """Return what the file *name* says. Raises Fault when it has no image, or none that can be right."""
    data = header.data
    if "Rows" not in data and "Columns" not in data:
        raise Fault(f"{_kind_of_object(data)} holds no image")
    rows, columns = (int(_first(data, word) or 0) for word in ("Rows", "Columns"))
    samples, declared = (int(_first(data, word) or 1) for word in ("SamplesPerPixel", "NumberOfFrames"))
    if not (0 < rows < 65536 and 0 < columns < 65536 and possible(declared) and 0 < samples <= 4):
        sizes = f"{columns} x {rows} pixels of {samples} samples in {declared} frames"
        raise Fault(f"a size of {sizes} is not possible")
    pixel_type, bits = _pixel_type(header)
    stored = (
        2 if text(data, "PhotometricInterpretation") == "YBR_FULL_422" else samples
    )  # there two pixels share colours
    shared = _functional_groups(data)
    return Instance(
        name=name,
        columns=columns,
        rows=rows,
        frames=dicom_header.frames_there(header, declared, rows * columns * bits * stored),
        declared_frames=declared,
        samples=samples,
        pixel_type=pixel_type,
        big_endian=header.big_endian,
        spacing=next((found for one in shared if len(found := numbers(one, "PixelSpacing")) == 2), ()),
        slice_distance=_slice_distance(data, shared),
        orientation=next((found for one in shared if (found := numbers(one, "ImageOrientationPatient"))), ()),
        position=numbers(data, "ImagePositionPatient"),
        number=_first(data, "InstanceNumber") or 0,
        kind=tuple(re.findall(r"\w+", text(data, "ImageType") or "")),
        echo=(_first(data, "EchoTime") or 0, _first(data, "EchoNumbers") or 0),
        acquired=_acquired(data),
        time_increment_s=positive(_first(data, "TemporalResolution"), 1e-3),
        instrument=" ".join(filter(None, (text(data, "Manufacturer"), text(data, "ManufacturerModelName")))) or None,
        description=text(data, "SeriesDescription"),
        slide=_slide(data) if text(data, "SOPClassUID") == VLWholeSlideMicroscopyImageStorage else None,
    )


def _kind_of_object(data: Dataset) -> str:
    uid = text(data, "SOPClassUID") or text(getattr(data, "file_meta", Dataset()), "MediaStorageSOPClassUID")
    return f"a DICOM file of the kind {UID(uid).name}" if uid else "a DICOM file without a kind"


def _first(data: Dataset, keyword: str) -> float | None:
    return next(iter(numbers(data, keyword)), None)


def _pixel_type(header: Header) -> tuple[str, int]:
    """Return OMERO's name of the pixel type, and the bits of a sample."""
    keyword = header.pixels.keyword if header.pixels else "PixelData"
    if keyword != "PixelData":
        return ("float", 32) if keyword == "FloatPixelData" else ("double", 64)
    bits = int(_first(header.data, "BitsAllocated") or 0)
    if bits == 1:
        return "bit", 1
    if bits not in (8, 16, 32):
        raise Fault(f"pixels of {bits} bits are not known to OMERO")
    signed = _first(header.data, "PixelRepresentation") == 1
    return f"{'' if signed else 'u'}int{bits}", bits


def items(data: Dataset, keyword: str) -> Sequence:
    """Return the items of a sequence, none when it is absent or unreadable."""
    try:
        found = data.get(keyword)
    except dicom_header.BAD_VALUE:
        found = None
    return found if isinstance(found, Sequence) else Sequence()


def _functional_groups(data: Dataset) -> list[Dataset]:
    """Return where the geometry may stand: in the data set, or once for all frames, or at the first frame."""
    return [
        data,
        *_geometry(data, "SharedFunctionalGroupsSequence"),
        *_geometry(data, "PerFrameFunctionalGroupsSequence"),
    ]


def _geometry(data: Dataset, groups: str) -> Iterator[Dataset]:
    for group in items(data, groups)[:1]:
        for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            yield from items(group, keyword)[:1]


def _slice_distance(data: Dataset, shared: list[Dataset]) -> float | None:
    """Return the mm between frames: as it is given, or from where the first two lie."""
    given = next((found for one in shared if (found := _first(one, "SpacingBetweenSlices"))), None)
    if given is not None:
        return abs(given)
    offsets = numbers(data, "GridFrameOffsetVector")  # of a radiation dose
    if len(offsets) > 1:
        return abs(offsets[1] - offsets[0]) or None
    positions = [
        numbers(place, "ImagePositionPatient")
        for group in items(data, "PerFrameFunctionalGroupsSequence")[:2]
        for place in items(group, "PlanePositionSequence")[:1]
    ]
    if [len(position) for position in positions] != [3, 3]:
        return None
    return round(math.dist(*positions), 6) or None


def _acquired(data: Dataset) -> str | None:
    """Return when the picture was taken; of the study only its day, for it begins long before."""
    whole = text(data, "AcquisitionDateTime")
    if whole and (found := _iso(whole[:8], whole[8:].split("+")[0].split("-")[0])):
        return found
    return _iso(text(data, "AcquisitionDate") or text(data, "StudyDate"), text(data, "AcquisitionTime"))


def _iso(date: str | None, time: str | None) -> str | None:
    day, hour = _DATE.fullmatch(date or ""), _TIME.fullmatch(time or "")
    if day is None:
        return None
    if hour is None:
        return "-".join(day.groups())
    return "-".join(day.groups()) + "T" + ":".join(part or "00" for part in hour.groups()[:3]) + (hour[4] or "")


def _slide(data: Dataset) -> Slide:
    sizes = [int(_first(data, f"TotalPixelMatrix{word}") or 1) for word in ("Columns", "Rows", "FocalPlanes")]
    paths = items(data, "OpticalPathSequence")
    sizes.append(int(_first(data, "NumberOfOpticalPaths") or 1))
    if not possible(*sizes):
        raise Fault(f"a slide of {sizes[0]} x {sizes[1]} pixels is not possible")
    first = paths[0] if paths else Dataset()
    optics = Optics(
        channels=tuple(_channel(path) for path in paths[: sizes[3]]),
        magnification=_first(first, "ObjectiveLensPower"),
        numerical_aperture=_first(first, "ObjectiveLensNumericalAperture"),
    )
    first_frame = int(_first(data, "ConcatenationFrameOffsetNumber") or 0)
    return Slide(sizes[0], sizes[1], sizes[2], sizes[3], first_frame, optics)


def _channel(path: Dataset) -> Channel:
    name = text(path, "OpticalPathDescription") or text(path, "OpticalPathIdentifier")
    return Channel(name=name, excitation_nm=_first(path, "IlluminationWaveLength"))
