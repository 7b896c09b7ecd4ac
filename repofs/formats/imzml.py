"""imzML, images of mass spectra, through pyimzml: an XML file, and a file .ibd beside it that has the spectra.

An image is the grid of the scan; what is seen of it is the sum of each spectrum. For `read` the header before the
spectra is enough, and the last spectrum for what the .ibd must hold: there may be a million of them.
"""

from __future__ import annotations

import os
import uuid
from typing import Any, BinaryIO
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser, fromstring

import numpy
from pyimzml.ImzMLParser import ImzMLParser
from pyimzml.metadata import Metadata

from repofs.formats import sampling
from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import Fault, recognised
from repofs.formats.reader import Files
from repofs.formats.units import micrometres
from repofs.formats.values import possible
from repofs.image import ImageInfo, Members, Recognised

MAX_HEADER_BYTES = 16 << 20
MAX_PREVIEW_BYTES = 256 << 20  # of XML: all spectra must be looked at to find those of a few pixels

_CHUNK_BYTES = 1 << 16
_TAIL_BYTES = 1 << 20
_UUID_BYTES = 16  # the .ibd begins with that of its .imzML
_UUID, _WIDTH, _HEIGHT, _PIXEL_X, _PIXEL_Y = (f"IMS:10000{number}" for number in (80, 42, 43, 46, 47))
_OFFSET, _ENCODED_BYTES = "IMS:1000102", "IMS:1000104"
_PIXEL_TYPES = {"32-bit float": "float", "64-bit float": "double", "32-bit integer": "int32"}
_UNITS = {"UO:0000016": "mm", "UO:0000017": "µm", "UO:0000018": "nm"}
_DATA, _XML = (".ibd", ".IBD"), (".imzML", ".imzml", ".IMZML")


class ImzmlReader:
    """Reads imzML."""

    name = "imzML"
    suffixes = (".imzml", ".ibd")
    library = "pyimzml"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* is of mzML by a name that says imzML; spectra have only their name."""
        return name.endswith(_DATA) or (name.endswith(_XML) and b"<mzML" in head)

    def members(self, name: str, files: Files) -> Members | None:
        """Return the pair."""
        if name.endswith(_DATA):
            main = _beside(name, _XML, files)
            return Members(main, (main, name), certain=False)
        return Members(name, (name, _beside(name, _DATA, files)))

    def read(self, name: str, files: Files) -> Recognised:
        """Return the grid as one image, if all spectra are there."""
        try:
            return self._read(name, files)
        except Fault as fault:
            return recognised(self.name, (), [str(fault)])

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return the sum of the spectrum of every n-th pixel, 0 where none was taken.

        Raises ValueError when there are too many spectra to look at.
        """
        if series != 0:
            raise LookupError(f"it has no image {series}")
        with files.open(name) as file, files.open(_beside(name, _DATA, files)) as data:
            size = file.seek(0, os.SEEK_END)
            if size > MAX_PREVIEW_BYTES:
                raise ValueError(f"{size} bytes of XML are too many for a preview, which takes {MAX_PREVIEW_BYTES}")
            width, height = _sizes(_header(file))
            file.seek(0)
            return _sums(ImzMLParser(file, ibd_file=data), width, height, sampling.step((width, height), pixels))

    def _read(self, name: str, files: Files) -> Recognised:
        if name.endswith(_DATA):
            raise Fault(f"it has only spectra, what they are of is in {_beside(name, _XML, files)}")
        with files.open(name) as file:
            header = _header(file)
            needed = _last_byte(file)
        width, height = _sizes(header)
        metadata = OriginalMetadata()
        metadata.add("", header.pretty())
        image = ImageInfo(
            name=name,
            series=0,
            size_x=width,
            size_y=height,
            size_z=1,
            size_c=1,
            size_t=1,
            pixel_type=_pixel_type(header),
            physical_size_x_um=_pixel_um(header, _PIXEL_X),
            physical_size_y_um=_pixel_um(header, _PIXEL_Y) or _pixel_um(header, _PIXEL_X),  # one for both: squares
        )
        note = _compare(header, _beside(name, _DATA, files), needed, files)
        return recognised(self.name, [image], [note], metadata)


class _Header(TreeBuilder):
    """Builds the tree of all that stands before the spectra."""

    root: Element | None = None
    whole = False

    def start(self, tag: str, attributes: dict[Any, Any], /) -> Element:
        element = super().start(tag, attributes)
        self.root = element if self.root is None else self.root
        self.whole = self.whole or tag.endswith("}spectrumList")
        return element

    def doctype(self, *_: object) -> None:
        raise Fault("it has a document type declaration, which imzML does not")


def _header(file: BinaryIO) -> Any:
    """Return pyimzml's view of what stands before the spectra. Raises Fault."""
    builder = _Header()
    parser = XMLParser(target=builder)
    file.seek(0)
    try:
        while not builder.whole and file.tell() < MAX_HEADER_BYTES and (chunk := file.read(_CHUNK_BYTES)):
            parser.feed(chunk)
        if builder.whole:
            return Metadata(builder.root)
    except (ParseError, AttributeError, ValueError) as error:  # pyimzml takes required elements for granted
        raise Fault(f"its header is damaged ({error})") from error
    raise Fault("the file is not whole: its XML has no spectra")


def _last_byte(file: BinaryIO) -> int:
    """Return where in the .ibd the last spectrum ends, in bytes. Raises Fault."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
    tail = file.read().decode("latin-1")
    first, last = tail.rfind("<spectrum "), tail.rfind("</spectrum>")
    if "</mzML>" not in tail or not 0 <= first < last:
        raise Fault("the file is not whole: its XML has no end")
    try:
        spectrum = fromstring(tail[first:last] + "</spectrum>")
        arrays = [{one.get("accession"): one.get("value") for one in part} for part in spectrum.iter("binaryDataArray")]
        return max(int(array[_OFFSET] or 0) + int(array[_ENCODED_BYTES] or 0) for array in arrays)
    except (ParseError, KeyError, ValueError) as error:
        raise Fault(f"its last spectrum cannot be read ({error})") from error


def _compare(header: Any, data: str, needed: int, files: Files) -> str | None:
    """Return what is odd about the file *data*. Raises Fault when it is not there, or shorter than *needed*."""
    if not files.has(data):
        raise Fault(f"its spectra are in {data}, which is not there")
    with files.open(data) as file:
        start = file.read(_UUID_BYTES)
        size = file.seek(0, os.SEEK_END)
    if size < max(needed, _UUID_BYTES):
        raise Fault(f"{data} is not whole: it has {size} bytes of {needed}")
    said = str(_value(header.file_description, _UUID)).strip("{}").replace("-", "").lower()
    # .NET turns round the first three parts.
    if said not in (start.hex(), uuid.UUID(bytes_le=start).hex):
        return f"{data} says that it belongs to another .imzML"
    return None


def _sizes(header: Any) -> tuple[int, int]:
    """Return width and height of the grid in pixels. Raises Fault."""
    settings = list(header.scan_settings.values())
    width, height = (next((_value(one, what) for one in settings if what in one), None) for what in (_WIDTH, _HEIGHT))
    if not (isinstance(width, int) and isinstance(height, int) and possible(width, height)):
        raise Fault(f"a scan of {width} x {height} pixels is not possible")
    return width, height


def _pixel_type(header: Any) -> str:
    """Return the type of the intensities. Raises Fault."""
    for group in header.referenceable_param_groups.values():
        if "intensity array" in group:
            for words, pixel_type in _PIXEL_TYPES.items():
                if words in group:
                    return pixel_type
    raise Fault("its header does not say of which type intensities are, or of one that OMERO does not know")


def _pixel_um(header: Any, accession: str) -> float | None:
    """Return the length of a pixel in µm, None where the header does not say."""
    for settings in header.scan_settings.values():
        for _, found, value, *_, unit in settings.cv_params:
            if found == accession and unit in _UNITS:
                return micrometres(value, _UNITS[unit])
    return None


def _value(group: Any, accession: str) -> object:
    return group.param_by_accession.get(accession)


def _sums(spectra: ImzMLParser, width: int, height: int, step: int) -> numpy.ndarray:
    """Return (1, Y, X): the sums of the intensities of every *step*-th pixel. Coordinates count from 1."""
    sums = numpy.zeros((-(-height // step), -(-width // step)))
    size = spectra.m.seek(0, os.SEEK_END)
    item = numpy.dtype(spectra.intensityPrecision).itemsize
    for number, (x, y, _) in enumerate(spectra.coordinates):
        if 1 <= x <= width and 1 <= y <= height and (x - 1) % step == (y - 1) % step == 0:
            start, length = spectra.intensityOffsets[number], spectra.intensityLengths[number] * item
            if not 0 <= start <= start + length <= size:
                raise ValueError(f"spectrum {number} lies beyond the end of the .ibd")
            spectra.m.seek(start)
            intensities = numpy.frombuffer(spectra.m.read(length), spectra.intensityPrecision)
            sums[(y - 1) // step, (x - 1) // step] += intensities.sum(dtype="f8")
    return sums[None]


def _beside(name: str, suffixes: tuple[str, ...], files: Files) -> str:
    """Return what *name* is called with the first of *suffixes* that is there, or with the first of all."""
    stem = os.path.splitext(name)[0]
    return next((stem + suffix for suffix in suffixes if files.has(stem + suffix)), stem + suffixes[0])
