"""LIF and LOF, of Leica's LAS X, through liffile: each image of the file's tree is an image.

liffile reads the XML and where the blocks of pixels are; how the pixels of an image lie in its block is in the XML
(`image`).

    [0x70][bytes][0x2A][characters][XML, UTF-16], then blocks: [0x70][bytes][0x2A][size][0x2A][characters][id][pixels]
    LOF: the characters are "LMS_Object_File", one block without an id follows, then the XML
"""

from __future__ import annotations

import codecs
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, cast
from xml.etree.ElementTree import Element, ParseError

import liffile
import numpy

from repofs.formats.lif import image as lif_image
from repofs.formats.lif.image import Stored
from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.outcome import CUT_HEADER, Fault, recognised
from repofs.formats.reader import Files
from repofs.image import ImageInfo, Members, Recognised

# liffile needs it in the middle of a file, when a confined process may be unable to read it.
codecs.lookup("utf-16-le")

MAX_XML_BYTES = 256 << 20
MAX_ELEMENTS = 2_000_000
MAX_IMAGES = 10_000

_HEADER = struct.Struct("<IIBI")
_LOF = "LMS_Object_File".encode("utf-16-le")
_LOF_BLOCK = struct.Struct("<BIBIBQ")


class LifReader:
    """Reads LIF and LOF."""

    name = "LIF"
    library = "liffile"
    suffixes = (".lif", ".lof")

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins as the XML of LIF, or the name of LOF, does."""
        return head[:4] == b"\x70\0\0\0" and head[8:9] == b"\x2a" and head[13:15] in (b"<\0", b"L\0")

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        """Return the images of which at least one plane is whole; the note says what is missing."""
        faults: list[str] = []
        images: list[ImageInfo] = []
        original = OriginalMetadata()
        try:
            with files.open(name) as file:
                lif, size = _opened(file)
                for series, (path, element) in enumerate(_elements(lif)):
                    lif_image.collect(element, original, path)
                    try:
                        stored = _stored(lif, element, size)
                        if stored.missing:
                            faults.append(f"{path}: {stored.missing} bytes of its pixels are not in the file")
                        images.append(lif_image.image(path or name, series, element, stored))
                    except Fault as fault:
                        faults.append(f"{path}: {fault}")
        except Fault as fault:
            faults.append(str(fault))
        return recognised("LIF", images, map(text, faults), original)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of every n-th row of the middle plane. Raises Fault, LookupError."""
        with files.open(name) as file:
            lif, size = _opened(file)
            for number, (_, element) in enumerate(_elements(lif)):
                if number == series:
                    return lif_image.preview(_stored(lif, element, size), file, pixels)
        raise LookupError(f"it has no image {series}")


class _Nameless:
    """A file without its name: one that was opened by a descriptor has a number there, and liffile wants a path."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self.read = file.seek, file.tell, file.read


def _opened(file: BinaryIO) -> tuple[liffile.LifFile, int]:
    """Return what liffile makes of *file*, and its size in bytes. Raises Fault."""
    size = file.seek(0, os.SEEK_END)
    _check_xml(file, size)
    file.seek(0)
    try:
        return liffile.LifFile(cast(BinaryIO, _Nameless(file))), size
    except ParseError as error:
        raise Fault("its XML is not well-formed") from error
    except (ValueError, KeyError, OverflowError, OSError, struct.error) as error:
        raise Fault(f"its header is damaged ({' '.join(str(error).split())[:100]})") from error


def _check_xml(file: BinaryIO, size: int) -> None:
    """Raise Fault where the XML is not all there, or is more than can be looked at."""
    start = 0
    for _ in range(2):
        file.seek(start)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise Fault(CUT_HEADER)
        length = 2 * int(_HEADER.unpack(header)[3])
        if length > min(size, MAX_XML_BYTES):
            raise Fault("its XML is not all in the file" if length > size else "its XML is larger than is looked at")
        raw = file.read(length)
        if len(raw) < length:
            raise Fault("its XML is not all in the file")
        if raw != _LOF:
            break
        block = file.read(_LOF_BLOCK.size)
        if len(block) < _LOF_BLOCK.size:
            raise Fault(CUT_HEADER)
        start = file.tell() + _LOF_BLOCK.unpack(block)[5]
        if start >= size:
            raise Fault("it ends within its pixels, before its XML")
    if "<!DOCTYPE".encode("utf-16-le") in raw or raw.count(b"<\0") > MAX_ELEMENTS:
        raise Fault("its XML declares a document type, or has more elements than are looked at")


def _elements(lif: liffile.LifFile) -> Iterator[tuple[str, Element]]:
    """Yield the images with their names, those of the folders that they lie in before it; no more than MAX_IMAGES.

    The outermost element is the file itself, so that its name is left out where it holds others.
    """
    root = lif.xml_element.find("Element")
    waiting = [] if root is None else [("", root)]
    count = 0
    while waiting and count < MAX_IMAGES:
        path, element = waiting.pop()
        if element.find("Data/Image") is not None:
            count += 1
            yield path or text(element.get("Name", ""), 1024), element
        inner = element.findall("Children/Element")
        prefix = f"{path}/" if path else ""
        waiting += [(text(prefix + child.get("Name", ""), 1024), child) for child in reversed(inner)]


def _stored(lif: liffile.LifFile, element: Element, size: int) -> Stored:
    """Return where the pixels of an image are. Raises Fault where no plane of it is whole."""
    memory = element.find("Memory")
    block = lif.memory_blocks.get("" if memory is None else memory.get("MemoryBlockID", ""))
    if block is None:
        raise Fault("its block of pixels is not in the file")
    return Stored(element, block.offset, max(0, min(block.size, size - block.offset)))
