"""OME-XML as found in a TIFF: what it says of images and of which page holds which plane.

Read as a stream, so that 200,000 planes cost a second and no tree. The text comes from a stranger: no document type
declaration (so no entities), and bounds on bytes, elements and depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from xml.parsers import expat

from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.outcome import Fault
from repofs.formats.units import micrometres, seconds
from repofs.formats.values import positive, words
from repofs.image import Channel

MAX_BYTES = 64 << 20
MAX_ELEMENTS = 2_000_000
MAX_IMAGES = 10_000
MAX_CHANNELS = 1000  # told apart by name and colour; sizes may be larger
MAX_DEPTH = 64
MAX_TEXT = 4096  # characters kept of one element

_DATES = ("AcquisitionDate", "AcquiredDate", "CreationDate")  # as spelt through the years
_KEPT_TEXT = frozenset({*_DATES, "UUID", "Key", "Value"})


@dataclass(slots=True)
class Planes:
    """One TiffData element: *count* planes from page *page* on. None where the element does not say."""

    page: int | None
    count: int | None
    z: int
    c: int
    t: int
    file_name: str | None = None
    uuid: str | None = None


@dataclass(slots=True)
class Objective:
    """One Objective; None where the element does not say."""

    name: str | None = None
    magnification: float | None = None
    numerical_aperture: float | None = None


@dataclass(slots=True)
class OmeImage:
    """One Image with its Pixels; sizes are 0 where they are missing."""

    name: str | None
    order: str = "XYZCT"  # in which planes follow each other, the fastest first
    size: dict[str, int] = field(default_factory=dict)  # by axis, "XYZCT"
    pixel_type: str = ""
    big_endian: bool | None = None
    physical_um: dict[str, float | None] = field(default_factory=dict)  # by axis, "XYZ"
    time_increment_s: float | None = None
    acquired: str | None = None
    channels: list[Channel] = field(default_factory=list)
    samples: int = 0  # of all channels
    rgb: bool = False
    instrument: str = ""  # its ID
    objective: str = ""  # its ID
    planes: list[Planes] = field(default_factory=list)


@dataclass(slots=True)
class Ome:
    uuid: str | None = None
    images: list[OmeImage] = field(default_factory=list)
    microscopes: dict[str, str | None] = field(default_factory=dict)  # of instruments, by ID
    objectives: dict[str, Objective] = field(default_factory=dict)  # by ID
    metadata_file: str | None = None  # this file is BinaryOnly: everything stands in that one
    original: OriginalMetadata = field(default_factory=OriginalMetadata)


def found_in(description: str) -> Ome | None:
    """Return what the ImageDescription of a TIFF says, or None when it is no OME-XML. Raises Fault."""
    start = description[:4096].lstrip("\ufeff \r\n\t")
    return parse(description.strip("\0\ufeff \r\n\t")) if start.startswith("<") and "OME" in start else None


def parse(xml: str) -> Ome | None:
    """Return what *xml* says, or None when its root is not OME. Raises Fault when it is not to be used."""
    raw = xml.encode("utf-8", "replace")
    if len(raw) > MAX_BYTES:
        raise Fault(f"it is longer than {MAX_BYTES >> 20} MiB")
    reading = _Reading()
    parser = expat.ParserCreate("utf-8")  # whatever the declaration says: the text has been decoded already
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.characters
    try:
        parser.Parse(raw, True)
    except _NotOme:
        return None
    except expat.ExpatError as error:
        raise Fault(f"it is not whole ({error})") from error
    return reading.ome


class _NotOme(Exception):
    """The root element is something else."""


def _refuse_doctype(*_: object) -> None:
    raise Fault("it has a document type declaration, which OME-XML does not")


class _Reading:
    """The state between expat's events."""

    def __init__(self) -> None:
        self.ome = Ome()
        self._path: list[str] = []
        self._elements = 0
        self._text: list[str] | None = None  # of the element being read, where it is wanted
        self._key: str | None = None
        self._starts: dict[str, Callable[[dict[str, str]], None]] = {
            "Image": self._image, "Pixels": self._pixels, "Channel": self._channel, "TiffData": self._tiff_data,
            "BinaryOnly": self._binary_only, "UUID": self._file_name, "Instrument": self._instrument,
            "Microscope": self._microscope, "Objective": self._objective, "InstrumentRef": self._refers,
            "ObjectiveRef": self._refers, "ObjectiveSettings": self._refers,
        }  # fmt: skip

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        self._elements += 1
        if not self._path:
            if name != "OME":
                raise _NotOme
            self.ome.uuid = attributes.get("UUID")
        if self._elements > MAX_ELEMENTS or len(self._path) >= MAX_DEPTH:
            raise Fault(f"it has more than {MAX_ELEMENTS} elements or {MAX_DEPTH} levels")
        self._path.append(name)
        if name in self._starts:
            self._starts[name](attributes)
        self._text = [] if name in _KEPT_TEXT else None

    def end(self, _: str) -> None:
        name = self._path.pop()
        if self._text is not None:
            self._take(name, text("".join(self._text), MAX_TEXT))
            self._text = None

    def characters(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data[:MAX_TEXT])

    def _take(self, name: str, words: str) -> None:
        parent = self._path[-1] if self._path else ""
        if parent == "Image" and name in _DATES and self.ome.images:
            self.ome.images[-1].acquired = words or None
        elif parent == "TiffData" and name == "UUID" and self.ome.images and self.ome.images[-1].planes:
            self.ome.images[-1].planes[-1].uuid = words
        elif parent == "OriginalMetadata" and name == "Key":
            self._key = words
        elif parent == "OriginalMetadata" and name == "Value" and self._key:
            self.ome.original.add(self._key, words)

    def _image(self, attributes: dict[str, str]) -> None:
        if len(self.ome.images) >= MAX_IMAGES:
            raise Fault(f"it has more than {MAX_IMAGES} images")
        if self._path[-2:-1] == ["OME"]:
            self.ome.images.append(OmeImage(name=text(attributes.get("Name", ""), 1024) or None))

    def _pixels(self, attributes: dict[str, str]) -> None:
        if not self.ome.images:
            return
        image = self.ome.images[-1]
        image.size = {axis: _whole(attributes.get(f"Size{axis}")) or 0 for axis in "XYZCT"}
        image.order = attributes.get("DimensionOrder", image.order)
        image.pixel_type = (attributes.get("Type") or attributes.get("PixelType") or "").lower()
        if "BigEndian" in attributes:
            image.big_endian = attributes["BigEndian"].lower() in ("true", "1")
        image.physical_um = {
            axis: _measure(micrometres, attributes, f"PhysicalSize{axis}", "µm") for axis in "XYZ"
        }  # fmt: skip
        image.time_increment_s = _measure(seconds, attributes, "TimeIncrement", "s")

    def _channel(self, attributes: dict[str, str]) -> None:
        if not self.ome.images or self._path[-2:-1] != ["Pixels"]:
            return
        image = self.ome.images[-1]
        samples = max(1, _whole(attributes.get("SamplesPerPixel")) or 1)
        image.samples += samples
        image.rgb = image.rgb or samples > 1
        if len(image.channels) < MAX_CHANNELS:
            excitation = _measure(micrometres, attributes, "ExcitationWavelength", "nm")
            emission = _measure(micrometres, attributes, "EmissionWavelength", "nm")
            image.channels.append(
                Channel(
                    name=text(attributes.get("Name", ""), 1024) or None,
                    color=_color(attributes.get("Color")),
                    excitation_nm=None if excitation is None else round(excitation * 1000, 6),
                    emission_nm=None if emission is None else round(emission * 1000, 6),
                )
            )

    def _tiff_data(self, attributes: dict[str, str]) -> None:
        if self.ome.images:
            count = _whole(attributes.get("PlaneCount") or attributes.get("NumPlanes"))
            first = {axis: _whole(attributes.get(f"First{axis}")) or 0 for axis in "ZCT"}
            page = _whole(attributes.get("IFD"))
            self.ome.images[-1].planes.append(Planes(page, count, first["Z"], first["C"], first["T"]))

    def _instrument(self, attributes: dict[str, str]) -> None:
        if len(self.ome.microscopes) < MAX_IMAGES:
            self.ome.microscopes[attributes.get("ID", "")] = None

    def _microscope(self, attributes: dict[str, str]) -> None:
        if self._path[-2:-1] == ["Instrument"]:
            self.ome.microscopes[next(reversed(self.ome.microscopes))] = _maker_and_model(attributes)

    def _objective(self, attributes: dict[str, str]) -> None:
        if len(self.ome.objectives) < MAX_IMAGES:
            self.ome.objectives[attributes.get("ID", "")] = Objective(
                _maker_and_model(attributes),
                positive(attributes.get("NominalMagnification")),
                positive(attributes.get("LensNA")),
            )

    def _refers(self, attributes: dict[str, str]) -> None:
        if self._path[-2:-1] == ["Image"] and self.ome.images:
            which = "instrument" if self._path[-1] == "InstrumentRef" else "objective"
            setattr(self.ome.images[-1], which, attributes.get("ID", ""))

    def _binary_only(self, attributes: dict[str, str]) -> None:
        self.ome.metadata_file = text(attributes.get("MetadataFile", ""), 255) or "another file"

    def _file_name(self, attributes: dict[str, str]) -> None:
        if self._path[-2:-1] == ["TiffData"] and self.ome.images and self.ome.images[-1].planes:
            self.ome.images[-1].planes[-1].file_name = text(attributes.get("FileName", ""), 255) or None


def _maker_and_model(attributes: dict[str, str]) -> str | None:
    return words(" ".join(filter(None, (attributes.get("Manufacturer"), attributes.get("Model")))))


def _whole(value: str | None) -> int | None:
    """Return the number, or None for anything that is not one between 0 and 10^18."""
    return int(value) if value and len(value) <= 18 and value.isascii() and value.isdigit() else None


def _measure(
    known: Callable[[object, object], float | None], attributes: dict[str, str], name: str, default: str
) -> float | None:
    """Return the attribute with its unit, or in the *default* one, as *known* units have it."""
    return known(attributes.get(name), attributes.get(f"{name}Unit", default))


def _color(value: str | None) -> str | None:
    """Return "#RRGGBB" of OME's signed 32-bit RGBA."""
    try:
        number = int(value or "") & 0xFFFFFFFF
    except ValueError:
        return None
    return f"#{number >> 8:06X}"
