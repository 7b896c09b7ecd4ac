"""OME-TIFF: the images that the OME-XML of a TIFF declares, held against the pages that are there.

A file that is one of several stands for itself: its images have the planes that lie in this file.
"""

from __future__ import annotations

from repofs.formats.ome_xml import Ome, OmeImage, Planes
from repofs.formats.tiff_layout import MAX_SIZE, Layout
from repofs.model import ImageInfo

PIXEL_TYPES = frozenset({"int8", "uint8", "int16", "uint16", "int32", "uint32", "float", "double", "complex",
                         "double-complex", "bit"})  # fmt: skip


def images(ome: Ome, layout: Layout, name: str) -> tuple[tuple[ImageInfo, ...], str | None]:
    """Return the images whose pixels are (in part) in this file, and one sentence on what is missing or None."""
    found: list[ImageInfo] = []
    faults: list[str] = []
    elsewhere: set[str] = set()
    for image in ome.images:
        planes, others = _split(image, ome.uuid, name)
        elsewhere |= others
        if not planes and others:
            continue
        info, fault = _image(image, planes, layout, whole_fileset=not others, series=len(found), name=name)
        if info is not None:
            found.append(info)
        if fault is not None:
            faults.append(fault)
    if not ome.images:
        faults.append("the OME-XML declares no image")
    if elsewhere:
        faults.append(f"the OME-XML also names planes in {_listed(elsewhere)}, which stand for themselves")
    if len(faults) > 2:
        faults[2:] = [f"and {len(faults) - 2} more"]
    return tuple(found), "; ".join(faults) or None


def _split(image: OmeImage, uuid: str | None, name: str) -> tuple[list[Planes], set[str]]:
    """Return the TiffData of this file and the names of other files that the rest names.

    The UUID decides, then the file name; TiffData that names neither is ours. When all names one and the same
    stranger, it is this file under its former name.
    """
    ours: list[Planes] = []
    others: list[Planes] = []
    for planes in image.planes:
        named = planes.uuid or planes.file_name
        mine = named is None or (planes.uuid is not None and planes.uuid == uuid) or planes.file_name == name
        (ours if mine else others).append(planes)
    strangers = {planes.file_name or planes.uuid or "" for planes in others}
    if not ours and len(strangers) == 1:
        return others, set()
    return ours, strangers


def _image(
    image: OmeImage, planes: list[Planes], layout: Layout, *, whole_fileset: bool, series: int, name: str
) -> tuple[ImageInfo | None, str | None]:
    size = dict(image.size)
    label = image.name or f"image {series}"
    if not all(0 < size.get(axis, 0) <= MAX_SIZE for axis in "XYZCT"):
        return None, f"the OME-XML gives no possible size for {label}"
    if image.pixel_type not in PIXEL_TYPES:
        return None, f"the OME-XML gives {label} an unknown pixel type ({image.pixel_type[:32]!r})"
    channels = _channels_of_planes(image)
    declared = size["Z"] * size["T"] * channels
    pages, counted = _pages(planes, declared, len(layout.pages))
    whole = [page for page in pages if page < len(layout.pages) and layout.pages[page].pixels_whole]
    if not whole:
        return None, f"no plane of {label} is whole"
    faults = []
    if not whole_fileset:
        size |= _extent(planes, image)
        declared = counted
    if counted < declared:
        faults.append(f"the OME-XML declares {declared} planes of {label} and says where {counted} of them are")
    if pages.stop > len(layout.pages):
        faults.append(f"the OME-XML names page {pages.stop} for {label} where {len(layout.pages)} are in the file")
    page = layout.pages[whole[0]]
    if (page.width, page.length) != (size["X"], size["Y"]):
        faults.append(f"the OME-XML says {size['X']} x {size['Y']} pixels, the page has {page.width} x {page.length}")
        size["X"], size["Y"] = page.width, page.length
    info = ImageInfo(
        name=image.name or name,
        series=series,
        size_x=size["X"],
        size_y=size["Y"],
        size_z=size["Z"],
        size_c=size["C"],
        size_t=size["T"],
        pixel_type=image.pixel_type,
        rgb=image.rgb,
        big_endian=layout.big_endian if image.big_endian is None else image.big_endian,
        physical_size_x_um=image.physical_um.get("X"),
        physical_size_y_um=image.physical_um.get("Y"),
        physical_size_z_um=image.physical_um.get("Z"),
        time_increment_s=image.time_increment_s,
        acquired=image.acquired,
        channels=tuple(image.channels),
    )
    return info, "; ".join(faults) or None


def _channels_of_planes(image: OmeImage) -> int:
    """Return how many planes the channels of one Z and T take: the samples of an RGB channel share one."""
    if image.channels and image.samples == image.size["C"]:
        return len(image.channels) if image.rgb else image.size["C"]
    return image.size["C"]


def _pages(planes: list[Planes], declared: int, there: int) -> tuple[range, int]:
    """Return the pages from the first to the last that hold planes, and how many planes they are said to hold.

    A TiffData without IFD and PlaneCount means all pages in order; with an IFD alone, one plane.
    """
    if not planes:
        return range(0, min(declared, there)), min(declared, there)
    first, stop, counted = MAX_SIZE, 0, 0
    for one in planes:
        page = one.page or 0
        count = one.count if one.count is not None else (1 if one.page is not None else min(declared, there))
        first, stop, counted = min(first, page), max(stop, page + count), counted + count
    return range(first, stop), counted


def _extent(planes: list[Planes], image: OmeImage) -> dict[str, int]:
    """Return sizes in Z, C, T of what lies in this file: the distinct positions that its TiffData names."""
    if all(one.count in (None, 1) for one in planes):
        c = len({one.c for one in planes})
        return {"Z": len({one.z for one in planes}), "C": image.size["C"] if image.rgb else c,
                "T": len({one.t for one in planes})}  # fmt: skip
    return {}


def _listed(names: set[str]) -> str:
    some = sorted(names)[:3]
    return ", ".join(some) + (f" and {len(names) - 3} more files" if len(names) > 3 else "")
