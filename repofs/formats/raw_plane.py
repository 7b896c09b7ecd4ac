"""A plane whose samples lie in a file row after row, without compression."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy


def sampled(
    file: BinaryIO, start: int, shape: tuple[int, int], dtype: numpy.dtype[Any], pixels: int
) -> numpy.ndarray[Any, Any]:
    """Return every n-th sample of the plane of *shape* (Y, X) that begins at byte *start*: about *pixels* on the
    longer side. Only every n-th row is read. Raises ValueError when it is not all there."""
    step = max(1, max(shape) // pixels)
    row_bytes = shape[1] * dtype.itemsize
    rows = []
    for row in range(0, shape[0], step):
        file.seek(start + row * row_bytes)
        rows.append(numpy.frombuffer(file.read(row_bytes), dtype, shape[1])[::step])
    return numpy.stack(rows)
