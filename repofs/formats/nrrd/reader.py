"""NRRD: header and samples in one file (``.nrrd``), or the samples in others that the header (``.nhdr``) names.

`header` says how the samples lie; pynrrd would open their files by name, so they are read by `raw_array`.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

import numpy

from repofs.formats import packed
from repofs.formats.nrrd import header as nrrd_header
from repofs.formats.nrrd.header import Header, Volume
from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import Fault, recognised
from repofs.formats.raw_array import RawArray
from repofs.formats.reader import Files
from repofs.image import ImageInfo, Members, Recognised

MAX_TEXT_BYTES = 64 << 20  # of samples written as text, which have to be read from the start

_WRITTEN = ("text", "hex")
_DATA_SUFFIXES = (".raw", ".raw.gz", ".raw.bz2", ".zraw")


class NrrdReader:
    """Reads NRRD."""

    name = "NRRD"
    suffixes = (".nrrd", ".nhdr")
    library = "pynrrd"

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
                except Fault:
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
                    what = f"if it is the data of a NRRD volume, {_header_of(name)} belongs to it"
                    return Recognised(note=f"no reader knows this format; {what}")
                file.seek(0)
                header = nrrd_header.read(file)
            metadata.add("", {key: _plain(value) for key, value in header.fields.items()})
            image, note = _image(header, name, files)
        except Fault as fault:
            return recognised(self.name, (), [str(fault)], metadata)
        return recognised(self.name, [image], [note], metadata)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of the middle plane, of each channel. Raises Fault, LookupError."""
        if series:
            raise LookupError(f"it has no image {series}")
        with files.open(name) as file:
            header = nrrd_header.read(file)
        volume = nrrd_header.volume(header)
        parts = _parts(header, volume, name)
        array, _ = _whole(header, volume, parts, files)
        return packed.picture(array, cast(BinaryIO, _Joined(header, volume, parts, files)), pixels, None)


def _header_of(name: str) -> str | None:
    """Return what the header is called whose data *name* may be, None when it is not called as data is."""
    suffix = next((one for one in _DATA_SUFFIXES if name.lower().endswith(one)), None)
    return None if suffix is None else name[: -len(suffix)] + ".nhdr"


@dataclass(frozen=True, slots=True)
class _Parts:
    """The files that have the samples, one after another, each as many bytes of them."""

    names: tuple[str, ...]
    nbytes: int


def _parts(header: Header, volume: Volume, name: str) -> _Parts:
    names = tuple(os.path.join(os.path.dirname(name), data) for data in header.data_files) or (name,)
    samples = volume.array.nbytes // volume.array.dtype.itemsize
    if samples % len(names):
        raise Fault(f"its {samples} samples cannot be spread over {len(names)} files")
    return _Parts(names, volume.array.nbytes // len(names))


def _whole(header: Header, volume: Volume, parts: _Parts, files: Files) -> tuple[RawArray, str | None]:
    """Return what is whole of the samples, up to the first file that is not; and what is missing."""
    total = 0
    note: str | None = None
    for name in parts.names:
        try:
            with files.open(name) as file:
                there, note = _there(file, header, volume, parts)
        except FileNotFoundError:
            there, note = 0, f"{name}, which has a part of its data, is missing: put it beside this file"
        total += there
        if there < parts.nbytes:
            break
    return packed.whole(volume.array, total, note), note


def _there(file: BinaryIO, header: Header, volume: Volume, parts: _Parts) -> tuple[int, str | None]:
    """Return how many bytes of samples *file* has; of samples written as text, whether it is long enough for them."""
    start = _start(file, header, volume, parts)
    if volume.encoding not in _WRITTEN:
        return packed.room(file, start, parts.nbytes, volume.encoding)
    letters = parts.nbytes * 2 if volume.encoding == "hex" else parts.nbytes // volume.array.dtype.itemsize * 2 - 1
    there, note = packed.room(file, start, letters, None)
    return (parts.nbytes if there == letters else 0), note


def _start(file: BinaryIO, header: Header, volume: Volume, parts: _Parts) -> int:
    """Leave *file* where its data begins, maybe compressed, and return how many bytes of that come before samples."""
    file.seek(0 if header.data_files else header.offset)
    for _ in range(int(header.fields.get("line skip", 0))):
        if not file.readline():
            break
    skip = int(header.fields.get("byte skip", 0))
    if skip >= 0:
        return skip
    if volume.encoding is not None:
        raise Fault("its data cannot be counted from the end of a compressed file")
    file.seek(max(0, file.seek(0, os.SEEK_END) - parts.nbytes))
    return 0


class _Joined:
    """The samples of all files as one file, for reading forwards: one of them is open at a time."""

    def __init__(self, header: Header, volume: Volume, parts: _Parts, files: Files) -> None:
        self._header, self._volume, self._parts, self._files = header, volume, parts, files
        self._position = 0
        self._open: tuple[int, BinaryIO, int] | None = None  # which part, its samples, and where in it they begin

    def seek(self, offset: int) -> int:
        """Go to the byte *offset* of the samples."""
        self._position = offset
        return offset

    def read(self, count: int) -> bytes:
        """Return *count* bytes, fewer at the end of what is there."""
        found = b""
        while len(found) < count and self._position < self._parts.nbytes * len(self._parts.names):
            number, at = divmod(self._position, self._parts.nbytes)
            if self._open is None or self._open[0] != number:
                self._open = (number, *self._samples(self._parts.names[number]))
            _, samples, start = self._open
            samples.seek(start + at)
            got = samples.read(min(count - len(found), self._parts.nbytes - at))
            if not got:
                break
            found += got
            self._position += len(got)
        return found

    def _samples(self, name: str) -> tuple[BinaryIO, int]:
        file = self._files.open(name)
        start = _start(file, self._header, self._volume, self._parts)
        if self._volume.encoding not in _WRITTEN:
            begin = 0 if self._volume.encoding else file.tell()
            return packed.unpacked(file, self._volume.encoding), begin + start
        with file:
            file.seek(start, os.SEEK_CUR)
            return io.BytesIO(_from_text(file.read(MAX_TEXT_BYTES + 1), self._volume)), 0


def _from_text(text: bytes, volume: Volume) -> bytes:
    if len(text) > MAX_TEXT_BYTES:
        raise Fault("samples written as text are too many for a picture")
    try:
        if volume.encoding == "hex":
            return bytes.fromhex(text.decode("ascii"))
        return numpy.array(text.split(), volume.array.dtype).tobytes()
    except ValueError as error:
        raise Fault(f"its samples are not the text that they should be: {error}") from error


def _image(header: Header, name: str, files: Files) -> tuple[ImageInfo, str | None]:
    volume = nrrd_header.volume(header)
    array, note = _whole(header, volume, _parts(header, volume, name), files)
    image = replace(
        array.image(str(header.fields.get("content") or name)),
        rgb=volume.rgb,
        physical_size_x_um=volume.length_um("X"),
        physical_size_y_um=volume.length_um("Y"),
        physical_size_z_um=volume.length_um("Z"),
        time_increment_s=volume.seconds() if array.sizes["T"] > 1 else None,
    )
    return image, note


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, numpy.ndarray) else value
