"""What the XML metadata of a CZI says: sizes of pixels, channels, objective, microscope, times, and all the rest.

The elements are those that ZEN writes (ImageDocument/Metadata/…). The text comes from a stranger: no document type
declaration (so no entities), and bounds on bytes and elements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from repofs.formats.original_metadata import MAX_DEPTH, MAX_ENTRIES, OriginalMetadata
from repofs.formats.outcome import Fault
from repofs.formats.values import positive, words
from repofs.image import Channel

MAX_BYTES = 64 << 20
MAX_ELEMENTS = 1_000_000
MAX_CHANNELS = 1000  # told apart by name and colour; sizes may be larger

_COLOR = re.compile("#(?:[0-9A-Fa-f]{2})?([0-9A-Fa-f]{6})")  # "#AARRGGBB"
_REST = ("Information/Image", "Information/Instrument", "Information/Document", "Information/User",
         "Information/Application", "Scaling", "DisplaySetting")  # fmt: skip


@dataclass(frozen=True, slots=True)
class CziMetadata:
    """What the whole file has in common; None where it does not say."""

    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None
    time_increment_s: float | None = None
    acquired: str | None = None
    channels: tuple[Channel, ...] = ()
    instrument: str | None = None
    objective: str | None = None
    magnification: float | None = None
    numerical_aperture: float | None = None
    original: OriginalMetadata = field(default_factory=OriginalMetadata)


def parse(raw: bytes) -> CziMetadata:
    """Return what *raw*, the XML, says. Raises Fault."""
    if len(raw) > MAX_BYTES or raw.count(b"<") > 2 * MAX_ELEMENTS:
        raise Fault("it is larger than is looked at")
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise Fault("it declares a document type")
    try:
        root = ElementTree.fromstring(raw.rstrip(b"\0 \r\n\t"))
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # LookupError: an encoding of its own
        raise Fault("it is not well-formed") from error
    top = root.find("Metadata")
    return CziMetadata() if top is None else _metadata(top)


def _metadata(top: Element) -> CziMetadata:
    image = _found(top, "Information/Image")
    objective = _objective(top, image)
    microscope = _referred(top, image, "Microscope")
    interval = image.findtext("Dimensions/T/Positions/Interval/Increment")
    return CziMetadata(
        x_um=_distance_um(top, "X"),
        y_um=_distance_um(top, "Y"),
        z_um=_distance_um(top, "Z"),
        time_increment_s=positive(interval) or positive(_mean_step(image)),
        acquired=words(image.findtext("AcquisitionDateAndTime")),
        channels=_channels(top, image),
        instrument=_model(microscope),
        objective=_model(objective),
        magnification=positive(objective.findtext("NominalMagnification")),
        numerical_aperture=positive(objective.findtext("LensNA")),
        original=_original(top),
    )


def _found(element: Element, path: str) -> Element:
    found = element.find(path)
    return Element("Nothing") if found is None else found


def _number(value: str | None) -> float | None:
    try:
        return float(value or "")
    except ValueError:
        return None


def _distance_um(top: Element, axis: str) -> float | None:
    """Return the size of a pixel along *axis*; the file has metres."""
    for distance in top.iterfind("Scaling/Items/Distance"):
        if distance.get("Id") == axis:
            return positive(distance.findtext("Value"), 1e6)
    return None


def _mean_step(image: Element) -> float | None:
    """Return the mean seconds between time points that are listed one by one."""
    offsets = (image.findtext("Dimensions/T/Positions/List/Offsets") or "").split()
    first, last = (_number(offsets[0]), _number(offsets[-1])) if len(offsets) > 1 else (None, None)
    return None if first is None or last is None else (last - first) / (len(offsets) - 1)


def _referred(top: Element, image: Element, kind: str, settings: str = "") -> Element:
    """Return the instrument's part of *kind* that the image refers to, or the only one there is."""
    parts = top.findall(f"Information/Instrument/{kind}s/{kind}")
    reference = _found(image, f"{settings}{kind}Ref").get("Id")
    for part in parts:
        if part.get("Id") == reference:
            return part
    return parts[0] if len(parts) == 1 else Element("Nothing")


def _objective(top: Element, image: Element) -> Element:
    return _referred(top, image, "Objective", "ObjectiveSettings/")


def _model(part: Element) -> str | None:
    """Return what the maker calls a part: its name, or its model."""
    return words(part.get("Name")) or words(part.findtext("Manufacturer/Model"))


def _channels(top: Element, image: Element) -> tuple[Channel, ...]:
    """Return the channels of the acquisition, with the colours that they are shown in where it gives none."""
    shown = {channel.get("Id"): channel for channel in top.iterfind("DisplaySetting/Channels/Channel")}
    found = image.findall("Dimensions/Channels/Channel")[:MAX_CHANNELS]
    return tuple(_channel(channel, shown.get(channel.get("Id"), Element("Nothing"))) for channel in found)


def _channel(channel: Element, shown: Element) -> Channel:
    name = channel.get("Name") or channel.findtext("Name") or channel.findtext("Fluor") or channel.get("Id")
    color = _COLOR.fullmatch(channel.findtext("Color") or shown.findtext("Color") or "")
    return Channel(
        name=words(name),
        color=None if color is None else f"#{color[1].upper()}",
        excitation_nm=positive(channel.findtext("ExcitationWavelength")),
        emission_nm=positive(channel.findtext("EmissionWavelength")),
    )


def _original(top: Element) -> OriginalMetadata:
    """Return the elements and attributes as pairs, those that matter most first."""
    original = OriginalMetadata()
    for path in _REST:
        _collect(_found(top, path), path.replace("/", "."), original, 0)
    return original


def _collect(element: Element, key: str, original: OriginalMetadata, depth: int) -> None:
    if len(original.flat) >= MAX_ENTRIES or depth > 2 * MAX_DEPTH:
        return
    for name, value in element.attrib.items():
        original.add(f"{key}.{name}", value)
    original.add(key, element.text or "")
    names = [child.tag for child in element]
    for number, child in enumerate(element):
        several = names.count(child.tag) > 1 if len(names) < 100 else True
        _collect(child, f"{key}.{child.tag}[{number}]" if several else f"{key}.{child.tag}", original, depth + 1)
