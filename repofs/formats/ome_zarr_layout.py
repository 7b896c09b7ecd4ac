"""Which images an OME-Zarr hierarchy has, of versions 0.1 to 0.5: one, those of bioformats2raw, or a plate's fields.

    multiscales               in the root: the image itself
    bioformats2raw.layout     the groups that OME/ names as series, or 0, 1, …; OME/METADATA.ome.xml tells more of them
    plate                     wells of rows and columns, each with its fields

Labels are groups of their own below an image; they are no images. In Zarr 3 all this is below the attribute "ome".
Source: https://ngff.openmicroscopy.org/specifications/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from repofs.formats import ome_xml
from repofs.formats.ome_xml import OmeImage, OmeXmlFault
from repofs.formats.original_metadata import MAX_DEPTH, OriginalMetadata
from repofs.formats.zarr_store import Hierarchy, ZarrFault

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
    """Return what is in *hierarchy*. Raises ZarrFault when its root cannot be read, OSError."""
    layout = Layout()
    root = hierarchy.attributes("")
    layout.original.add("", _keyed(root))
    xml = _xml_images(hierarchy, layout)
    for number, path in enumerate(_paths(_ome(root), hierarchy, layout)):
        layout.known = True
        if max(number, len(layout.images)) >= MAX_IMAGES:
            layout.faults.append(f"it has more than {MAX_IMAGES} images: the rest was not looked at")
            break
        try:
            attributes = _ome(root if path == "" else hierarchy.attributes(path))
        except ZarrFault as fault:
            layout.faults.append(str(fault))
            continue
        found = [each for each in _list(attributes.get("multiscales")) if isinstance(each, Mapping)]
        omero = attributes.get("omero")
        told = xml[number] if number < len(xml) else None
        for each in found[: MAX_IMAGES - len(layout.images)]:
            layout.images.append(Multiscale(path, each, omero if isinstance(omero, Mapping) else {}, told))
        if not found:
            layout.faults.append(f"the image {path} that it names is not there")
    return layout


def _paths(root: Mapping[str, Any], hierarchy: Hierarchy, layout: Layout) -> Iterator[str]:
    """Yield the groups that are images by what the attributes of the *root* say."""
    if isinstance(root.get("plate"), Mapping):
        for well in _named(root["plate"].get("wells")):
            yield from _fields(well, hierarchy, layout)
    elif isinstance(root.get("well"), Mapping):
        yield from _named(root["well"].get("images"))
    elif "multiscales" in root:
        yield ""
    elif "bioformats2raw.layout" in root or _is_image(hierarchy, "0"):
        yield from _series(hierarchy)


def _fields(well: str, hierarchy: Hierarchy, layout: Layout) -> Iterator[str]:
    try:
        attributes = _ome(hierarchy.attributes(well))
    except ZarrFault as fault:
        layout.faults.append(str(fault))
        return
    if not isinstance(attributes.get("well"), Mapping):
        layout.faults.append(f"the well {well} that the plate names is not there")
        return
    yield from (f"{well}/{image}" for image in _named(attributes["well"].get("images")))


def _series(hierarchy: Hierarchy) -> Iterator[str]:
    named = _list(_ome(hierarchy.attributes("OME")).get("series"))
    if named:
        yield from (path for path in named if isinstance(path, str))
        return
    number = 0
    while _is_image(hierarchy, str(number)):
        yield str(number)
        number += 1


def _is_image(hierarchy: Hierarchy, path: str) -> bool:
    try:
        return "multiscales" in _ome(hierarchy.attributes(path))
    except ZarrFault:
        return False


def _xml_images(hierarchy: Hierarchy, layout: Layout) -> list[OmeImage]:
    """Return the images of the OME-XML, in the order of the series."""
    try:
        words = hierarchy.text(_OME_XML, ome_xml.MAX_BYTES)
        ome = None if words is None else ome_xml.parse(words)
    except (ZarrFault, OmeXmlFault) as fault:
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
    found = (entry.get("path") for entry in _list(entries)[: MAX_IMAGES + 1] if isinstance(entry, Mapping))
    return [path for path in found if isinstance(path, str)]


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
