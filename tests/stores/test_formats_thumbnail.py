"""Thumbnails: contrast, colours and sizes, of whatever samples a file may hold."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from dataclasses import replace

import numpy
import pytest
from PIL import Image

from repofs.formats import thumbnail
from repofs.image import Channel, ImageInfo

GREY = ImageInfo("scan", 0, 1, 1, 1, 1, 1, "uint16")
RAMP = numpy.arange(10_000, dtype="u2").reshape(1, 100, 100)


def pixels(samples: numpy.ndarray, image: ImageInfo = GREY) -> numpy.ndarray:
    """Return the thumbnail: (Y, X) grey or (Y, X, 3)."""
    return numpy.asarray(Image.open(io.BytesIO(thumbnail.make(samples, image.appearance).png)))


def coloured(*colors: str | None) -> ImageInfo:
    return replace(GREY, size_c=len(colors), channels=tuple(Channel(color=color) for color in colors))


@pytest.mark.parametrize(
    ("size", "shown"),
    [((100, 50), (100, 50)), ((512, 300), (256, 150)), ((10, 900), (3, 256)), ((1, 3000), (1, 256)), ((1, 1), (1, 1))],
)
def test_the_longest_side_is_256_and_nothing_is_enlarged(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert pixels(numpy.ones((1, *size), "u1")).shape == shown


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8", "c8", "c16"])
def test_contrast_reaches_from_black_to_white_but_for_outliers(dtype: str) -> None:
    samples = (numpy.arange(10_000) % 100).reshape(1, 100, 100).astype(dtype)
    samples[0, 0, 0] = 127
    shown = pixels(samples)
    assert (shown.min(), shown.max()) == (0, 255)
    assert abs(int(shown[50, 50]) - 128) <= 3
    assert shown[0, 0] == shown[0, 99] == 255
    assert thumbnail.make(samples, GREY.appearance).ranges == ((0.0, 127.0),)


def test_few_bright_samples_on_black_are_seen() -> None:
    samples = numpy.zeros((1, 100, 100), "u2")
    samples[0, 5, 7] = 40_000
    assert numpy.argwhere(pixels(samples) == 255).tolist() == [[5, 7]]


def test_small_differences_of_large_numbers_are_seen() -> None:
    assert set(numpy.unique(pixels(1e9 + RAMP % 2))) == {0, 255}


@pytest.mark.parametrize("value", [0, 7, 65_535])
def test_samples_that_are_all_the_same_are_dark(value: int) -> None:
    assert not pixels(numpy.full((1, 9, 9), value, "u2")).any()


def test_true_and_false_are_white_and_black() -> None:
    assert pixels(numpy.eye(4, dtype=bool)[None]).tolist() == (numpy.eye(4, dtype=int) * 255).tolist()


def test_what_is_no_number_is_dark_and_measured_by_nobody() -> None:
    samples = RAMP.astype("f4")
    samples[0, 0, :3] = (numpy.nan, numpy.inf, -numpy.inf)
    made = thumbnail.make(samples, GREY.appearance)
    shown = pixels(samples)
    assert shown[0, :3].tolist() == [0, 255, 0]
    assert made.ranges == ((3.0, 9999.0),)
    nothing = thumbnail.make(numpy.full((2, 3, 3), numpy.nan), GREY.appearance)
    assert nothing.ranges == ((0.0, 0.0), (0.0, 0.0))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("largest", [1e307, 5e-324])
def test_the_largest_and_the_smallest_numbers_are_shown(largest: float) -> None:
    samples = numpy.where(RAMP % 2, largest, -largest)
    assert pixels(samples)[0, :2].tolist() == [0, 255]


@pytest.mark.filterwarnings("error")
def test_a_range_that_is_no_number_is_no_fault() -> None:
    assert pixels(numpy.where(RAMP % 2, 1.7e308, -1.7e308)).shape == (100, 100)


def test_channels_have_their_own_colours_and_add_up() -> None:
    samples = numpy.zeros((2, 1, 4), "u2")
    samples[0, 0, 1:3] = 1000  # both are stretched by themselves
    samples[1, 0, 2:4] = 10
    shown = pixels(samples, coloured("#FF0000", "#00FF80"))
    assert shown[0].tolist() == [[0, 0, 0], [255, 0, 0], [255, 255, 128], [0, 255, 128]]


def test_channels_without_a_colour_are_red_green_and_blue() -> None:
    samples = numpy.eye(3, dtype="u2")[:, None, :]
    assert pixels(samples, coloured(None, None, None))[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert pixels(samples, coloured(None, "#FFFFFF"))[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_one_channel_of_a_colour_is_shown_in_it() -> None:
    assert pixels(numpy.eye(2, dtype="u2")[None], coloured("#00FF00"))[0, 0].tolist() == [0, 255, 0]


def test_colour_samples_are_shown_as_they_are() -> None:
    rgb = replace(GREY, rgb=True, size_c=3)
    samples = numpy.array([[[10, 200]], [[20, 210]], [[30, 220]]], "u1")
    assert pixels(samples, rgb)[0].tolist() == [[10, 20, 30], [200, 210, 220]]
    with_alpha = numpy.concatenate([samples, numpy.full((1, 1, 2), 255, "u1")])
    assert pixels(with_alpha, replace(rgb, size_c=4))[0].tolist() == [[10, 20, 30], [200, 210, 220]]
    assert len(thumbnail.make(with_alpha, rgb.appearance).ranges) == 4


def test_deep_colour_samples_are_stretched_alike_so_that_grey_stays_grey() -> None:
    grey = numpy.repeat(RAMP[:, :10], 3, axis=0)
    shown = pixels(grey + numpy.array([0, 0, 1], "u2")[:, None, None] * 400, replace(GREY, rgb=True, size_c=3))
    assert (shown[..., 0] == shown[..., 1]).all()
    assert (shown[2:8, :, 2] > shown[2:8, :, 0]).all()


def test_many_channels_are_mixed_of_the_first_and_all_measured_in_time() -> None:
    began = time.monotonic()
    made = thumbnail.make(numpy.zeros((300, 500, 500), "u1"), coloured("#FFFFFF").appearance)
    assert len(made.ranges) == 300
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("shape", [(3, 3), (0, 5, 5), (1, 0, 5), (1, 1, 5, 5)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="are no picture"):
        thumbnail.make(numpy.zeros(shape), GREY.appearance)


def test_nothing_is_imported_when_a_picture_is_made() -> None:
    """A confined process may be unable to read a module any more."""
    code = """
import sys
from repofs.formats import thumbnail
from repofs.image import (Channel, ImageInfo)
import numpy
before = set(sys.modules)
for dtype in ("u1", "u2", "f4", "f8", "c8", "?"):
    for c in (1, 2, 3, 4, 9):
        for rgb in (True, False):
            image = ImageInfo("", 0, 1, 1, 1, c, 1, "", rgb=rgb, channels=(Channel(color="#FF0000"),))
            thumbnail.make(numpy.arange(c * 300 * 2).reshape(c, 300, 2).astype(dtype), image.appearance)
print(sorted(set(sys.modules) - before))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
