"""Small pictures of TIFFs: samples of the middle plane, and no more read than they need."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import tifffile

from repofs.formats.tiff import preview as tiff_preview
from repofs.formats.tiff.reader import TiffReader
from tests.helpers.formats import OneFile

RANDOM = numpy.random.default_rng(5)
STEP = 3  # of 150 x 100 pixels, when 50 are wanted


def preview(raw: bytes, series: int = 0, pixels: int = 50) -> numpy.ndarray:
    return TiffReader().preview("scan.tif", OneFile("scan.tif", raw), series, pixels)


def written(data: numpy.ndarray, **how: object) -> bytes:
    options = {name: how.pop(name) for name in ("bigtiff", "byteorder", "imagej", "ome") if name in how}
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as writer:  # type: ignore[arg-type]
        writer.write(data, **how)  # type: ignore[arg-type]
    return file.getvalue()


def noise(*shape: int, kind: str = "u2") -> numpy.ndarray:
    return RANDOM.integers(0, 250, shape).astype(kind)


@pytest.mark.parametrize("kind", ["u1", "i2", "u4", "f4", "f8", "c8"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True, "rowsperstrip": 7},
        {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
        {"tile": (16, 32)},
        {"tile": (64, 48), "compression": "zlib"},
        {"compression": "lzw"},
        {"compression": "zstd", "byteorder": ">"},
    ],
    ids=str,
)
def test_every_third_sample_however_it_is_stored(kind: str, how: dict[str, object]) -> None:
    if kind == "c8" and "predictor" in how:
        pytest.skip("complex numbers have no predictor")
    plane = noise(100, 150, kind=kind)
    found = preview(written(plane, photometric="minisblack", metadata=None, **how))
    assert found.dtype == plane.dtype
    assert numpy.array_equal(found, plane[None, ::STEP, ::STEP])


def test_bits() -> None:
    plane = noise(100, 150) > 125
    assert numpy.array_equal(preview(written(plane, photometric="minisblack")), plane[None, ::STEP, ::STEP])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("how", [{}, {"tile": (16, 16)}, {"compression": "zlib", "rowsperstrip": 10}], ids=str)
def test_colours(planar: str, how: dict[str, object]) -> None:
    pixels = noise(3, 100, 150, kind="u1")
    data = pixels if planar == "separate" else numpy.moveaxis(pixels, 0, -1)
    found = preview(written(data, photometric="rgb", planarconfig=planar, **how))
    assert numpy.array_equal(found, pixels[:, ::STEP, ::STEP])


def test_the_fourth_sample_of_a_colour_is_left_out() -> None:
    data = noise(100, 150, 4, kind="u1")
    found = preview(written(data, photometric="rgb", extrasamples=["unassalpha"]))
    assert numpy.array_equal(found, numpy.moveaxis(data[::STEP, ::STEP, :3], -1, 0))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_middle_of_z_and_t_of_each_channel(compression: str | None) -> None:
    stack = noise(3, 5, 2, 100, 150)
    how: dict[str, object] = {"metadata": {"axes": "TZCYX"}, "photometric": "minisblack", "compression": compression}
    expected = stack[1, 2, :, ::STEP, ::STEP]
    assert numpy.array_equal(preview(written(stack, **how)), expected)
    assert numpy.array_equal(preview(written(stack, ome=True, **how)), expected)
    if compression is None:
        assert numpy.array_equal(preview(written(stack, imagej=True, metadata={"axes": "TZCYX"})), expected)


@pytest.mark.parametrize("order", [*map("".join, itertools.permutations("ZCT"))])
def test_ome_orders_of_planes(order: str) -> None:
    shape = {"T": 3, "Z": 5, "C": 2}
    stack = noise(*(shape[axis] for axis in order), 100, 150)
    middle = tuple(slice(None) if axis == "C" else shape[axis] // 2 for axis in order)
    found = preview(written(stack, ome=True, metadata={"axes": order + "YX"}, photometric="minisblack"))
    assert numpy.array_equal(found, stack[middle][:, ::STEP, ::STEP])


def test_plain_pages_and_several_series() -> None:
    pages, other = noise(5, 100, 150), noise(100, 150, kind="u1")
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(pages, metadata=None, photometric="minisblack")
        writer.write(other, metadata=None, photometric="minisblack")
    assert numpy.array_equal(preview(file.getvalue(), 0), pages[2:3, ::STEP, ::STEP])
    assert numpy.array_equal(preview(file.getvalue(), 1), other[None, ::STEP, ::STEP])
    with pytest.raises(LookupError, match="no image 2"):
        preview(file.getvalue(), 2)


@pytest.mark.parametrize("ome", [False, True])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_smallest_resolution_that_is_large_enough(ome: bool, level: int) -> None:
    levels = [noise(2, 512 >> n, 512 >> n) for n in range(3)]
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=ome) as writer:
        how: dict[str, object] = {"tile": (32, 32), "photometric": "minisblack"}
        writer.write(levels[0], subifds=2, metadata={"axes": "CYX"} if ome else None, **how)
        for smaller in levels[1:]:
            writer.write(smaller, subfiletype=1, metadata=None, **how)
    found = preview(file.getvalue(), pixels=512 >> level)
    assert numpy.array_equal(found, levels[level] if ome else levels[level][1:])


def test_the_whole_plane_that_is_nearest_in_a_stack_cut_short() -> None:
    pages = noise(5, 100, 150)
    raw = written(pages, metadata=None, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(io.BytesIO(raw)) as tiff:
        cut = raw[: tiff.pages[1].offset + 400]
    assert numpy.array_equal(preview(cut), pages[:1, ::STEP, ::STEP])


def test_too_many_blocks_to_decode_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = numpy.repeat(numpy.repeat(noise(8, 8), 16, 0), 16, 1)  # each block of one value
    raw = written(plane, photometric="minisblack", tile=(16, 16), compression="zlib")
    whole = preview(raw, pixels=64)
    assert numpy.array_equal(whole, plane[None, ::2, ::2])
    monkeypatch.setattr(tiff_preview, "MAX_DECODED_BYTES", 16 * 16 * 16 * 2)
    assert numpy.array_equal(preview(raw, pixels=64)[0, ::8, ::8], plane[::32, ::32].repeat(2, 0).repeat(2, 1))


def test_a_block_too_large_to_decode() -> None:
    plane = numpy.zeros((1 << 14, 1 << 15), "u1")
    raw = written(plane, photometric="minisblack", compression="zlib", rowsperstrip=1 << 14)
    with pytest.raises(ValueError, match="blocks of 512 MiB are too large"):
        preview(raw)


_MEASURED = """
import resource, sys
from pathlib import Path
from repofs.formats.local_files import LocalFiles
from repofs.formats.tiff.reader import TiffReader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = TiffReader().preview("huge.tif", LocalFiles(Path(sys.argv[1])), 0, 256)
print(*found.shape, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, int(found[0, -1, -1]))
"""


def test_ten_gigabytes_cost_little_memory(tmp_path: Path) -> None:
    side = 100_352
    path = tmp_path / "huge.tif"
    tifffile.imwrite(path, shape=(side // 2, side), dtype="u2", bigtiff=True, photometric="minisblack")
    rows, columns = numpy.arange(0, side // 2, side // 256), numpy.arange(0, side, side // 256)
    with tifffile.TiffFile(path) as tiff, path.open("r+b") as file:
        file.seek(tiff.pages.first.dataoffsets[0] + 2 * (int(rows[-1]) * side + int(columns[-1])))
        file.write(b"\x07\x00")
    ran = subprocess.run([sys.executable, "-c", _MEASURED, str(tmp_path)], capture_output=True, text=True, check=True)
    channels, height, width, mebibytes, last = map(int, ran.stdout.split())
    assert (channels, height, width, last) == (1, len(rows), len(columns), 7)
    assert mebibytes < 200
