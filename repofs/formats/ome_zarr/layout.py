"""Which images an OME-Zarr hierarchy has, of versions 0.1 to 0.5: one, those of bioformats2raw, or a plate's fields.

    multiscales               in the root: the image itself
    OME/                      the groups that it names as series, as bioformats2raw writes them; else 0, 1, …
    plate                     wells of rows and columns, each with its fields

OME/METADATA.ome.xml tells more of the series. Labels are groups of their own below an image; they are no images. In
Zarr 3 all this is below the attribute "ome".
Source: https://ngff.openmicroscopy.org/specifications/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from repofs.formats import ome_xml
from repofs.formats.ome_xml import OmeImage
from repofs.formats.ome_zarr.store import Hierarchy
from repofs.formats.original_metadata import MAX_DEPTH, OriginalMetadata
from repofs.formats.outcome import Fault

MAX_IMAGES = 5000
_OME_XML = "OME/METADATA.ome.xml"


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One image: a pyramid of arrays below the group *path*, and what the attributes say of it."""

    path: str
    multiscale: Mapping[str, Any]
    omero: Mapping[str, Any]
    xml: OmeImage | None  # what the OME-XML says of it


@dataclass(slots=True)
class Layout:
    """The images, what is wrong, and all attributes of the root. *known*: whether it is an OME-Zarr at all."""

    known: bool = False
    images: list[Multiscale] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    original: OriginalMetadata = field(default_factory=OriginalMetadata)


def find(hierarchy: Hierarchy) -> Layout:
    """Return what is in *hierarchy*. Raises Fault when its root cannot be read, OSError."""
    layout = Layout()
    root = hierarchy.attributes("")
    layout.original.add("", _keyed(root))
    series = _strings((_attributes("OME", hierarchy, layout) or {}).get("series"))
    places = {path: place for place, path in enumerate(series)}  # in the OME-XML
    xml = _xml_images(hierarchy, layout)
    for number, path in enumerate(_paths(_ome(root), series, hierarchy, layout)):
        layout.known = True
        if max(number, len(layout.images)) >= MAX_IMAGES:
            layout.faults.append(f"it has more than {MAX_IMAGES} images: the rest was not looked at")
            break
        attributes = _attributes(path, hierarchy, layout) if path else _ome(root)
        if attributes is not None:
            place = places.get(path, len(xml)) if places else number
            _add(path, attributes, xml[place] if place < len(xml) else None, layout)
    return layout


def _add(path: str, attributes: Mapping[str, Any], xml: OmeImage | None, layout: Layout) -> None:
    """Add the image of the group *path* to *layout*; a group may have it in several forms, which are images too."""
    found = [each for each in _list(attributes.get("multiscales")) if isinstance(each, Mapping)]
    if not found:
        layout.faults.append(f"the image {path} that it names is not there" if path else "its multiscales are none")
    omero = attributes.get("omero")
    for each in found[: MAX_IMAGES - len(layout.images)]:
        layout.images.append(Multiscale(path, each, omero if isinstance(omero, Mapping) else {}, xml))


def _paths(root: Mapping[str, Any], series: list[str], hierarchy: Hierarchy, layout: Layout) -> Iterator[str]:
    """Yield the groups that are images, by what the attributes of the *root* say."""
    if isinstance(root.get("plate"), Mapping):
        for well in _named(root["plate"].get("wells")):
            fields = (_attributes(well, hierarchy, layout) or {}).get("well")
            if isinstance(fields, Mapping):
                yield from (f"{well}/{field}" for field in _named(fields.get("images")))
            else:
                layout.known = True
                layout.faults.append(f"the well {well} that the plate names is not there")
    elif isinstance(root.get("well"), Mapping):
        yield from _named(root["well"].get("images"))
    elif "multiscales" in root:
        yield ""
    elif series:
        yield from series
    else:
        number = 0
        while "multiscales" in (_attributes(str(number), hierarchy, layout) or {}):
            yield str(number)
            number += 1


def _attributes(path: str, hierarchy: Hierarchy, layout: Layout) -> Mapping[str, Any] | None:
    """Return what OME says at *path*, None where that cannot be read, which is told."""
    try:
        return _ome(hierarchy.attributes(path))
    except Fault as fault:
        layout.faults.append(str(fault))
        return None


def _xml_images(hierarchy: Hierarchy, layout: Layout) -> list[OmeImage]:
    """Return the images of the OME-XML, in the order of the series."""
    try:
        words = hierarchy.text(_OME_XML, ome_xml.MAX_BYTES)
        ome = None if words is None else ome_xml.parse(words)
    except Fault as fault:
        layout.faults.append(f"its {_OME_XML} is of no use: {fault}")
        return []
    if ome is None:
        return []
    for key, value in ome.original.flat.items():
        layout.original.add(key, value)
    return ome.images


def _ome(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def _named(entries: object) -> list[str]:
    """Return the paths that a list of wells or images gives."""
    return _strings([entry.get("path") for entry in _list(entries) if isinstance(entry, Mapping)])


def _strings(values: object) -> list[str]:
    return [value for value in _list(values)[: MAX_IMAGES + 1] if isinstance(value, str)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _keyed(value: object, depth: int = 0) -> object:
    """Return *value* with lists of objects as objects by number, so that each field gets a key of its own."""
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, Mapping):
        return {key: _keyed(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list) and any(isinstance(one, (Mapping, list)) for one in value):
        return {str(number): _keyed(inner, depth + 1) for number, inner in enumerate(value)}
    return value
