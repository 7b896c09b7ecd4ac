"""OME-TIFF: the images that OME-XML declares, held against the pages that are there, in one file or in several.

A file of several of which the others cannot be had stands for itself: its images have the planes that lie in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from repofs.formats.ome_xml import Objective, Ome, OmeImage, Planes
from repofs.formats.pixel_types import PIXEL_TYPES
from repofs.formats.reader import Files
from repofs.formats.tiff import file as tiff_file
from repofs.formats.tiff import layout as tiff_layout
from repofs.formats.tiff import ome_planes
from repofs.formats.tiff.layout import Layout
from repofs.formats.tiff.ome_planes import Part, Place
from repofs.formats.tiff.preview import Plane
from repofs.formats.values import is_below, possible
from repofs.image import ImageInfo, Members


class Layouts:
    """The layouts of the TIFFs beside each other; each is walked when it is first asked for."""

    def __init__(self, files: Files, known: Mapping[str, Layout | None]) -> None:
        self.files = files
        self._known = dict(known)

    def of(self, name: str) -> Layout | None:
        """Return the layout of the file *name*, None when it is not there or not of the fileset."""
        if name not in self._known:
            self._known[name] = self._walked(name) if is_below(name) else None
        return self._known[name]

    def _walked(self, name: str) -> Layout | None:
        try:
            with self.files.open(name) as file:
                return tiff_layout.walk(file) or Layout(big_endian=False, fault="it does not begin as a TIFF does")
        except OSError:
            return None


@dataclass(frozen=True, slots=True)
class OmeStack:
    """One image, and the parts of it that files hold."""

    info: ImageInfo
    image: OmeImage
    parts: list[Part]
    files: Files

    def middle(self) -> Iterator[list[Plane]]:
        """Yield, for each channel, the whole plane nearest to the middle of Z and T in all its resolutions."""
        z, t = self.image.size["Z"] // 2, self.image.size["T"] // 2
        nearest: dict[int, tuple[int, Place]] = {}
        for place in ome_planes.places(self.image, self.parts):
            far = abs(place.z - z) + abs(place.t - t)
            if place.c not in nearest or far < nearest[place.c][0]:
                nearest[place.c] = far, place
        for _, (_, place) in sorted(nearest.items()):
            with self.files.open(place.file) as file, tiff_file.opened(file, place.layout) as tiff:
                page = tiff.pages[place.page]
                yield [Plane.of(level) for level in (page, *(page.pages or ()))]


def members(ome: Ome, name: str) -> Members | None:
    """Return the fileset that *ome*, found in the file *name*, tells of; None when it is this file alone.

    A BinaryOnly file leads to the one that has the metadata, which names all the others.
    """
    if ome.metadata_file is not None:
        return Members(ome.metadata_file, (ome.metadata_file, name)) if is_below(ome.metadata_file) else None
    names = sorted(filter(is_below, file_names(ome)))
    return Members(names[0], tuple(names)) if name in names and len(names) > 1 else None


def file_names(ome: Ome) -> set[str]:
    """Return the names of all files in which *ome* says that planes lie."""
    return {planes.file_name for image in ome.images for planes in image.planes if planes.file_name}


def stacks(ome: Ome, name: str, layouts: Layouts) -> tuple[list[OmeStack], list[str | None]]:
    """Return the images with a whole plane in the file *name* or beside it, and sentences on what is missing.

    The other files are those of the fileset; when none of them can be had, a TIFF *name* stands for itself.
    """
    together = layouts.of(name) is None or any(
        layouts.of(other) is not None for other in sorted(file_names(ome) - {name})
    )
    found: list[OmeStack] = []
    faults: list[str | None] = []
    elsewhere: set[str] = set()
    for image in ome.images:
        parts, others = _parts(image, ome.uuid, name, layouts, together=together)
        elsewhere |= others
        if not parts and others:
            continue
        stack, fault = _stack(ome, image, parts, layouts.files, whole_fileset=not others, series=len(found), name=name)
        if stack is not None:
            found.append(stack)
        if fault is not None:
            faults.append(fault)
    if not ome.images:
        faults.append("the OME-XML declares no image")
    if elsewhere:
        faults.append(f"the OME-XML also names planes in {_listed(elsewhere)}, which stand for themselves")
    if len(faults) > 2:
        faults[2:] = [f"and {len(faults) - 2} more"]
    return found, [*faults, *(_faults_of_members(ome, name, layouts) if together else ())]


def _parts(
    image: OmeImage, uuid: str | None, name: str, layouts: Layouts, *, together: bool
) -> tuple[list[Part], set[str]]:
    """Return what the files have of *image*, and the names of files that the rest is in and that stand for themselves.

    The UUID decides which planes are in this file, then the file name; TiffData that names neither is of it too. When
    all names one and the same stranger that is not there, it is this file under its former name.
    """
    by_file: dict[str, list[Planes]] = {}
    for planes in image.planes:
        named = planes.file_name or planes.uuid
        mine = named is None or (planes.uuid is not None and planes.uuid == uuid) or planes.file_name == name
        by_file.setdefault(name if mine or named is None else named, []).append(planes)
    if not by_file:
        by_file[name] = []
    strangers = set() if together else by_file.keys() - {name}
    if len(strangers) == 1 == len(by_file):
        by_file, strangers = {name: by_file.popitem()[1]}, set()
    parts = [Part(file, planes, layouts.of(file)) for file, planes in by_file.items() if file not in strangers]
    return parts, strangers


def _stack(
    ome: Ome, image: OmeImage, parts: list[Part], files: Files, *, whole_fileset: bool, series: int, name: str
) -> tuple[OmeStack | None, str | None]:
    label = image.name or f"image {series}"
    if not possible(*(image.size.get(axis, 0) for axis in "XYZCT")):
        return None, f"the OME-XML gives no possible size for {label}"
    if image.pixel_type not in PIXEL_TYPES:
        return None, f"the OME-XML gives {label} an unknown pixel type ({image.pixel_type[:32]!r})"
    declared = image.size["Z"] * image.size["T"] * ome_planes.channels(image)
    faults = []
    counted, page, layout = 0, None, None
    for part in parts:
        pages, said = ome_planes.pages(part, declared)
        counted += said
        whole = next(filter(part.is_whole, pages[: part.pages_there]), None)
        if part.layout is not None and whole is not None and page is None:
            layout, page = part.layout, part.layout.pages[whole]
        if part.layout is not None and pages.stop > part.pages_there:
            where = "the file" if part.file == name else part.file
            faults.append(f"the OME-XML names page {pages.stop} for {label} where {part.pages_there} are in {where}")
    if page is None or layout is None:
        return None, f"no plane of {label} is whole"
    if whole_fileset and counted < declared and all(part.layout for part in parts):
        faults.insert(0, f"the OME-XML declares {declared} planes of {label} and says where {counted} of them are")
    size = image.size | ({} if whole_fileset else ome_planes.extent(parts[0].planes, image))
    if (page.width, page.length) != (size["X"], size["Y"]):
        faults.append(f"the OME-XML says {size['X']} x {size['Y']} pixels, the page has {page.width} x {page.length}")
        size["X"], size["Y"] = page.width, page.length
    info = _info(ome, image, size, image.name or name, series, big_endian=layout.big_endian)
    return OmeStack(info, image, parts, files), "; ".join(faults) or None


def _info(ome: Ome, image: OmeImage, size: dict[str, int], name: str, series: int, *, big_endian: bool) -> ImageInfo:
    objective = ome.objectives.get(image.objective, Objective())
    return ImageInfo(
        name=name,
        series=series,
        size_x=size["X"],
        size_y=size["Y"],
        size_z=size["Z"],
        size_c=size["C"],
        size_t=size["T"],
        pixel_type=image.pixel_type,
        rgb=image.rgb,
        big_endian=big_endian if image.big_endian is None else image.big_endian,
        physical_size_x_um=image.physical_um.get("X"),
        physical_size_y_um=image.physical_um.get("Y"),
        physical_size_z_um=image.physical_um.get("Z"),
        time_increment_s=image.time_increment_s,
        acquired=image.acquired,
        channels=tuple(image.channels),
        instrument=ome.microscopes.get(image.instrument),
        objective=objective.name,
        magnification=objective.magnification,
        numerical_aperture=objective.numerical_aperture,
    )


def _faults_of_members(ome: Ome, name: str, layouts: Layouts) -> list[str]:
    """Return what is wrong with the other files of the fileset: named outside its directory, missing, not whole."""
    others = sorted(file_names(ome) - {name})
    outside = {other for other in others if not is_below(other)}
    missing = {other for other in others if layouts.of(other) is None} - outside
    faults = []
    if outside:
        faults.append(f"it names {_listed(outside)}, outside its own directory, which is not followed")
    if missing:
        faults.append(f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} missing: bring the whole fileset")
    damaged = [f"in {other}, {layout.note}" for other in others if (layout := layouts.of(other)) and layout.note]
    return faults + damaged[:1] + ([f"and {len(damaged) - 1} more of its files are damaged"] if damaged[1:] else [])


def _listed(names: set[str]) -> str:
    some = sorted(names)[:3]
    return ", ".join(some) + (f" and {len(names) - 3} more files" if len(names) > 3 else "")
