"""ND2, of Nikon's NIS-Elements, through nd2: each stage position is an image.

nd2 fills frames that are missing with zeros, so that whether they are there is asked of the map of chunks at the end
of the file. A chunk "ImageDataSeq|17!" holds frame 17 as rows of all channels, 4096 bytes after where it begins; the
frames are counted through the loops of the experiment, the innermost one fastest. ND2 files of before 2010 are
JPEG 2000, and are not read here.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from typing import BinaryIO

import nd2
import nd2.structures
import numpy

from repofs.formats import sampling
from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.outcome import CUT_HEADER, Fault, label, recognised
from repofs.formats.pixel_types import pixel_type
from repofs.formats.reader import Files
from repofs.formats.values import color, moment, positive, possible, words
from repofs.image import Channel, ImageInfo, Members, Recognised

_MAGIC = b"\xda\xce\xbe\x0a"
_FRAME = re.compile(rb"ImageDataSeq\|([0-9]{1,9})!")
_FRAME_HEADER = 4096
_STAMP = 8  # bytes of time in front of the samples, counted to the chunk
_MOST_BYTES = 1 << 29  # of one compressed frame, unpacked
# As NIS-Elements writes dates by the settings of the country: with AM and PM the month comes first.
_DATES = ("%m/%d/%Y %I:%M:%S %p", "%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S",
          "%d-%b-%y %I:%M:%S %p", "%d/%m/%Y %I:%M:%S %p")  # fmt: skip
_AXES = {"XYPosLoop": "P", "ZStackLoop": "Z"}  # other loops are over time
_MICROSCOPE = re.compile(r"Microscope: *([^\r\n]{1,200})")


class Nd2Reader:
    """Reads ND2."""

    name = "ND2"
    library = "nd2"
    suffixes = (".nd2",)

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins with the magic number of a chunk."""
        return head.startswith(_MAGIC)

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        """Return an image for each stage position that has a whole frame; the note says what is missing."""
        try:
            with files.open(name) as file:
                layout = _Layout(file)
                original = OriginalMetadata()
                original.add("", dict(layout.nd2.text_info))
                original.add("attributes", _known(layout.attributes._asdict().items()))
                for number, channel in enumerate(layout.described):
                    original.add(f"channel.{number}", asdict(channel, dict_factory=_known))
        except Fault as fault:
            return recognised("ND2", (), [str(fault)])
        names = dict(enumerate(_position_names(layout)))
        positions = numpy.unique(layout.places("P")).tolist()
        count = layout.axis_size("P")
        images = [_image(names.get(at) or label(name, at, count), at, layout) for at in positions]
        return recognised("ND2", images, layout.faults, original)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of the frame nearest to the middle that is there. Raises Fault, LookupError."""
        with files.open(name) as file:
            layout = _Layout(file)
            return _preview(layout, file, series, pixels)


class _Layout:
    """The loops of the file and which frames are whole. Raises Fault where that cannot be told."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = file.seek(0, os.SEEK_END)
        if self.size < _FRAME_HEADER:
            raise Fault(CUT_HEADER)
        try:
            self.nd2 = nd2.ND2File(file)  # type: ignore[arg-type]  # its read() takes None, too
            self._chunks: dict[bytes, tuple[int, int]] = self.nd2._rdr.chunkmap  # type: ignore[attr-defined]
        except (ValueError, IndexError, OSError, OverflowError, struct.error) as error:
            raise Fault("its map of chunks cannot be read: it is damaged or not whole") from error
        try:
            self.attributes = self.nd2.attributes
            self.loops = [(_AXES.get(loop.type, "T"), loop.count) for loop in self.nd2.experiment]
        except KeyError as error:
            raise Fault(f"what describes its frames is not in the file: {error.args[0]!s:.40}") from error
        components, per_channel = self.attributes.componentCount, self.nd2.components_per_channel
        self.samples = 3 if per_channel == 3 else 1
        self.channels = components // self.samples
        self.width, self.height = self.attributes.widthPx or 0, self.attributes.heightPx
        self.kind = f"{(self.attributes.pixelDataType or 'u')[0]}{self.attributes.bitsPerComponentInMemory // 8}"
        self.frame_count = self.axis_size("PZT")
        if not possible(self.width, self.height, components, self.frame_count):
            raise Fault(f"{self.frame_count} frames of {self.width} x {self.height} pixels are not possible")
        if pixel_type(self.kind) is None:
            raise Fault(f"pixels of type {self.kind} are not known")
        self.row_bytes = self.width * components * int(self.kind[1])
        self.row_step = max(self.attributes.widthBytes or 0, self.row_bytes)
        self.frames = self._whole_frames()
        missing = self.frame_count - len(self.frames)
        self.faults = [f"{missing} of its {self.frame_count} frames are not in the file"] if missing else []
        self.described = self._described()

    def _described(self) -> list[nd2.structures.Channel]:
        """Return what the file says of each channel; nothing where nd2 breaks on it, which is a fault.

        It does in many ways, on settings that it has not met. Sizes and frames do not hang on them.
        """
        try:
            metadata = self.nd2.metadata
        except (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError, struct.error) as error:
            self.faults.append(f"what it says of its channels cannot be read ({error!s:.60})")
            return []
        return metadata.channels or [] if isinstance(metadata, nd2.structures.Metadata) else []

    def axis_size(self, axes: str) -> int:
        """Return how many steps all loops over one of *axes* (of P, Z and T) have together."""
        return math.prod(count for axis, count in self.loops if axis in axes)

    def places(self, axis: str) -> numpy.ndarray:
        """Return at which step along *axis* each of `frames` is."""
        left = numpy.array(list(self.frames), "i8")
        place, factor = numpy.zeros_like(left), 1
        for loop_axis, count in reversed(self.loops):
            if loop_axis == axis:
                place += left % count * factor
                factor *= count
            left //= count
        return place

    def _whole_frames(self) -> dict[int, tuple[int, int]]:
        """Return where the samples of each frame begin, and their bytes; only of those that the file has room for."""
        found = {}
        plain = self.row_step * (self.height - 1) + self.row_bytes
        for key, (offset, size) in self._chunks.items():
            match = _FRAME.fullmatch(key)
            stored = max(0, size - _STAMP) if self.attributes.compressionType else plain
            if match and int(match[1]) < self.frame_count and 0 < offset <= self.size - _FRAME_HEADER - stored:
                found[int(match[1])] = offset + _FRAME_HEADER, stored
        return found


def _image(name: str, series: int, layout: _Layout) -> ImageInfo:
    described = layout.described
    channels = tuple(_channel(channel.channel) for channel in described[: layout.channels])
    x_um, y_um, z_um = _voxel(described[0].volume) if described else (None, None, None)
    microscope = described[0].microscope if described else nd2.structures.Microscope()
    return ImageInfo(
        name=name,
        series=series,
        size_x=layout.width,
        size_y=layout.height,
        size_z=layout.axis_size("Z"),
        size_c=layout.channels * layout.samples,
        size_t=layout.axis_size("T"),
        pixel_type=pixel_type(layout.kind) or "",
        rgb=layout.samples > 1,
        physical_size_x_um=x_um,
        physical_size_y_um=y_um,
        physical_size_z_um=z_um,
        time_increment_s=_time_step(layout),
        acquired=moment(layout.nd2.text_info.get("date", ""), *_DATES),
        channels=channels if layout.samples == 1 else (),
        instrument=_microscope(layout),
        objective=words(microscope.objectiveName),
        magnification=positive(microscope.objectiveMagnification),
        numerical_aperture=positive(microscope.objectiveNumericalAperture),
    )


def _known(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in pairs if value is not None}


def _channel(meta: nd2.structures.ChannelMeta) -> Channel:
    return Channel(
        name=words(meta.name),
        color=color(meta.color.r, meta.color.g, meta.color.b),
        excitation_nm=positive(meta.excitationLambdaNm),
        emission_nm=positive(meta.emissionLambdaNm),
    )


def _voxel(volume: nd2.structures.Volume) -> tuple[float | None, ...]:
    """Return the sizes of X, Y and Z in µm, None where nd2 has put in 1 for want of a calibration."""
    axes = zip(volume.axesCalibrated, volume.axesCalibration, volume.axesInterpretation, strict=True)
    return tuple(positive(size) if known and kind == "distance" else None for known, size, kind in axes)


def _time_step(layout: _Layout) -> float | None:
    """Return the seconds between time points: as they were asked for, else as they were measured."""
    for loop in layout.nd2.experiment:
        if isinstance(loop, nd2.structures.TimeLoop):
            period: nd2.structures.TimeLoopParams = loop.parameters
        elif isinstance(loop, nd2.structures.NETimeLoop) and len(loop.parameters.periods) == 1:
            period = loop.parameters.periods[0]
        else:
            continue
        return positive(period.periodMs, 1e-3) or positive(period.periodDiff and period.periodDiff.avg, 1e-3)
    return None


def _microscope(layout: _Layout) -> str | None:
    match = _MICROSCOPE.search(layout.nd2.text_info.get("description", ""))
    return None if match is None else text(match[1], 200)


def _position_names(layout: _Layout) -> list[str]:
    """Return what the stage positions are called, as far as they have names."""
    for loop in layout.nd2.experiment:
        if isinstance(loop, nd2.structures.XYPosLoop):
            return [text(point.name or "", 1024) for point in loop.parameters.points]
    return []


def _preview(layout: _Layout, file: BinaryIO, series: int, pixels: int) -> numpy.ndarray:
    away = [abs(layout.places(axis) - layout.axis_size(axis) // 2) for axis in "ZT"]
    nearest = numpy.lexsort(away)
    of_position = nearest[layout.places("P")[nearest] == series]
    if not of_position.size:
        raise LookupError(f"there is no frame of position {series}")
    offset, stored = list(layout.frames.values())[of_position[0]]
    step = sampling.step((layout.width, layout.height), pixels)
    rows = _rows(layout, file, offset, stored, step)
    shape = -1, layout.width, layout.channels, layout.samples
    samples = numpy.frombuffer(rows, "<" + layout.kind).reshape(shape)[:, ::step, :, ::-1]  # colours are stored as BGR
    return numpy.ascontiguousarray(samples.transpose(2, 3, 0, 1).reshape(-1, *samples.shape[:2]))


def _rows(layout: _Layout, file: BinaryIO, offset: int, stored: int, step: int) -> bytes:
    """Return every *step*-th row of the frame that begins at *offset*."""
    starts = range(0, layout.height * layout.row_step, step * layout.row_step)
    compression = layout.attributes.compressionType
    if layout.row_bytes * len(starts) > _MOST_BYTES:
        raise Fault(f"rows of {layout.width} pixels are too long for a picture")
    if not compression:
        rows = bytearray()
        for start in starts:
            file.seek(offset + start)
            rows += file.read(layout.row_bytes)
        return bytes(rows)
    size = layout.row_step * layout.height
    if compression != "lossless" or max(size, stored) > _MOST_BYTES:
        raise Fault(f"a frame of {size} bytes with the compression {compression} cannot be unpacked")
    file.seek(offset)
    frame = zlib.decompressobj().decompress(file.read(stored), size)
    return b"".join(frame[start : start + layout.row_bytes] for start in starts)
