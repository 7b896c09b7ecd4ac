"""Philips PAR/REC, through nibabel: a table of slices as text (``.PAR``) and their samples (``.REC``).

nibabel reads the table; it would open the samples by name, so they are read by `raw_array`.
"""

from __future__ import annotations

import encodings.latin_1  # noqa: F401 - no module can be read any more when a file is opened
import io
import os
from dataclasses import dataclass

import numpy
from nibabel.parrec import PARRECError, PARRECHeader

from repofs.formats import packed
from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import Fault, recognised
from repofs.formats.pixel_types import pixel_type
from repofs.formats.raw_array import RawArray
from repofs.formats.reader import Files
from repofs.formats.values import positive
from repofs.image import ImageInfo, Members, Recognised

MAX_TABLE_BYTES = 32 << 20

_MAGIC = b"# === DATA DESCRIPTION FILE"


class ParRecReader:
    """Reads PAR/REC."""

    name = "PAR/REC"
    suffixes = (".par", ".rec")
    library = "nibabel"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* is such a table, or *name* is the data of one by its name: it has no beginning."""
        return head.startswith(_MAGIC) or _is_data(name)

    def members(self, name: str, files: Files) -> Members | None:
        """Return table and data. The data is known by its name only."""
        if _is_data(name):
            return Members(_partner(name), (_partner(name), name), certain=False)
        return Members(name, (name, _partner(name)))

    def read(self, name: str, files: Files) -> Recognised:
        """Return the image of the slices that are whole."""
        if _is_data(name):
            table = _partner(name)
            return Recognised(note=f"no reader knows this format; if it has Philips' slices, {table} belongs to it")
        metadata = OriginalMetadata()
        try:
            slices = _slices(name, files)
            metadata.add("", {key: _plain(value) for key, value in slices.header.general_info.items()})
            image, note = _image(slices, name)
        except Fault as fault:
            return recognised(self.name, (), [str(fault)], metadata)
        return recognised(self.name, [image], [note], metadata)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of the middle slice, of each channel. Raises Fault, LookupError."""
        if series:
            raise LookupError(f"it has no image {series}")
        slices = _slices(name, files)
        numbers = slices.order[:, slices.size_t // 2, slices.size_z // 2].tolist()
        with files.open(_partner(name)) as file:
            return numpy.concatenate([packed.picture(slices.slice(number), file, pixels, None) for number in numbers])


@dataclass(frozen=True, slots=True)
class _Slices:
    header: PARRECHeader
    first: RawArray  # the first slice of the data
    order: numpy.ndarray  # of shape (C, T, Z): which slice of the data it is
    note: str | None

    @property
    def size_c(self) -> int:
        return int(self.order.shape[0])

    @property
    def size_t(self) -> int:
        return int(self.order.shape[1])

    @property
    def size_z(self) -> int:
        return int(self.order.shape[2])

    def slice(self, number: int) -> RawArray:
        return self.first.following(number)


def _is_data(name: str) -> bool:
    return name.lower().endswith(".rec")


def _partner(name: str) -> str:
    """Return what the other file of the pair is called, in the same case of letters."""
    stem, suffix = os.path.splitext(name)
    other = ".par" if _is_data(name) else ".rec"
    return stem + (other.upper() if suffix.isupper() else other)


def _slices(name: str, files: Files) -> _Slices:
    """Return what the table in the file *name* says, and the data has. Raises Fault when there is no slice."""
    with files.open(name) as file:
        table = file.read(MAX_TABLE_BYTES).decode("latin-1")
    try:
        header = PARRECHeader.from_fileobj(io.StringIO(table), permit_truncated=True)  # type: ignore[no-untyped-call]
        shape = tuple(int(size) for size in header.get_data_shape())
        order = header.get_sorted_slice_indices()
        dtype = header.get_data_dtype().newbyteorder("<")
        dynamics = header.image_defs["dynamic scan number"][order]
    except (PARRECError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Fault(f"its table of slices cannot be read: {error}") from error
    width, height, z, volumes = (*shape, 1, 1)[:4]
    first = RawArray(0, dtype, {"X": width, "Y": height})
    packed.check(first)
    there, note = _there(_partner(name), files, first.nbytes, len(header.image_defs))
    grid = _grid(order[: z * volumes].reshape(volumes, z), dynamics[: z * volumes].reshape(volumes, z)[:, 0])
    if grid.max(initial=0) >= there:
        grid = numpy.arange(there).reshape(1, 1, there)
    return _Slices(header, first, grid, note)


def _grid(volumes: numpy.ndarray, dynamics: numpy.ndarray) -> numpy.ndarray:
    """Return slices of shape (C, T, Z) of *volumes* (V, Z): each dynamic is a time, what else differs is a channel."""
    _, counts = numpy.unique(dynamics, return_counts=True)
    times = len(counts) if (counts == counts[0]).all() else 1
    ordered = volumes[numpy.argsort(dynamics, kind="stable")] if times > 1 else volumes
    return ordered.reshape(times, -1, volumes.shape[1]).transpose(1, 0, 2)


def _there(data: str, files: Files, slice_bytes: int, count: int) -> tuple[int, str | None]:
    """Return how many slices are whole, and what is missing. Raises Fault when none is."""
    try:
        with files.open(data) as file:
            there, note = packed.room(file, 0, slice_bytes * count, None)
    except FileNotFoundError as error:
        raise Fault(f"{data}, which has its slices, is missing: put it beside this file") from error
    if there < slice_bytes:
        raise Fault(note or "its table has no slice")
    return there // slice_bytes, note


def _image(slices: _Slices, name: str) -> tuple[ImageInfo, str | None]:
    zooms = [float(zoom) for zoom in slices.header.get_zooms()]
    x_mm, y_mm, z_mm, seconds = (*zooms, 0.0, 0.0)[:4]
    image = ImageInfo(
        name=str(slices.header.general_info.get("protocol_name") or name),
        series=0,
        size_x=slices.first.sizes["X"],
        size_y=slices.first.sizes["Y"],
        size_z=slices.size_z,
        size_c=slices.size_c,
        size_t=slices.size_t,
        pixel_type=pixel_type(slices.first.dtype) or "",
        physical_size_x_um=positive(x_mm, 1e3),
        physical_size_y_um=positive(y_mm, 1e3),
        physical_size_z_um=positive(z_mm, 1e3),
        time_increment_s=positive(seconds) if slices.size_t > 1 else None,
        instrument="Philips",
    )  # when the exam began is no time of these slices
    return image, slices.note


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, numpy.ndarray) else value
