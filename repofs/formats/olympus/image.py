"""What the settings of an OIF or OIB say of its image, and which TIFF holds which plane.

Sections of the main settings: "Axis Parameter Common" (AxisOrder: the first two letters are the axes of one TIFF),
"Axis 0 Parameters Common" (AxisCode, MaxSize, positions, UnitName), "Reference Image Parameter" (size of a pixel,
ValidBitCounts), "GUI Channel 1 Parameters" (CH Name, DyeName, wavelengths), "Acquisition Parameters Common"
(ImageCaputreDate, as it is spelt), "ProfileSaveInfo" (the names of the settings of all planes). The objective is in
the settings of the planes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator

import numpy
import tifffile

from repofs.formats import sampling
from repofs.formats.olympus.files import MAX_STREAM_BYTES, Settings
from repofs.formats.outcome import Fault
from repofs.formats.units import micrometres, seconds
from repofs.formats.values import moment, positive, possible, words
from repofs.image import Channel, ImageInfo

_PLANE = re.compile(r"(?P<stem>.*?)(?P<numbers>(?:[CZTLA][0-9]{3,9})+)\.tif", re.IGNORECASE)
_NUMBER = re.compile(r"([CZTLA])([0-9]+)", re.IGNORECASE)
_AXES = {"X": "X", "Y": "Y", "Z": "Z", "T": "T", "C": "C", "L": "C", "A": "T"}  # L: wavelength, A: animation


class Scan:
    """The axes, and the TIFF of each plane that is there. Raises Fault where sizes are impossible."""

    def __init__(self, main: Settings, names: list[str]) -> None:
        self.main = main
        self.order = str(_section(main, "Axis Parameter Common").get("AxisOrder", "XY")).upper()
        self._lengths = {code: max(1, _whole(axis.get("MaxSize"))) for code, axis in _axes(main)}
        self.sizes = {axis: self._length(axis) for axis in "XYZCT"}
        self.within = [self._lengths.get(code, 1) for code in self.order[:2]]
        self.plane_count = math.prod(self._lengths.get(code, 1) for code in set(self.order[2:]))
        if not possible(*self.sizes.values(), self.plane_count):
            raise Fault("its settings have impossible sizes")
        bits = _whole(_section(main, "Reference Image Parameter").get("ValidBitCounts"))
        self.kind = "u2" if bits > 8 else "u1"
        self.plane_bytes = math.prod(self.within) * int(self.kind[1])
        self.planes = self._planes(names)
        self.settings_name = f"{next(iter(self.planes.values()), '')[:-4]}.pty"

    def _length(self, axis: str) -> int:
        return math.prod(length for code, length in self._lengths.items() if _AXES.get(code) == axis)

    def _planes(self, names: list[str]) -> dict[tuple[int, ...], str]:
        """Return the TIFFs by their numbers along the axes of `order`; of thumbnails and the like there are fewer."""
        series: dict[str, dict[tuple[int, ...], str]] = {}
        for name in names:
            match = _PLANE.fullmatch(name)
            if match is None:
                continue
            numbers = {code.upper(): int(number) - 1 for code, number in _NUMBER.findall(match["numbers"])}
            place = tuple(numbers.get(code, 0) for code in self.order[2:])
            if all(0 <= at < self._lengths.get(code, 1) for at, code in zip(place, self.order[2:], strict=True)):
                series.setdefault(match["stem"], {})[place] = name
        found = max(series.values(), key=len, default={})
        return dict(sorted(found.items()))

    def middle(self) -> Iterator[str]:
        """Yield the TIFF of each channel that is nearest to the middle of all other axes."""
        codes = self.order[2:]
        channels = {tuple(at for at, code in zip(place, codes, strict=True) if code in "CL") for place in self.planes}
        for channel in sorted(channels):
            yield min((away, name) for away, name in self._away(channel))[1]

    def _away(self, channel: tuple[int, ...]) -> Iterator[tuple[int, str]]:
        codes = self.order[2:]
        for place, name in self.planes.items():
            if channel == tuple(at for at, code in zip(place, codes, strict=True) if code in "CL"):
                others = ((at, code) for at, code in zip(place, codes, strict=True) if code not in "CL")
                yield sum(abs(at - self._lengths.get(code, 1) // 2) for at, code in others), name

    def samples(self, raw: bytes, pixels: int) -> numpy.ndarray:
        """Return every n-th sample (Y, X) of the TIFF *raw*; a plane that is not over X and Y gives its middle row."""
        width, height = self.within
        step = sampling.step((self.sizes["X"], self.sizes["Y"]), pixels)
        if self.plane_bytes > MAX_STREAM_BYTES:
            raise Fault(f"planes of {width} x {height} pixels are too large for a picture")
        with tifffile.TiffFile(io.BytesIO(raw), name="plane") as tiff:
            page = tiff.pages.first
            if (page.imagelength, page.imagewidth, page.samplesperpixel) != (height, width, 1):
                raise Fault(f"a plane has {page.imagewidth} x {page.imagelength} pixels, not {width} x {height}")
            plane = page.asarray().reshape(height, width)
        return plane[::step, ::step] if self.order[:2] == "XY" else plane[height // 2 : height // 2 + 1, ::step]


def expected_files(main: Settings) -> set[str]:
    """Return what the folder of an OIF will hold: the settings of each plane that are listed, and their TIFFs."""
    listed = _section(main, "ProfileSaveInfo")
    found = set()
    for key, value in listed.items():
        name = str(value).replace("\\", "/").rsplit("/", 1)[-1]
        if key.startswith("IniFileName") and name.lower().endswith(".pty") and name.lower() != ".pty":
            found |= {name, f"{name[:-4]}.tif"} if _PLANE.fullmatch(f"{name[:-4]}.tif") else {name}
    return found


def image(name: str, scan: Scan, plane: Settings) -> ImageInfo:
    """Return what the main settings and those of a *plane* say of the image."""
    main = scan.main
    reference = _section(main, "Reference Image Parameter")
    taken = {**_section(main, "Acquisition Parameters Common"), **_section(plane, "Acquisition Parameters Common")}
    count = scan.sizes["C"]
    return ImageInfo(
        name=name,
        series=0,
        size_x=scan.sizes["X"],
        size_y=scan.sizes["Y"],
        size_z=scan.sizes["Z"],
        size_c=count,
        size_t=scan.sizes["T"],
        pixel_type="uint16" if scan.kind == "u2" else "uint8",
        physical_size_x_um=micrometres(reference.get("WidthConvertValue"), reference.get("WidthUnit")),
        physical_size_y_um=micrometres(reference.get("HeightConvertValue"), reference.get("HeightUnit")),
        physical_size_z_um=micrometres(*_spacing(main, "Z")),
        time_increment_s=seconds(*_spacing(main, "T")),
        acquired=moment(taken.get("ImageCaputreDate"), "%Y-%m-%d %H:%M:%S"),
        channels=tuple(_channel(main, number) for number in range(1, count + 1)) if count <= len(main) else (),
        instrument=words(_section(main, "Version Info").get("SystemName")),
        objective=words(taken.get("ObjectiveLens Name")),
        magnification=positive(taken.get("Magnification")),
        numerical_aperture=positive(taken.get("ObjectiveLens NAValue")),
    )


def _section(settings: Settings, name: str) -> dict[str, object]:
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def _axes(main: Settings) -> Iterator[tuple[str, dict[str, object]]]:
    for number in range(8):
        section = _section(main, f"Axis {number} Parameters Common")
        yield str(section.get("AxisCode", "")).upper(), section


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0


def _spacing(main: Settings, axis: str) -> tuple[object, object]:
    """Return the distance of two elements along *axis*, and its unit: as set, else by the first and the last."""
    for code, section in _axes(main):
        count = _whole(section.get("MaxSize"))
        if code == axis and count > 1:
            first, last = section.get("StartPosition"), section.get("EndPosition")
            distance = section.get("Interval")
            if isinstance(first, (int, float)) and isinstance(last, (int, float)) and not positive(distance):
                distance = abs(last - first) / (count - 1)
            return distance, section.get("UnitName")
    return None, None


def _channel(main: Settings, number: int) -> Channel:
    section = _section(main, f"GUI Channel {number} Parameters")
    return Channel(
        name=words(section.get("DyeName")) or words(section.get("CH Name")),
        excitation_nm=positive(section.get("ExcitationWavelength")),
        emission_nm=positive(section.get("EmissionWavelength")),
    )
