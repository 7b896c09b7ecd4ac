"""All readers, and the questions put to them: what belongs together, what does it hold, what does it look like?"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import NamedTuple, TypeVar

from repofs.errors import ReaderFailed
from repofs.formats import thumbnail
from repofs.formats.reader import Files, Reader
from repofs.image import Appearance, Members, Picture, Recognised

ENTRY_POINTS = "repofs.readers"
HEAD_BYTES = 4096

KEPT = "kept as an original without an image"
_NO_PICTURE = "no thumbnail of it can be made"

Answer = TypeVar("Answer")

# The house's own, module and class: those that know their files by more than a magic number come first.
_OWN = (
    ("ome_zarr.reader", "OmeZarrReader"),
    ("olympus.reader", "OlympusReader"),
    ("lif.reader", "LifReader"),
    ("nikon", "Nd2Reader"),
    ("czi.reader", "CziReader"),
    ("dicom.reader", "DicomReader"),
    ("tiff.companion", "CompanionReader"),
    ("ndtiff.reader", "NdTiffReader"),
    ("metamorph", "MetamorphReader"),
    ("pattern", "PatternReader"),
    ("vsi", "VsiReader"),
    ("tiff.reader", "TiffReader"),
    ("deltavision", "DeltaVisionReader"),
    ("mrc_map", "MrcReader"),
    ("ics.reader", "IcsReader"),
    ("pictures.reader", "PngReader"),
    ("pictures.reader", "JpegReader"),
    ("pictures.reader", "Jpeg2000Reader"),
    ("pictures.reader", "GifReader"),
    ("pictures.reader", "BmpReader"),
    ("fits", "FitsReader"),
    ("spe", "SpeReader"),
    ("imzml", "ImzmlReader"),
    ("nifti", "NiftiReader"),
    ("parrec", "ParRecReader"),
    ("nrrd.reader", "NrrdReader"),
)


class Extra(NamedTuple):
    """A reader of the house whose library does not come with it."""

    module: str
    reader: str
    name: str  # of the format
    suffixes: tuple[str, ...]
    library: str  # the distribution that reads it
    extra: str  # what to install: repofs[extra]


_EXTRAS = (
    Extra("digital_micrograph", "DigitalMicrographReader", "DigitalMicrograph", (".dm3", ".dm4"), "rosettasciio", "em"),
    Extra("velox", "VeloxReader", "Velox EMD", (".emd",), "rosettasciio", "em"),
)
_STRAY_BYTES = re.compile("[\udc80-\udcff]")


@cache
def readers() -> tuple[Reader, ...]:
    """Return every reader: third parties' first, by name, so that they can do better than the house's own."""
    more = (_load(extra.module, extra.reader) for extra in _EXTRAS if extra not in missing())
    own = (_load(module, name) for module, name in _OWN)
    return (*(reader for _, reader in third_parties()), *more, *own)


@cache
def third_parties() -> tuple[tuple[EntryPoint, Reader], ...]:
    """Return the readers that other packages bring, and by which entry point."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    return tuple((point, point.load()()) for point in found)


@cache
def missing() -> tuple[Extra, ...]:
    """Return what could be read too, if its library were installed."""
    return tuple(extra for extra in _EXTRAS if not _is_installed(extra.library))


def _load(module: str, name: str) -> Reader:
    reader: Reader = getattr(importlib.import_module(f"repofs.formats.{module}"), name)()
    return reader


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def look(name: str, files: Files) -> Members | Recognised:
    """Return which files form one fileset with *name*, as its reader says; what it holds when it stands alone.

    Raises as `read` does.
    """
    reader = _reader(name, files)
    if isinstance(reader, Recognised):
        return reader
    return _asked(reader, lambda: reader.members(name, files)) or _read(reader, name, files)


def read(name: str, files: Files) -> Recognised:
    """Return what the first reader that accepts the file *name* says of the fileset, or a note why none does.

    Raises ReaderFailed when that reader broke on it, OSError when the file cannot be read.
    """
    reader = _reader(name, files)
    return reader if isinstance(reader, Recognised) else _read(reader, name, files)


def _read(reader: Reader, name: str, files: Files) -> Recognised:
    found = _asked(reader, lambda: reader.read(name, files))
    return replace(found, images=tuple(replace(image, name=_shown(image.name)) for image in found.images))


def picture(name: str, files: Files, series: int, appearance: Appearance | None = None) -> Picture:
    """Return a thumbnail of one image of the fileset, shown as *appearance* says, else as the file does.

    Raises as `read` does; ReaderFailed also when there is no such image.
    """
    reader = _reader(name, files)
    if isinstance(reader, Recognised):
        raise ReaderFailed(str(reader.note))
    if appearance is None:
        found = _asked(reader, lambda: reader.read(name, files), _NO_PICTURE)
        image = next((one for one in found.images if one.series == series), None)
        if image is None:
            raise ReaderFailed(f"the {reader.name} reader finds no image {series} in it")
        appearance = image.appearance
    shown = appearance
    return _asked(
        reader, lambda: thumbnail.make(reader.preview(name, files, series, thumbnail.PIXELS), shown), _NO_PICTURE
    )


def _reader(name: str, files: Files) -> Reader | Recognised:
    """Return the first reader that accepts the file; or what is said of one that none accepts."""
    head = b""
    if not name.endswith("/"):
        with files.open(name) as file:
            head = file.read(HEAD_BYTES)
        if not head:
            return Recognised(note=f"the file is empty: {KEPT}")
    reader = next((reader for reader in readers() if reader.accepts(head, name, files)), None)
    return reader or Recognised(note=_nobody(name))


def _asked(reader: Reader, question: Callable[[], Answer], otherwise: str = KEPT) -> Answer:
    """Return the answer. Raises ReaderFailed when the reader broke, which says what comes of that *otherwise*."""
    try:
        return question()
    except MemoryError as error:
        raise ReaderFailed(f"the {reader.name} reader ran out of memory: {otherwise}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ReaderFailed(f"the {reader.name} reader broke on it ({what}): {otherwise}") from error


def _shown(name: str) -> str:
    """Return *name* with a mark in the place of bytes that are no text."""
    return _STRAY_BYTES.sub("\N{REPLACEMENT CHARACTER}", name)


def _nobody(name: str) -> str:
    if name.endswith("/"):
        return f"no reader knows this kind of directory: its files are {KEPT.replace('an original', 'originals')}"
    suffix = os.path.splitext(name)[1].lower()
    extra = next((extra for extra in missing() if suffix in extra.suffixes), None)
    if extra is not None:
        return f"{extra.name} is read once pip install 'repofs[{extra.extra}]' has been run: {KEPT}"
    named = next((reader.name for reader in readers() if suffix and suffix in reader.suffixes), None)
    if named is not None:
        return f"the name ends in {suffix} but the bytes do not begin as {named} does: {KEPT}"
    return f"no reader knows this format: {KEPT}"
