"""A thumbnail: the channels of one plane in their colours, each stretched between two of its percentiles, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import zip_longest

import numpy
import numpy.ma
from PIL import Image

from repofs.image import Appearance, Picture

Image.preinit()  # as `numpy.percentile` does with numpy.ma, `save` would import its formats in the middle of a file

PIXELS = 256  # of the longer side

_DARK, _BRIGHT = 0.5, 99.5  # percentiles
_MOST_CHANNELS = 8
# Of channels without a colour of their own: OMERO's order of red, green and blue, then their mixtures.
_COLORS = ("#FF0000", "#00FF00", "#0000FF", "#FF00FF", "#00FFFF", "#FFFF00", "#FF8000", "#FFFFFF")


def make(samples: numpy.ndarray, appearance: Appearance) -> Picture:
    """Return the picture of *samples* (C, Y, X), a small version of an image. Raises ValueError when they are none."""
    if samples.ndim != 3 or 0 in samples.shape:
        raise ValueError(f"samples of shape {samples.shape} are no picture")
    planes = numpy.abs(samples) if numpy.iscomplexobj(samples) else samples
    with numpy.errstate(all="ignore"):  # of what a file holds, infinities and the largest numbers
        in_colour = appearance.rgb and len(planes) >= 3
        pixels = _colour(planes[:3]) if in_colour else _mixed(planes[:_MOST_CHANNELS], appearance.colors)
    picture = Image.fromarray(numpy.ascontiguousarray(pixels))
    picture.thumbnail((PIXELS, PIXELS))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Picture(file.getvalue(), tuple(_range(plane) for plane in planes))


def _range(plane: numpy.ndarray) -> tuple[float, float]:
    known = plane[numpy.isfinite(plane)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def _colour(planes: numpy.ndarray) -> numpy.ndarray:
    """Return (Y, X, 3) of red, green and blue: as they are, else all stretched alike, so that grey stays grey."""
    shown = planes if planes.dtype == numpy.uint8 else _stretched(planes)
    return shown.transpose(1, 2, 0)


def _stretched(samples: numpy.ndarray) -> numpy.ndarray:
    """Return uint8 of the same shape; samples that are all the same are dark."""
    values = samples.astype("f8")
    known = values[numpy.isfinite(values)]
    if not known.size or known.min() == known.max():
        return numpy.zeros(values.shape, "u1")
    dark, bright = numpy.percentile(known, (_DARK, _BRIGHT))
    if not dark < bright:
        dark, bright = known.min(), known.max()
    scaled = (numpy.nan_to_num(values, nan=dark, posinf=bright, neginf=dark) - dark) / (bright - dark)
    return numpy.asarray(numpy.nan_to_num(numpy.clip(scaled, 0, 1)) * 255 + 0.5, "u1")


def _mixed(planes: numpy.ndarray, colors: Sequence[str | None]) -> numpy.ndarray:
    """Return (Y, X) grey for one channel without a colour, else (Y, X, 3): the channels' light added up."""
    given = colors[: len(planes)]
    if len(planes) == 1 and not any(given):
        return _stretched(planes[0])
    light = numpy.zeros((*planes.shape[1:], 3), "f4")
    for plane, own, other in zip_longest(planes, given, _COLORS[: len(planes)]):
        rgb = [int((own or other)[at : at + 2], 16) for at in (1, 3, 5)]
        light += _stretched(plane)[..., None].astype("f4") * numpy.array(rgb, "f4") / 255
    return numpy.asarray(numpy.clip(light, 0, 255) + 0.5, "u1")


# What numpy and Pillow load when it is first used is loaded now: a confined process can load nothing.
make(numpy.ones((2, 2 * PIXELS, 1), "f4") * numpy.arange(2)[:, None, None], Appearance())
make(numpy.arange(48, dtype="u2").reshape(3, 4, 4), Appearance(rgb=True))
