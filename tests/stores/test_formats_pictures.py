"""The readers of PNG, JPEG, JPEG 2000, GIF and BMP on whole pictures, large ones, cut ones and hostile ones."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
import time
import zlib

import imagecodecs
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.pictures import reader as pictures
from repofs.image import ImageInfo, Recognised
from tests.helpers.formats import OneFile, recognised

RANDOM = numpy.random.default_rng(5)
GREY = RANDOM.integers(0, 255, (61, 97), "u1")
RGB = RANDOM.integers(0, 255, (61, 97, 3), "u1")
SUFFIXES = {"PNG": "png", "JPEG": "jpg", "JPEG2000": "jp2", "GIF": "gif", "BMP": "bmp"}


def saved(picture: Image.Image | numpy.ndarray, kind: str, **how: object) -> bytes:
    """Return the bytes of the file that Pillow writes."""
    file = io.BytesIO()
    whole = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    whole.save(file, kind, **how)
    return file.getvalue()


def only_image(raw: bytes, name: str = "photo.png") -> ImageInfo:
    found = recognised(raw, name)
    assert found.note is None
    (image,) = found.images
    return image


def preview(raw: bytes, name: str = "photo.png", pixels: int = 32) -> numpy.ndarray:
    files = OneFile(name, raw)
    reader = registry._reader(name, files)
    assert reader is not None
    return reader.preview(name, files, 0, pixels)


def read(raw: bytes) -> Recognised:
    return recognised(raw, "photo")


WHOLE = {
    **{f"{kind} grey": (saved(GREY, kind), 1) for kind in ("PNG", "JPEG", "JPEG2000", "BMP")},
    **{f"{kind} RGB": (saved(RGB, kind), 3) for kind in ("PNG", "JPEG", "JPEG2000", "BMP")},
    **{f"{kind} RGBA": (saved(Image.fromarray(RGB).convert("RGBA"), kind), 4) for kind in ("PNG", "JPEG2000")},
    **{f"{kind} palette": (saved(Image.fromarray(RGB).quantize(8), kind), 3) for kind in ("PNG", "GIF", "BMP")},
    "PNG grey and alpha": (saved(Image.fromarray(GREY).convert("LA"), "PNG"), 2),
    "GIF grey": (saved(GREY, "GIF"), 3),
    "JPEG CMYK": (saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"), 4),
    "JPEG progressive": (saved(RGB, "JPEG", progressive=True), 3),
    "JPEG 2000 bare": (saved(RGB, "JPEG2000", no_jp2=True), 3),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_sizes_and_samples(kind: str) -> None:
    raw, samples = WHOLE[kind]
    image = only_image(raw)
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (97, 61, 1, samples, 1)
    assert (image.pixel_type, image.rgb, image.physical_size_x_um) == ("uint8", samples > 1, None)
    shown = preview(raw)
    assert len(shown) == (1 if samples < 3 else 3)
    assert 32 <= shown.shape[2] < 64


@pytest.mark.parametrize("kind", ["PNG grey", "PNG RGB", "BMP grey", "BMP RGB", "PNG RGBA", "PNG grey and alpha"])
def test_a_preview_has_every_nth_sample(kind: str) -> None:
    raw, samples = WHOLE[kind]
    stored = RGB.transpose(2, 0, 1) if samples > 2 else GREY[None]
    assert numpy.array_equal(preview(raw), stored[:, 1:60:3, 1:96:3])


def test_a_print_resolution_is_no_pixel_size() -> None:
    found = read(saved(GREY, "PNG", dpi=(72, 72)))
    assert found.images[0].physical_size_x_um is None
    assert "dpi" in found.original_metadata


@pytest.mark.parametrize("shape", [(61, 97), (61, 97, 2), (61, 97, 3), (61, 97, 4)])
def test_png_of_16_bits(shape: tuple[int, ...]) -> None:
    samples = RANDOM.integers(0, 65535, shape, "u2")
    raw = imagecodecs.png_encode(samples)
    image = only_image(raw)
    assert (image.size_c, image.pixel_type) == (1 if len(shape) == 2 else shape[2], "uint16")
    shown = samples[None] if len(shape) == 2 else samples.transpose(2, 0, 1)[: 1 if shape[2] == 2 else 3]
    assert numpy.array_equal(preview(raw), shown[:, 1:60:3, 1:96:3] if len(shape) == 2 else shown[:, 1::3, 1::3])


def test_bits() -> None:
    raw = saved(Image.fromarray(GREY).convert("1"), "PNG")
    assert only_image(raw).pixel_type == "bit"
    assert set(numpy.unique(preview(raw))) <= {0, 1}


def test_exif() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Scope & Co"
    exif.get_ifd(0x8769)[0x9003] = "2024:03:05 14:15:16"
    for kind in ("PNG", "JPEG"):
        found = read(saved(RGB, kind, exif=exif))
        assert found.original_metadata["EXIF.Make"] == "Scope & Co"
        assert found.images[0].acquired == "2024-03-05T14:15:16"


def animation(frames: int) -> tuple[bytes, list[Image.Image]]:
    pictures = [Image.fromarray(RANDOM.integers(0, 255, (61, 97, 3), "u1")).quantize(16) for _ in range(frames)]
    return saved(pictures[0], "GIF", save_all=True, append_images=pictures[1:]), pictures


def test_an_animated_gif_is_a_time_series() -> None:
    raw, frames = animation(5)
    assert only_image(raw).size_t == 5
    middle = numpy.asarray(frames[2].convert("RGB")).transpose(2, 0, 1)
    assert numpy.array_equal(preview(raw), middle[:, 1:60:3, 1:96:3])


def test_a_gif_cut_short_has_the_frames_that_are_there() -> None:
    raw, _ = animation(5)
    found = read(raw[: len(raw) * 3 // 5])
    assert found.images[0].size_t == 2 or found.images[0].size_t == 3
    assert found.note == f"the file is not whole: it has no end mark, {found.images[0].size_t} frames are whole"
    assert preview(raw[: len(raw) * 3 // 5]).shape == (3, 20, 32)


def test_a_gif_with_a_frame_larger_than_its_screen_is_not_decoded() -> None:
    raw, _ = animation(2)
    at = raw.rindex(b"\x2c\0\0\0\0\x61\0\x3d\0")
    large = raw[: at + 5] + b"\xff\xff\xff\xff" + raw[at + 9 :]
    assert read(large).images[0].size_t == 2
    with pytest.raises(ReaderFailed, match="pixels are too many for a preview"):
        registry.picture("photo", OneFile("photo", large), 0)


def test_a_gif_of_unknown_blocks() -> None:
    raw, _ = animation(2)
    found = read(raw[:-1] + b"\x99")
    assert found.note == "the file is damaged: a block of unknown kind 0x99 follows frame 2"


def test_an_animated_png_is_its_first_picture() -> None:
    frames = [Image.fromarray(RANDOM.integers(0, 255, (61, 97), "u1")) for _ in range(3)]
    found = read(saved(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    assert found.note == "it is animated: only its first picture is read"
    assert found.images[0].size_t == 1


@pytest.mark.parametrize("size", [(1023, 767), (641, 483), (257, 1001), (5, 9), (2000, 300)])
@pytest.mark.parametrize("bare", [False, True])
def test_jpeg_2000_is_drawn_from_a_smaller_resolution(size: tuple[int, int], bare: bool) -> None:
    ramp = numpy.linspace(0, 255, size[0] * size[1]).reshape(size[1], size[0]).astype("u1")
    raw = saved(ramp, "JPEG2000", no_jp2=bare)
    image = only_image(raw)
    assert (image.size_x, image.size_y) == size
    shown = preview(raw)
    assert min(32, max(size)) <= max(shown.shape) < 64
    assert abs(float(shown.mean()) - float(ramp.mean())) < 6


@pytest.mark.parametrize(("kind", "stored"), [("u2", "uint16"), ("i2", "int16"), ("i1", "int8")])
def test_jpeg_2000_of_other_types(kind: str, stored: str) -> None:
    info = numpy.iinfo(kind)
    samples = RANDOM.integers(info.min, info.max, (61, 97), kind)
    raw = imagecodecs.jpeg2k_encode(samples, level=0, reversible=True)
    assert only_image(raw).pixel_type == stored
    assert numpy.array_equal(preview(raw), samples[None, 1::3, 1::3])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and holds no pixels to speak of."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_large_picture_has_its_metadata_and_no_preview() -> None:
    raw = png(100_000, 90_000)
    assert only_image(raw).size_x == 100_000
    with pytest.raises(ReaderFailed, match="9000000000 pixels are too many for a preview"):
        registry.picture("photo.png", OneFile("photo.png", raw), 0)


def test_a_size_that_is_none() -> None:
    assert read(png(2**32 - 1, 5)).note == "a size of 4294967295 x 5 pixels is not possible; no image can be read"
    assert "its header is damaged" in str(read(png(0, 5)).note)


def test_there_is_one_image_only() -> None:
    with pytest.raises(LookupError):
        pictures.PngReader().preview("photo.png", OneFile("photo.png", WHOLE["PNG RGB"][0]), 1, 32)


def test_two_letters_are_no_bmp() -> None:
    assert "no reader knows this format" in str(recognised(b"BMmanuscript, first draft", "notes.txt").note)


@pytest.mark.parametrize("kind", WHOLE)
def test_every_cut_is_noticed(kind: str) -> None:
    raw, _ = WHOLE[kind]
    for length in {2**power for power in range(5, 20)} | set(range(len(raw) - 20, len(raw))):
        if 16 <= length < len(raw):
            found = read(raw[:length])
            assert found.note is not None, length
            assert found.images == () or "GIF" in kind, length


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_is_survived(kind: str, data: st.DataObject) -> None:
    raw = bytearray(WHOLE[kind][0])
    at = data.draw(st.integers(0, min(400, len(raw) - 1)))
    raw[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    started = time.monotonic()
    for question in (lambda: read(bytes(raw)), lambda: registry.picture("photo", OneFile("photo", bytes(raw)), 0)):
        try:
            question()
        except ReaderFailed as error:
            assert "out of memory" not in error.message
    assert time.monotonic() - started < 2


def test_nothing_is_imported_in_the_middle_of_a_file() -> None:
    """A confined process may be unable to read the interpreter's directory any more."""
    program = """
import base64, sys
from repofs.formats import registry
from tests.helpers.formats import OneFile, recognised
registry.readers()
before = set(sys.modules)
for line in sys.stdin:
    raw = base64.b64decode(line)
    recognised(raw, "photo")
    registry.picture("photo", OneFile("photo", raw), 0)
print(sorted(set(sys.modules) - before))
"""
    lines = "\n".join(base64.b64encode(raw).decode() for raw, _ in WHOLE.values())
    done = subprocess.run([sys.executable, "-c", program], input=lines, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
