"""NRRD: header and samples in one file (``.nrrd``), or the samples in others that the header (``.nhdr``) names.

`nrrd_header` says how the samples lie; pynrrd would open their files by name, so they are read by `raw_planes`.
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO

import numpy

from repofs.formats import nrrd_header, raw_planes
from repofs.formats.nrrd_header import Header, Layout
from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.raw_planes import VolumeFault
from repofs.formats.reader import Files
from repofs.model import ImageInfo, Members, Recognised

NO_IMAGE = "no image can be read"
MAX_TEXT_BYTES = 64 << 20  # of samples written as text, which have to be read from the start

_DATA_SUFFIXES = (".raw", ".raw.gz", ".raw.bz2", ".zraw")


class NrrdReader:
    """Reads NRRD."""

    name = "NRRD"
    suffixes = (".nrrd", ".nhdr")

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins as NRRD does, or *name* may be the data of one: that has no beginning."""
        return nrrd_header.MAGIC.match(head) is not None or _header_of(name) is not None

    def members(self, name: str, files: Files) -> Members | None:
        """Return the header and the files that it names. Data is known by its name only."""
        with files.open(name) as file:
            if nrrd_header.MAGIC.match(file.read(16)):
                file.seek(0)
                try:
                    names = nrrd_header.read(file).data_files
                except VolumeFault:
                    return None  # `read` says why
                return Members(name, (name, *dict.fromkeys(names))) if names else None
        main = _header_of(name)
        return None if main is None else Members(main, (main, name), certain=False)

    def read(self, name: str, files: Files) -> Recognised:
        """Return the image of the volume, with the planes that are whole."""
        metadata = OriginalMetadata()
        try:
            with files.open(name) as file:
                if not nrrd_header.MAGIC.match(file.read(16)):
                    return Recognised(note=f"no reader knows this format; {_header_of(name)} would say what it is")
                file.seek(0)
                header = nrrd_header.read(file)
            metadata.add("", {key: _plain(value) for key, value in header.fields.items()})
            image, note = _image(header, name, files)
        except VolumeFault as fault:
            return Recognised(format=self.name, original_metadata=metadata.flat, note=f"{fault}; {NO_IMAGE}")
        return Recognised(format=self.name, images=(image,), original_metadata=metadata.flat, note=note)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of the middle plane, of each channel. Raises VolumeFault, LookupError."""
        if series:
            raise LookupError(series)
        with files.open(name) as file:
            header = nrrd_header.read(file)
        layout = nrrd_header.layout(header)
        whole, _ = _whole(header, layout, name, files)
        step = max(1, max(layout.size("X"), layout.size("Y")) // pixels)
        if whole < layout.pieces:
            starts = [whole // 2 * layout.piece_bytes]
        else:
            starts = layout.starts(layout.size("Z") // 2, layout.size("T") // 2)
        return numpy.concatenate([_plane(header, layout, name, files, start, step) for start in starts])


def _header_of(name: str) -> str | None:
    """Return what the header is called whose data *name* may be, None when it is not called as data is."""
    suffix = next((one for one in _DATA_SUFFIXES if name.lower().endswith(one)), None)
    return None if suffix is None else name[: -len(suffix)] + ".nhdr"


def _data_files(header: Header, name: str) -> tuple[str, ...]:
    directory = os.path.dirname(name)
    return tuple(os.path.join(directory, file) for file in header.data_files) or (name,)


def _pieces_a_file(header: Header, layout: Layout) -> int:
    files = max(1, len(header.data_files))
    if layout.pieces % files:
        raise VolumeFault(f"its {layout.pieces} planes cannot be spread over {files} files")
    return layout.pieces // files


def _whole(header: Header, layout: Layout, name: str, files: Files) -> tuple[int, str | None]:
    """Return how many pieces are whole before the first that is not, and what is missing. Raises VolumeFault."""
    each = _pieces_a_file(header, layout)
    whole = 0
    note: str | None = None
    for data in _data_files(header, name):
        try:
            with files.open(data) as file:
                there, note = _there(file, header, layout, each)
        except FileNotFoundError:
            there, note = 0, f"{data}, which has a part of its data, is missing: put it beside this file"
        whole += there
        if there < each:
            break
    if not whole:
        raise VolumeFault(note or "it has no plane")
    return whole, note


def _there(file: BinaryIO, header: Header, layout: Layout, count: int) -> tuple[int, str | None]:
    if layout.encoding in ("text", "hex"):  # at least so many letters a sample
        samples = layout.piece_bytes // layout.dtype.itemsize
        piece, encoding = (samples * 2 if layout.encoding == "text" else layout.piece_bytes * 2), None
    else:
        piece, encoding = layout.piece_bytes, layout.encoding
    start = _start(file, header, layout, count)
    return raw_planes.planes_there(file, start, piece, count, encoding)


def _start(file: BinaryIO, header: Header, layout: Layout, count: int) -> int:
    """Leave *file* where its data begins, maybe compressed, and return how many bytes of that come before samples."""
    file.seek(0 if header.data_files else header.offset)
    for _ in range(int(header.fields.get("line skip", 0))):
        if not file.readline():
            break
    skip = int(header.fields.get("byte skip", 0))
    if skip >= 0:
        return skip
    if layout.encoding is not None:
        raise VolumeFault("its data cannot be counted from the end of a compressed file")
    file.seek(max(0, file.seek(0, os.SEEK_END) - count * layout.piece_bytes))
    return 0


def _plane(header: Header, layout: Layout, name: str, files: Files, start: int, step: int) -> numpy.ndarray:
    each = _pieces_a_file(header, layout)
    number, at = divmod(start, each * layout.piece_bytes)
    with files.open(_data_files(header, name)[number]) as file:
        at += _start(file, header, layout, each)
        data, base = _samples(file, layout)
        if layout.encoding and at > raw_planes.MAX_UNPACKED_BYTES:
            raise VolumeFault("the middle plane lies too deep in a compressed file for a picture")
        shape = layout.size("Y"), layout.size("X"), layout.samples
        pitch = layout.stride(layout.roles.index("Y"))
        return raw_planes.plane(data, base + at, layout.dtype, shape, step, pitch)


def _samples(file: BinaryIO, layout: Layout) -> tuple[BinaryIO, int]:
    """Return a file of plain samples, and where in it the data of *file* begins, that stands there."""
    if layout.encoding not in ("text", "hex"):
        return raw_planes.unpacked(file, layout.encoding), 0 if layout.encoding else file.tell()
    text = file.read(MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise VolumeFault("samples written as text are too many for a picture")
    try:
        if layout.encoding == "hex":
            return io.BytesIO(bytes.fromhex(text.decode("ascii"))), 0
        return io.BytesIO(numpy.array(text.split(), layout.dtype).tobytes()), 0
    except ValueError as error:
        raise VolumeFault(f"its samples are not the text that they should be: {error}") from error


def _image(header: Header, name: str, files: Files) -> tuple[ImageInfo, str | None]:
    layout = nrrd_header.layout(header)
    whole, note = _whole(header, layout, name, files)
    z, c, t = (layout.size(role) for role in "ZCT")
    if whole < layout.pieces:
        z, c, t = whole, layout.samples, 1
    raw_planes.check((z, c, t))
    return (
        ImageInfo(
            name=str(header.fields.get("content") or name),
            series=0,
            size_x=layout.size("X"),
            size_y=layout.size("Y"),
            size_z=z,
            size_c=c,
            size_t=t,
            pixel_type=raw_planes.pixel_type(layout.dtype),
            rgb=layout.rgb,
            big_endian=layout.dtype.str.startswith(">"),
            physical_size_x_um=layout.length_um("X"),
            physical_size_y_um=layout.length_um("Y"),
            physical_size_z_um=layout.length_um("Z"),
            time_increment_s=layout.seconds() if t > 1 else None,
        ),
        note,
    )


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, numpy.ndarray) else value
