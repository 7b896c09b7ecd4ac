"""Princeton Instruments SPE, of WinView and WinSpec (2.x) and of LightField (3.0): a header of 4100 bytes, then the
frames one after another, which count as time points; then, from 3.0 on, an XML footer.

imageio knows where each field of the header is; its plugin itself wants a path or reads whole frames. Between the
frames of LightField may be what its XML calls MetaBlocks: a ``DataBlock type="Frame"`` says how many bytes apart they
are ("stride"; SPE 3.0 File Format Specification, 4411-0147).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast
from xml.parsers import expat

import numpy
from imageio.plugins.spe import Spec

from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import CUT_HEADER, recognised
from repofs.formats.raw_array import RawArray
from repofs.formats.reader import Files
from repofs.formats.values import possible
from repofs.image import Members, Recognised

MAX_XML_BYTES = 16 << 20

_DTYPES = cast("dict[int, numpy.dtype[Any]]", Spec.dtypes)  # by the number in the header
_WINVIEW_AT, _WINVIEW = 2996, b"\x67\x45\x23\x01"


@dataclass(frozen=True, slots=True)
class _Layout:
    width: int  # pixels
    height: int
    dtype: numpy.dtype[Any]
    declared: int  # frames
    frames: int  # that are whole
    stride: int  # bytes from one frame to the next
    xml: bytes
    fault: str | None

    @property
    def first(self) -> RawArray:
        """The first frame."""
        return RawArray(Spec.data_start, self.dtype, {"X": self.width, "Y": self.height})


class SpeReader:
    """Reads SPE."""

    name = "SPE"
    suffixes = (".spe",)
    library = "imageio"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* is a header, by a name that says so: not all writers put in the number of WinView."""
        if not name.lower().endswith(self.suffixes) or len(head) < _WINVIEW_AT + 4:
            return False
        known = head[_WINVIEW_AT : _WINVIEW_AT + 4] == _WINVIEW or 1 <= _field(head, "file_header_ver") < 4
        return known and _field(head, "datatype") in _DTYPES

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        """Return the one image, of the frames that are whole."""
        with files.open(name) as file:
            head = file.read(Spec.data_start)
            layout = _layout(head, file)
        if isinstance(layout, str):
            return recognised(self.name, (), [str(layout)])
        metadata = OriginalMetadata()
        metadata.add("XML", layout.xml)
        for field in Spec.metadata:
            metadata.add(field, _shown(_field(head, field)))
        image = replace(layout.first.image(name), size_t=layout.frames)
        return recognised(self.name, [image], [layout.fault], metadata)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of the middle frame, of which every n-th row is read."""
        with files.open(name) as file:
            layout = _layout(file.read(Spec.data_start), file)
            if series != 0 or isinstance(layout, str):
                raise LookupError(f"it has no image {series}")
            return layout.first.following(layout.frames // 2, layout.stride).picture(file, pixels)


def _field(head: bytes, name: str) -> Any:
    """Return the field *name* of the header: a number, bytes, or an array of them."""
    place: tuple[Any, ...] = Spec.basic.get(name) or Spec.metadata[name]
    offset, dtype, count = (*place, 1)[:3]
    values = numpy.frombuffer(head, dtype, count, offset)
    return values[0].item() if count == 1 else values


def _shown(value: object) -> object:
    """Return *value* as text where it is bytes; what it has of arrays as one line."""
    if isinstance(value, numpy.ndarray):
        return "" if value.dtype.names else b" ".join(value.tolist()).strip()
    return value


def _layout(head: bytes, file: BinaryIO) -> _Layout | str:
    """Return where the frames are; or, as a sentence without a full stop, why there are none."""
    size = end = file.seek(0, os.SEEK_END)
    if len(head) < Spec.data_start:
        return CUT_HEADER
    dtype = _DTYPES[_field(head, "datatype")].newbyteorder("<")
    width, height, stride = _field(head, "xdim"), _field(head, "ydim"), 0
    xml, faults = b"", []
    if _field(head, "file_header_ver") >= 3:
        end = _field(head, "xml_footer_offset")
        file.seek(min(end, size))
        xml = file.read(MAX_XML_BYTES)
        width, height, stride, fault = _blocks(xml, width, height)
        faults += [fault] if fault else []
    frame = width * height * dtype.itemsize
    stride = max(stride, frame)
    if not possible(width, height):
        return f"a size of {width} x {height} pixels is not possible"
    declared = max(1, _field(head, "NumFrames"))
    room = max(0, min(size, end) - Spec.data_start)
    there = min(declared, (room + stride - frame) // stride)
    if there == 0:
        return f"the file is not whole: a frame of {frame} bytes does not fit into it"
    if there < declared:
        faults.insert(0, f"its header declares {declared} frames, {there} are there")
    return _Layout(width, height, dtype, declared, there, stride, xml, "; ".join(faults) or None)


def _blocks(xml: bytes, width: int, height: int) -> tuple[int, int, int, str | None]:
    """Return width, height and stride as the XML footer says, or as given; and what is wrong with it."""
    frame: dict[str, str] = {}
    regions: list[dict[str, str]] = []

    def start(_: str, attributes: dict[str, str]) -> None:
        if attributes.get("type") == "Frame":
            frame.update(attributes)
        elif attributes.get("type") == "Region":
            regions.append(attributes)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(xml, True)
        region = regions[0] if regions else {}
        fault = f"it has {len(regions)} regions: only the first is read" if len(regions) > 1 else None
        return int(region.get("width", width)), int(region.get("height", height)), int(frame.get("stride", 0)), fault
    except (expat.ExpatError, ValueError) as error:
        return width, height, 0, f"its XML footer cannot be read ({error})"


def _refuse_doctype(*_: object) -> None:
    raise ValueError("it has a document type declaration")
