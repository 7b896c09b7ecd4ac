"""Image Cytometry Standard: a header .ics with the samples in a file .ids (version 1), or behind it (version 2)."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import BinaryIO

import numpy

from repofs.formats import packed
from repofs.formats.ics import header as ics_header
from repofs.formats.ics.header import IcsHeader
from repofs.formats.outcome import NO_PLANE, Fault, recognised
from repofs.formats.raw_array import RawArray
from repofs.formats.reader import Files
from repofs.formats.units import micrometres, seconds
from repofs.formats.values import positive
from repofs.image import Channel, ImageInfo, Members, Recognised

_HEADER, _SAMPLES = ".ics", ".ids"


class IcsReader:
    """Reads ICS 1 and 2, also with samples that gzip has packed."""

    name = "ICS"
    library = "repofs"
    suffixes = (_HEADER, _SAMPLES)

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins a header; samples have no magic number, so they are known by their name."""
        return ics_header.begins(head) or name.lower().endswith(_SAMPLES)

    def members(self, name: str, files: Files) -> Members | None:
        if name.lower().endswith(_SAMPLES):
            main = _counterpart(name)
            return Members(main, (main, name), certain=False)
        with files.open(name) as file:
            source = _source(name, ics_header.parse(file))
        return None if source is None or source == name else Members(name, (name, source))

    def read(self, name: str, files: Files) -> Recognised:
        if name.lower().endswith(_SAMPLES):
            alone = f"these are samples: their header {_counterpart(name)} did not come with them"
            return recognised(self.name, (), [alone])
        with files.open(name) as file:
            header = ics_header.parse(file)
        try:
            there, fault = _samples(name, header, files)
        except Fault as useless:
            there, fault = None, str(useless)
        images = [] if there is None else [_image(name, header, there)]
        return recognised(self.name, images, [fault], header.original)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        if series != 0:
            raise LookupError(f"it has no image {series}")
        with files.open(name) as file:
            header = ics_header.parse(file)
        there, _ = _samples(name, header, files)
        source = _source(name, header)
        if there is None or source is None:
            raise LookupError(NO_PLANE)
        with files.open(source) as file:
            if not _is_packed(header):
                return packed.picture(there, file, pixels, None)
            file.seek(there.offset)
            return packed.picture(replace(there, offset=0), file, pixels, "gzip")


def _counterpart(name: str) -> str:
    """Return the .ids of an .ics and the other way round, in the same case."""
    there = "dc"["cd".index(name[-2].lower())]
    return name[:-2] + (there.upper() if name[-2].isupper() else there) + name[-1]


def _source(name: str, header: IcsHeader) -> str | None:
    """Return the name of the file that has the samples, None when the header names one that is not beside it."""
    if header.version == 1:
        return _counterpart(name) if name.lower().endswith(_HEADER) else name + _SAMPLES
    words = header.words("source", "file")
    if not words:
        return name
    source = " ".join(words)
    return None if "/" in source or "\\" in source or source in (".", "..") else source


def _is_packed(header: IcsHeader) -> bool:
    """Return whether gzip has packed the samples. Raises Fault for another kind of packing."""
    compression = header.word("representation", "compression", "uncompressed").lower()
    if compression not in ("uncompressed", "gzip"):
        raise Fault(f"its samples are packed by {compression}, which cannot be read: pack them with gzip")
    return compression == "gzip"


def _samples(name: str, header: IcsHeader, files: Files) -> tuple[RawArray | None, str | None]:
    """Return where the whole planes lie, None when none is whole, and what is missing. Raises Fault."""
    source = _source(name, header)
    if source is None:
        raise Fault("it names a file that does not lie beside it: put that there, and its bare name in the header")
    offset = header.length if source == name else _whole_number(header.word("source", "offset", "0"))
    declared = header.array(offset)
    if not declared.possible:
        raise Fault(f"sizes of {' x '.join(map(str, declared.sizes.values()))} are not possible")
    if not files.has(source):
        raise Fault(f"the file {source} with the samples is missing: put it beside this one")
    with files.open(source) as file:
        there = _whole(file, declared, is_packed=_is_packed(header))
    fault = None if there is not None and there.sizes == declared.sizes else f"{source} has not all samples"
    return there, fault


def _whole(file: BinaryIO, declared: RawArray, *, is_packed: bool) -> RawArray | None:
    if is_packed:
        return declared if packed.ends_with_length(file, declared.offset, declared.nbytes) else None
    return declared.whole(max(0, file.seek(0, os.SEEK_END) - declared.offset))


def _whole_number(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise Fault("its samples begin at an offset that is no number")
    return int(word)


def _image(name: str, header: IcsHeader, there: RawArray) -> ImageInfo:
    scales, units = header.per_axis("scale"), header.per_axis("units")
    x_um, y_um, z_um = (micrometres(scales.get(axis), units.get(axis)) for axis in "XYZ")
    return replace(
        there.image(name),
        physical_size_x_um=x_um,
        physical_size_y_um=y_um,
        physical_size_z_um=z_um,
        time_increment_s=seconds(scales.get("T"), units.get("T")),
        channels=_channels(header, there.sizes["C"]),
        instrument=" ".join(header.words("sensor", "model")) or None,
        numerical_aperture=positive(header.word("sensor", "s_params numaperture")),
    )


def _channels(header: IcsHeader, count: int) -> tuple[Channel, ...]:
    """Return the channels by the wavelengths of the sensor, in nm, or none when the header has not one for each."""
    excitation = header.words("sensor", "s_params lambdaex")
    emission = header.words("sensor", "s_params lambdaem")
    if len(emission) < count or len(excitation) < count:
        return ()
    pairs = zip(excitation[: min(count, 1000)], emission, strict=False)
    return tuple(Channel(excitation_nm=positive(ex), emission_nm=positive(em)) for ex, em in pairs)
