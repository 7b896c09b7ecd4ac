"""A thumbnail: the channels of one plane in their colours, each stretched between two of its percentiles, as PNG."""

from __future__ import annotations

import io
from itertools import zip_longest

import numpy
from PIL import Image

from repofs.model import ImageInfo, Picture

PIXELS = 256  # of the longer side

_DARK, _BRIGHT = 0.5, 99.5  # percentiles
_MOST_CHANNELS = 8
# Of channels without a colour of their own: OMERO's order of red, green and blue, then their mixtures.
_COLORS = ("#FF0000", "#00FF00", "#0000FF", "#FF00FF", "#00FFFF", "#FFFF00", "#FF8000", "#FFFFFF")


def make(samples: numpy.ndarray, image: ImageInfo) -> Picture:
    """Return the picture of *samples* (C, Y, X), a small version of *image*. Raises ValueError when they are none."""
    if samples.ndim != 3 or 0 in samples.shape:
        raise ValueError(f"samples of shape {samples.shape} are no picture")
    planes = numpy.abs(samples) if numpy.iscomplexobj(samples) else samples
    shown = planes if image.rgb and planes.dtype == numpy.uint8 else _stretched(planes[:_MOST_CHANNELS])
    pixels = shown.transpose(1, 2, 0) if image.rgb and len(shown) == 3 else _mixed(shown, image)
    picture = Image.fromarray(numpy.ascontiguousarray(pixels), "RGB" if pixels.ndim == 3 else "L")
    picture.thumbnail((PIXELS, PIXELS))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Picture(file.getvalue(), tuple(_range(plane) for plane in planes))


def _range(plane: numpy.ndarray) -> tuple[float, float]:
    known = plane[numpy.isfinite(plane)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def _stretched(planes: numpy.ndarray) -> numpy.ndarray:
    """Return uint8, each plane by itself; a plane of one value is dark."""
    return numpy.stack([_stretch(plane.astype("f4")) for plane in planes])


def _stretch(plane: numpy.ndarray) -> numpy.ndarray:
    known = plane[numpy.isfinite(plane)]
    if not known.size:
        return numpy.zeros(plane.shape, "u1")
    dark, bright = numpy.percentile(known, (_DARK, _BRIGHT))
    if bright <= dark:
        dark, bright = known.min(), known.max()
    scaled = (numpy.nan_to_num(plane, nan=dark, posinf=bright, neginf=dark) - dark) / max(bright - dark, 1e-30)
    return numpy.asarray(numpy.clip(scaled, 0, 1) * 255, "u1")


def _mixed(planes: numpy.ndarray, image: ImageInfo) -> numpy.ndarray:
    """Return (Y, X) grey for one channel without a colour, else (Y, X, 3): the channels' light added up."""
    given = [channel.color for channel in image.channels[: len(planes)]]
    if len(planes) == 1 and not any(given):
        return numpy.asarray(planes[0])
    light = numpy.zeros((*planes.shape[1:], 3), "f4")
    for plane, own, other in zip_longest(planes, given, _COLORS[: len(planes)]):
        rgb = [int((own or other)[at : at + 2], 16) for at in (1, 3, 5)]
        light += plane[..., None].astype("f4") * numpy.array(rgb, "f4") / 255
    return numpy.asarray(numpy.clip(light, 0, 255), "u1")
