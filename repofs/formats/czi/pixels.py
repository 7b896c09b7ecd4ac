"""A small version of one plane of a CZI: real samples of its subblocks, decoded by imagecodecs.

Compressions by their numbers: 0 none, 1 JPEG, 2 LZW, 4 JPEG XR, 5 zstd, 6 zstd after a header that may say that the
low bytes of all samples come before the high ones. Colours are stored as BGR, by JPEG and JPEG XR as RGB.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import czifile
import imagecodecs
import numpy

from repofs.formats import sampling
from repofs.formats.czi.layout import (
    UNCOMPRESSED,
    Scene,
    SegmentNotFoundError,
    bytes_a_pixel,
    handle_of,
    samples_of,
)
from repofs.formats.outcome import Fault

_JPEG, _LZW, _JPEG_XR, _ZSTD, _ZSTD_HEADED = 1, 2, 4, 5, 6
_CAMERA = 100  # and beyond: as a camera gave them, not compressed
_MOST_BYTES = 1 << 28  # of one subblock, decoded
_MOST_DECODED = 1 << 29  # bytes of all compressed subblocks of one picture; beyond it some are left dark

_DAMAGE = (ValueError, IndexError, KeyError, RuntimeError, struct.error, SegmentNotFoundError)

# imagecodecs loads a codec when it is first used, when a confined process may be unable to read it.
for _codec in ("JPEG8", "LZW", "JPEGXR", "ZSTD"):
    getattr(imagecodecs, _codec)


def preview(scene: Scene, files: dict[int, BinaryIO], pixels: int) -> numpy.ndarray:
    """Return samples (C, Y, X) of the plane nearest to the middle that is there, every n-th of every n-th row.

    Raises Fault where nothing of it can be decoded.
    """
    step = sampling.step((scene.width, scene.height), pixels)
    rows = _painted(_of_middle_plane(scene), step)
    kind = max({str(kind) for kind in rows["samples"]}, key=bytes_a_pixel)
    samples, dtype = samples_of(kind)
    shape = scene.sizes["C"], -(-scene.height // step), -(-scene.width // step), samples
    canvas = numpy.zeros(shape, dtype)
    painted = 0
    failure: Exception | None = None
    for row in rows:
        try:
            _paint(canvas[row["c"]], row, scene, files[int(row["part"])], step)
            painted += 1
        except (*_DAMAGE, Fault) as error:  # its place stays dark
            failure = error
    if not painted:
        raise Fault(f"no subblock of its middle plane can be decoded ({failure})")
    return numpy.ascontiguousarray(canvas[..., :3].transpose(0, 3, 1, 2).reshape(-1, *shape[1:3]))


def _of_middle_plane(scene: Scene) -> numpy.ndarray:
    """Return the whole subblocks, of all resolutions and channels, of the plane nearest to the middle."""
    rows = scene.subblocks[scene.subblocks["whole"]]
    if not len(rows):
        raise Fault("no subblock of it is whole")
    t_away, z_away = (abs(rows[axis.lower()] - scene.sizes[axis] // 2) for axis in "TZ")
    nearest = rows[numpy.lexsort((z_away, t_away))[0]]
    middle: numpy.ndarray = rows[(rows["t"] == nearest["t"]) & (rows["z"] == nearest["z"])]
    return middle


def _painted(rows: numpy.ndarray, step: int) -> numpy.ndarray:
    """Return those of *rows* that are to be painted, in that order.

    These are of the smallest resolution with a sample for each *step*. Still smaller ones come before it: at the
    border of a level the sizes are rounded, so that a tile there may seem to be of another one.
    """
    factors = numpy.rint(rows["width"] / numpy.maximum(1, rows["stored_width"])).astype("i8")
    level = max((factor for factor in set(factors.tolist()) if factor <= step), default=factors.min())
    chosen = factors == 1 if level == 1 else factors >= level
    rows, factors = rows[chosen], factors[chosen]
    rows = rows[numpy.lexsort((rows["M"], -factors))]
    compressed = rows["compression"] != UNCOMPRESSED
    cost = int((rows["stored_width"] * rows["stored_height"])[compressed].sum())
    thinned = numpy.arange(len(rows)) % (cost // _MOST_DECODED + 1) == 0
    painted: numpy.ndarray = rows[thinned | ~compressed]
    return painted


def _paint(canvas: numpy.ndarray, row: numpy.void, scene: Scene, file: BinaryIO, step: int) -> None:
    """Put the samples of one subblock where they belong in *canvas* (Y, X, samples) of every *step*-th pixel."""
    places, picked = [], []
    for start, size, stored, most in (
        (int(row["Y"]) - scene.y, int(row["height"]), int(row["stored_height"]), canvas.shape[0]),
        (int(row["X"]) - scene.x, int(row["width"]), int(row["stored_width"]), canvas.shape[1]),
    ):
        first, last = max(0, -(-start // step)), min(most, -(-(start + size) // step))
        places.append(slice(first, max(first, last)))
        picked.append((numpy.arange(first, max(first, last)) * step - start) * stored // size)
    if all(part.size for part in picked):
        canvas[places[0], places[1]] = _samples(row, file, picked[0], picked[1])


def _samples(row: numpy.void, file: BinaryIO, ys: numpy.ndarray, xs: numpy.ndarray) -> numpy.ndarray:
    """Return the samples (Y, X, samples) of a subblock in the stored rows *ys* and columns *xs*."""
    kind, compression = str(row["samples"]), int(row["compression"])
    samples, dtype = samples_of(kind)
    shape = int(row["stored_height"]), int(row["stored_width"]), samples
    subblock = czifile.Segment(handle_of(file), int(row["position"])).data()
    if not isinstance(subblock, czifile.SubBlockSegment):
        raise Fault("its directory names a place where no subblock is")
    size = shape[0] * shape[1] * shape[2] * dtype.itemsize
    if compression == UNCOMPRESSED or compression >= _CAMERA or subblock.data_size == size:  # some say so wrongly
        picked = _rows(file, subblock.data_offset, shape, dtype, ys)[:, xs]
    elif max(size, subblock.data_size) > _MOST_BYTES:
        raise Fault(f"a compressed subblock of {shape[1]} x {shape[0]} pixels is too large to be decoded")
    else:
        file.seek(subblock.data_offset)
        block = _decoded(file.read(subblock.data_size), compression, shape, dtype)
        # Some writers round the stored size at the border of a pyramid in another way than the one they declare.
        picked = block[numpy.minimum(ys, block.shape[0] - 1)][:, numpy.minimum(xs, block.shape[1] - 1)]
    return picked if shape[2] == 1 or compression in (_JPEG, _JPEG_XR) else picked[..., [2, 1, 0, 3][: shape[2]]]


def _rows(
    file: BinaryIO, offset: int, shape: tuple[int, int, int], dtype: numpy.dtype, ys: numpy.ndarray
) -> numpy.ndarray:
    """Return the rows *ys* of uncompressed samples that begin at *offset*."""
    row_bytes = shape[1] * shape[2] * dtype.itemsize
    if row_bytes * len(ys) > _MOST_BYTES:
        raise Fault(f"rows of {shape[1]} pixels are too long for a picture")
    rows = bytearray()
    for y in ys.tolist():
        file.seek(offset + y * row_bytes)
        rows += file.read(row_bytes)
    if len(rows) < row_bytes * len(ys):
        raise Fault("the file ends within a subblock")
    return numpy.frombuffer(rows, dtype).reshape(len(ys), *shape[1:])


def _decoded(raw: bytes, compression: int, shape: tuple[int, int, int], dtype: numpy.dtype) -> numpy.ndarray:
    """Return the samples of a compressed subblock, of about the declared *shape*: some rows may be missing."""
    if compression in (_JPEG, _JPEG_XR):
        image = imagecodecs.jpeg8_decode(raw) if compression == _JPEG else imagecodecs.jpegxr_decode(raw)
        return numpy.asarray(image).reshape(*image.shape[:2], shape[2])
    packed = False
    if compression == _ZSTD_HEADED:
        header = raw[0]  # its length: 1, or 3 with the byte that says how the samples lie
        packed = header == 3 and raw[2:3] == b"\1"
        raw = raw[header:]
    elif compression not in (_LZW, _ZSTD):
        raise Fault(f"its compression {compression} is not known")
    unpack = imagecodecs.lzw_decode if compression == _LZW else imagecodecs.zstd_decode
    data = bytes(unpack(raw, out=shape[0] * shape[1] * shape[2] * dtype.itemsize))
    if packed:
        data = numpy.frombuffer(data, "u1").reshape(dtype.itemsize, -1).T.tobytes()
    return numpy.frombuffer(data, dtype).reshape(-1, *shape[1:])
