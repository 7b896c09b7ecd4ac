"""TIFF, BigTIFF and OME-TIFF, through tifffile.

tifffile tells what the pages mean; whether they are there is asked of the file itself (`tiff_layout`), because
tifffile drops the pages of a truncated stack without a word. What the OME-XML says is read here too: tifffile would
open other files that it names. An image is given only when at least one of its planes is whole.
"""

from __future__ import annotations

import codecs
import math
import time
import xml.etree.ElementTree  # noqa: F401
from typing import BinaryIO, cast

import numpy
import tifffile

from repofs.formats import ome_tiff, ome_xml, tiff_layout
from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.reader import Files
from repofs.formats.tiff_layout import MAX_SIZE, Layout
from repofs.model import Channel, ImageInfo, Members, Recognised

# tifffile needs these (and ElementTree, and what strptime imports) in the middle of a file, when a confined process
# may be unable to read them: the interpreter may lie in a directory that only root can enter.
time.strptime("2000", "%Y")
for _encoding in ("utf-16", "utf-16-le", "utf-16-be", "cp1252"):
    codecs.lookup(_encoding)

NO_IMAGE = "no image can be read"

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PIXEL_TYPES = {
    "bool": "bit", "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16", "int32": "int32",
    "uint32": "uint32", "float16": "float", "float32": "float", "float64": "double", "complex64": "complex",
    "complex128": "double-complex",
}  # fmt: skip
_IMAGEJ_UNITS_UM = {"micron": 1.0, "microns": 1.0, "micrometer": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00B5m": 1.0,
                    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25_400.0}  # fmt: skip
_MAX_TAG_VALUES = 4096  # longer tags are tables of offsets or pixels, no metadata
_TAGS_NOT_KEPT = frozenset({"ImageDescription", "IJMetadata", "IJMetadataByteCounts"})  # kept taken apart


class TiffReader:
    """Reads TIFF and OME-TIFF."""

    name = "TIFF"
    suffixes = (".tif", ".tiff", ".tf2", ".tf8", ".btf")
    library = "tifffile"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins with the magic number of TIFF or BigTIFF."""
        return head[:4] in _MAGIC

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        """Return the images of the file, whole or in part; the note says what is missing."""
        with files.open(name) as file:
            return self._read(file, name)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        raise LookupError("not yet")

    def _read(self, file: BinaryIO, name: str) -> Recognised:
        layout = tiff_layout.walk(file)
        if layout is None:
            return _no_image("the file is not whole: it ends within its header")
        if not any(page.pixels_whole for page in layout.pages):
            return _no_image(layout.note)
        file.seek(0)
        source = file if layout.fault is None else cast(BinaryIO, tiff_layout.ClosedChain(file, layout))
        try:
            # Each of these three would look for other files beside this one.
            with tifffile.TiffFile(source, name=name, is_ome=False, is_mmstack=False, is_ndtiff=False) as tiff:
                return _recognised(tiff, layout, name)
        except Exception:
            if layout.note is None:
                raise
            return _no_image(layout.note)  # tifffile broke where the walk had seen the damage


def _no_image(fault: str | None) -> Recognised:
    return Recognised(format="TIFF", note=f"{fault}; {NO_IMAGE}")


def _recognised(tiff: tifffile.TiffFile, layout: Layout, name: str) -> Recognised:
    metadata = OriginalMetadata()
    faults = [layout.note]
    images: tuple[ImageInfo, ...] = ()
    ome = None
    try:
        ome = _ome(tiff)
    except ome_xml.OmeXmlFault as useless:
        faults.append(f"its OME-XML is of no use: {useless}")
    if ome is not None:
        metadata = ome.original
        if ome.metadata_file is not None:
            faults.append(f"its metadata is in {ome.metadata_file}, this file has only the planes")
        else:
            images, fault = ome_tiff.images(ome, layout, name)
            faults.append(fault)
    if ome is None or ome.metadata_file is not None:
        images, fault = _images(tiff, layout, name)
        faults.append(fault)
    _collect(tiff, metadata)
    sentences = [fault for fault in faults if fault]
    if not images:
        sentences.append(NO_IMAGE)
    return Recognised(
        format="TIFF" if ome is None else "OME-TIFF",
        images=images,
        original_metadata=metadata.flat,
        note="; ".join(sentences) or None,
    )


def _ome(tiff: tifffile.TiffFile) -> ome_xml.Ome | None:
    description = tiff.pages.first.description
    start = description[:4096].lstrip("\ufeff \r\n\t")
    return ome_xml.parse(description.strip("\0\ufeff \r\n\t")) if start.startswith("<") and "OME" in start else None


def _images(tiff: tifffile.TiffFile, layout: Layout, name: str) -> tuple[tuple[ImageInfo, ...], str | None]:
    """Return the images of a TIFF that has no OME-XML, and what is missing or None."""
    fault = None
    found: list[ImageInfo] = []
    all_series = [series for series in tiff.series if series.kind != "generic" or not _is_thumbnail(series, tiff)]
    # tifffile's own header says the shape of a series; where it is not true, the series falls back to one page.
    headers = [tuple(header["shape"]) for header in tiff.shaped_metadata or ()]
    for number, series in enumerate(all_series):
        shape = max(
            series.get_shape(False), headers.pop(0) if series.kind == "shaped" and headers else (), key=math.prod
        )
        planes = math.prod(shape) // max(1, math.prod(series.keyframe.shape))
        there = _planes_there(series, planes, tiff, layout)
        if there < planes:
            fault = f"its header declares {planes} planes, {there} are there"
        pixel_type = _PIXEL_TYPES.get(str(numpy.dtype(series.dtype).newbyteorder("=")))
        if pixel_type is None:
            fault = f"pixels of type {series.dtype} are not known to OMERO"
        elif there > 0 and _any_whole(series, layout):
            label = name if len(all_series) == 1 else f"{name} [{number}]"
            sizes = _sizes(series) if there == planes else {"Z": there, "C": 1, "T": 1}
            found.append(_image(tiff, series, sizes, pixel_type, text(series.name, 1024) or label, len(found)))
    for kind in ("imagej", "shaped"):
        if fault is None and getattr(tiff, f"is_{kind}") and all(series.kind != kind for series in all_series):
            fault = "its header declares other planes than are there"
    return tuple(image for image in found if max(image.size_z, image.size_c, image.size_t) <= MAX_SIZE), fault


def _is_thumbnail(series: tifffile.TiffPageSeries, tiff: tifffile.TiffFile) -> bool:
    return bool(series.keyframe.is_reduced) and series is not tiff.series[0]


def _planes_there(series: tifffile.TiffPageSeries, declared: int, tiff: tifffile.TiffFile, layout: Layout) -> int:
    """Return how many of the *declared* planes the file has room for, as pages or as bytes behind the first page."""
    if series.dataoffset is not None:
        room = tiff.filehandle.size - series.dataoffset
        return max(0, min(declared, room // max(1, series.keyframe.nbytes)))
    return min(declared, len(layout.pages))


def _any_whole(series: tifffile.TiffPageSeries, layout: Layout) -> bool:
    many = len(series) > len(layout.pages)  # one page stands for planes that follow it without pages of their own
    indices = (page.index for page in ([series.keyframe] if many else series) if page is not None)
    tops = (index if isinstance(index, int) else index[0] for index in indices)
    return any(index < len(layout.pages) and layout.pages[index].pixels_whole for index in tops)


def _sizes(series: tifffile.TiffPageSeries) -> dict[str, int]:
    """Return sizes of Z, C and T: colour samples count as C, an axis that we have no letter for as Z."""
    sizes = {"Z": 1, "C": 1, "T": 1}
    for axis, length in zip(series.get_axes(False), series.get_shape(False), strict=True):
        if axis not in "XY":
            sizes["C" if axis == "S" else axis if axis in sizes else "Z"] *= int(length)
    return sizes


def _image(
    tiff: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    sizes: dict[str, int],
    pixel_type: str,
    name: str,
    number: int,
) -> ImageInfo:
    page = series.keyframe
    x_um, y_um, z_um, increment = _calibration(tiff, series)
    samples = page.samplesperpixel if page.photometric in (2, 6) else 1  # RGB, YCbCr
    return ImageInfo(
        name=name,
        series=number,
        size_x=page.imagewidth,
        size_y=page.imagelength,
        size_z=sizes["Z"],
        size_c=sizes["C"] if sizes["C"] > 1 else samples,
        size_t=sizes["T"],
        pixel_type=pixel_type,
        rgb=samples > 1,
        big_endian=tiff.byteorder == ">",
        physical_size_x_um=x_um,
        physical_size_y_um=y_um,
        physical_size_z_um=z_um,
        time_increment_s=increment,
        acquired=_acquired(series, tiff),
        channels=_channels(tiff, series, sizes["C"]),
    )


def _calibration(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float | None, ...]:
    """Return X, Y, Z in µm and the seconds between time points, None where the file does not say.

    A bare resolution is of a print (72 dpi), not of an object: only ImageJ and MetaMorph name a unit of their own.
    """
    if tiff.is_stk:
        stk = tiff.stk_metadata or {}
        unit = _IMAGEJ_UNITS_UM.get(text(stk.get("CalibrationUnits", "")), 0.0)
        distances = numpy.atleast_1d(stk.get("ZDistance", 0.0))
        z = float(distances[0]) if distances.size else 0.0
        return *(_positive(value, unit) for value in (stk.get("XCalibration"), stk.get("YCalibration"), z)), None
    if series.kind == "imagej":
        imagej = tiff.imagej_metadata or {}
        unit = _IMAGEJ_UNITS_UM.get(text(imagej.get("unit", "")), 0.0)
        tags = series.keyframe.tags
        x, y = (_pixel_of(tags.valueof(tag)) for tag in ("XResolution", "YResolution"))
        return (_positive(x, unit), _positive(y, unit), _positive(imagej.get("spacing"), unit),
                _positive(imagej.get("finterval"), 1.0))  # fmt: skip
    return None, None, None, None


def _pixel_of(resolution: object) -> float | None:
    """Return units a pixel of a RATIONAL of pixels a unit."""
    if isinstance(resolution, tuple) and len(resolution) == 2 and resolution[0]:
        return float(resolution[1]) / float(resolution[0])
    return None


def _positive(value: object, factor: float) -> float | None:
    if not isinstance(value, (int, float)):
        return None
    product = float(value) * factor
    return product if product > 0 and math.isfinite(product) else None


def _acquired(series: tifffile.TiffPageSeries, tiff: tifffile.TiffFile) -> str | None:
    """Return when a MetaMorph stack was made. The tag DateTime says when the file was written, so it is not used."""
    created = (tiff.stk_metadata or {}).get("CreateTime") if series.kind == "stk" else None
    return None if created is None else text(created.isoformat(), 32)


def _channels(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, count: int) -> tuple[Channel, ...]:
    """Return the channels with the colours of ImageJ's lookup tables, or none when the file says nothing of them."""
    tables = (tiff.imagej_metadata or {}).get("LUTs") if series.kind == "imagej" else None
    if not isinstance(tables, (list, tuple)) or len(tables) != count:
        return ()
    brightest = (numpy.asarray(table).reshape(3, -1)[:, -1].tolist() for table in tables)
    return tuple(Channel(color="#{:02X}{:02X}{:02X}".format(*(int(part) & 255 for part in rgb))) for rgb in brightest)


def _collect(tiff: tifffile.TiffFile, metadata: OriginalMetadata) -> None:
    """Put in the tags of the first page and what tifffile makes of the writer's own block."""
    page = tiff.pages.first
    for tag in page.tags:
        if tag.count <= _MAX_TAG_VALUES and tag.name not in _TAGS_NOT_KEPT:
            value = tag.value
            metadata.add(tag.name, value.name if hasattr(value, "name") else value)
    for block in ("imagej", "stk", "fei", "sem", "micromanager"):
        metadata.add("", getattr(tiff, f"{block}_metadata") or {})
    if page.description and not page.description.lstrip().startswith("<") and not tiff.is_imagej:
        metadata.add("ImageDescription", page.description)
