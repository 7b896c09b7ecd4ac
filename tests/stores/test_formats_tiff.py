"""The TIFF reader on whole files, cut ones, contradictory ones and hostile ones."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.errors import ReaderFailed
from repofs.image import ImageInfo, Recognised
from tests.helpers import formats
from tests.helpers.damage import loaded_late
from tests.helpers.formats import recognised, sizes


def written(data: numpy.ndarray, **how: object) -> bytes:
    """Return the bytes of the file that tifffile writes of *data*."""
    options = {name: how.pop(name) for name in ("bigtiff", "byteorder", "imagej", "ome") if name in how}
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as writer:  # type: ignore[arg-type]
        writer.write(data, **how)  # type: ignore[arg-type]
    return file.getvalue()


def read(raw: bytes, name: str = "scan.tif") -> Recognised:
    return recognised(raw, name)


def only_image(raw: bytes, name: str = "scan.tif") -> ImageInfo:
    return formats.only_image(read(raw, name))


STACK = numpy.arange(5 * 16 * 24, dtype="u2").reshape(5, 16, 24)
PAGES = {"metadata": None, "photometric": "minisblack"}  # a stack of pages, no header of tifffile's own


@pytest.mark.parametrize(
    "kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64", "complex64", "complex128"]
)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_pixel_types_and_byte_orders(kind: str, order: str, big: bool) -> None:
    image = only_image(written(numpy.zeros((6, 4), kind), byteorder=order, bigtiff=big, photometric="minisblack"))
    omero = {"float32": "float", "float64": "double", "complex64": "complex", "complex128": "double-complex"}
    assert image.pixel_type == omero.get(kind, kind)
    assert image.big_endian == (order == ">")
    assert sizes(image) == (4, 6, 1, 1, 1)


def test_bits() -> None:
    assert only_image(written(numpy.zeros((6, 8), bool), photometric="minisblack")).pixel_type == "bit"


def test_pixels_that_omero_does_not_know() -> None:
    found = read(written(numpy.zeros((6, 4), "u8"), photometric="minisblack"))
    assert found.images == ()
    assert found.note == "pixels of type uint64 are not known to OMERO; no image can be read"


def test_plain_stack_counts_its_pages_as_z() -> None:
    image = only_image(written(STACK, **PAGES))
    assert sizes(image) == (24, 16, 5, 1, 1)
    assert (image.name, image.series, image.rgb) == ("scan.tif", 0, False)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb(planar: str) -> None:
    shape = (16, 24, 3) if planar == "contig" else (3, 16, 24)
    image = only_image(written(numpy.zeros(shape, "u1"), photometric="rgb", planarconfig=planar))
    assert sizes(image) == (24, 16, 1, 3, 1)
    assert image.rgb


def test_tiles_and_compression() -> None:
    pixels = numpy.random.default_rng(7).integers(0, 255, (200, 130), "u1")
    raw = written(pixels, tile=(64, 64), compression="zlib", photometric="minisblack")
    assert sizes(only_image(raw)) == (130, 200, 1, 1, 1)


def test_a_pyramid_is_one_image() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(numpy.zeros((256, 256), "u1"), subifds=1, tile=(64, 64), photometric="minisblack")
        writer.write(numpy.zeros((128, 128), "u1"), subfiletype=1, tile=(64, 64), photometric="minisblack")
    assert sizes(only_image(file.getvalue())) == (256, 256, 1, 1, 1)
    damaged = file.getvalue()[:70_000]
    assert "not whole" in str(read(damaged).note)


def test_a_print_resolution_is_no_pixel_size() -> None:
    image = only_image(written(STACK[0], resolution=(72, 72), resolutionunit="INCH"))
    assert image.physical_size_x_um is None


def test_imagej_hyperstack() -> None:
    meta = {"axes": "TZCYX", "unit": "um", "spacing": 1.5, "finterval": 30.0}
    raw = written(numpy.zeros((2, 3, 2, 16, 24), "u2"), imagej=True, resolution=(2.0, 4.0), metadata=meta)
    image = only_image(raw)
    assert sizes(image) == (24, 16, 3, 2, 2)
    assert (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um) == (0.5, 0.25, 1.5)
    assert image.time_increment_s == 30.0


def test_imagej_colours() -> None:
    red = numpy.zeros((3, 256), "u1")
    red[0] = numpy.arange(256)
    meta = {"axes": "CYX", "mode": "composite", "LUTs": [red, red[::-1]]}
    image = only_image(written(numpy.zeros((2, 16, 24), "u2"), imagej=True, metadata=meta))
    assert [channel.color for channel in image.channels] == ["#FF0000", "#0000FF"]


def test_several_series() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(numpy.zeros((16, 24), "u1"), photometric="minisblack")
        writer.write(numpy.zeros((8, 8), "u2"), photometric="minisblack")
    found = read(file.getvalue())
    assert [(image.name, image.series, image.size_x) for image in found.images] == [
        ("scan.tif [0]", 0, 24),
        ("scan.tif [1]", 1, 8),
    ]


def test_original_metadata_is_flat_text_within_bounds() -> None:
    found = read(written(STACK, software="scope\x01", description="x" * 100_000, **PAGES))
    assert found.original_metadata["ImageWidth"] == "24"
    assert found.original_metadata["Software"] == "scope\N{REPLACEMENT CHARACTER}"
    assert all(isinstance(value, str) and len(value) <= 4096 for value in found.original_metadata.values())


def test_empty_garbage_and_unknown() -> None:
    assert read(b"").note == "the file is empty: kept as an original without an image"
    assert read(b"hello", "notes.txt").note == "no reader knows this format: kept as an original without an image"
    note = read(b"\x89PNG\r\n", "scan.TIF").note
    assert note == "the name ends in .tif but the bytes do not begin as TIFF does: kept as an original without an image"


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("contiguous", [False, True])
def test_every_cut_is_noticed(big: bool, contiguous: bool) -> None:
    """Wherever a file is cut before the end of its last page (tifffile writes bytes that nothing names behind it)."""
    compression = None if contiguous else "zlib"
    raw = written(STACK, bigtiff=big, compression=compression, **PAGES)
    with tifffile.TiffFile(io.BytesIO(raw)) as tiff:
        last = tiff.pages[len(tiff.pages) - 1].offset
    end = last + (8 + 12 * 20 + 8 if big else 2 + 12 * 12 + 4)
    for length in range(1, max(end, _end_of_pixels(raw))):
        found = read(raw[:length])
        assert found.note is not None, length
        assert all(image.size_z <= 5 for image in found.images)


@pytest.mark.parametrize("how", [{"imagej": True}, {"metadata": {"axes": "TYX"}}, {"ome": True}])
def test_every_cut_of_a_stack_with_a_header_is_noticed(how: dict[str, object]) -> None:
    raw = written(STACK, photometric="minisblack", **how)
    for length in range(1, _end_of_pixels(raw)):
        assert read(raw[:length]).note is not None, length


def _end_of_pixels(raw: bytes) -> int:
    with tifffile.TiffFile(io.BytesIO(raw)) as tiff:
        return max(page.dataoffsets[-1] + page.databytecounts[-1] for page in tiff.pages)


def test_a_single_plane_cut_short_is_no_image() -> None:
    found = read(written(STACK[0], photometric="minisblack")[:-100])
    assert found.images == ()
    assert found.note == "the file is not whole: page 1: 1 of 1 strips are not in the file; no image can be read"


def test_a_stack_cut_short_has_the_planes_that_are_there() -> None:
    raw = written(STACK, compression="zlib", **PAGES)
    found = read(raw[: len(raw) * 3 // 4])
    (image,) = found.images
    assert 0 < image.size_z < 5
    assert "page" in str(found.note)


def test_an_imagej_header_that_declares_too_many_planes() -> None:
    raw = written(STACK, imagej=True, metadata={"axes": "ZYX"})
    found = read(raw.replace(b"images=5", b"images=9").replace(b"slices=5", b"slices=9"))
    assert found.note == "its header declares other planes than are there"
    assert sum(image.size_z for image in found.images) == 5


def test_a_shaped_header_that_declares_too_many_planes() -> None:
    raw = written(STACK, compression="zlib", photometric="minisblack").replace(b"[5, 16, 24]", b"[9, 16, 24]")
    found = read(raw)
    assert found.note == "its header declares 9 planes, 5 are there"
    assert found.images[0].size_z == 5


def ifd(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """Return a little-endian classic IFD of (tag, type, count, value or offset)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def page(
    width: int = 4,
    length: int = 4,
    *,
    strip: int = 0,
    nbytes: int = 16,
    more: tuple[tuple[int, int, int, int], ...] = (),
) -> list[tuple[int, int, int, int]]:
    return [
        (256, 4, 1, width), (257, 4, 1, length), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, strip), (277, 3, 1, 1), (278, 4, 1, length), (279, 4, 1, nbytes), *more,
    ]  # fmt: skip


def classic(*ifds: bytes) -> bytes:
    return b"II*\0" + struct.pack("<I", 8) + b"".join(ifds)


@pytest.mark.parametrize("back_to", range(5))
def test_a_circle_of_pages(back_to: int) -> None:
    """tifffile by itself would go round most of these 2^32 times."""
    at = [8 + number * len(ifd(*page())) for number in range(5)]
    sizes = [ifd(*page(4, 4 - number % 2, strip=8), following=at[number + 1]) for number in range(4)]
    found = read(classic(*sizes, ifd(*page(strip=8), following=at[back_to])))
    assert "after page 5 the chain of pages runs back to an earlier one" in str(found.note)
    assert sum(image.size_z for image in found.images) == 5


def test_a_billion_by_a_billion() -> None:
    found = read(classic(ifd(*page(10**9, 10**9, strip=8))))
    assert found.images == ()
    assert "its 16 bytes are too few for 1000000000 x 1000000000 pixels of 8 bits" in str(found.note)
    deflated = [*page(10**9, 10**9, strip=8)]
    deflated[3] = (259, 3, 1, 8)
    assert "too few" in str(read(classic(ifd(*deflated))).note)


def test_a_size_that_is_none() -> None:
    assert "a size of 0 x 4 pixels is not possible" in str(read(classic(ifd(*page(0, strip=8)))).note)


def test_a_tag_with_four_billion_values() -> None:
    found = read(classic(ifd(*page(strip=8, more=((270, 2, 2**32 - 1, 8),)))))
    assert "its tag 270 lies beyond the end of the file" in str(found.note)


def test_strip_tables_that_are_no_numbers_or_too_short() -> None:
    letters = [entry if entry[0] != 273 else (273, 2, 1, 8) for entry in page()]
    assert "its tag 273 holds no whole numbers" in str(read(classic(ifd(*letters))).note)
    rows = [entry if entry[0] != 278 else (278, 4, 1, 1) for entry in page(strip=8)]
    assert "it has 1 of 4 strips" in str(read(classic(ifd(*rows))).note)
    bare = [entry for entry in page() if entry[0] != 273]
    assert "it has no strips" in str(read(classic(ifd(*bare))).note)


def test_a_chain_of_a_hundred_thousand_pages_is_walked_in_bounded_time() -> None:
    entry = ifd(*page(strip=8))
    step = len(entry)
    ifds = [ifd(*page(strip=8), following=8 + (n + 1) * step if n < 99_999 else 0) for n in range(100_000)]
    before = time.process_time()
    assert sum(image.size_z for image in read(classic(*ifds)).images) == 100_000
    assert time.process_time() - before < 60


def test_nothing_is_loaded_late(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "Info": "scope \N{GREEK SMALL LETTER MU}", "Labels": ["a", "b", "c", "d", "e"]}
    for number, raw in enumerate((written(STACK), written(STACK, imagej=True, metadata=metadata), SMALL[3])):
        (tmp_path / str(number)).write_bytes(raw)
    assert loaded_late(tmp_path, "012") == []


SMALL = [
    written(STACK[:2, :4, :4], **PAGES),
    written(STACK[:2, :4, :4], bigtiff=True, byteorder=">", photometric="minisblack"),
    written(STACK[:2, :4, :4], imagej=True),
    written(STACK[:2, :4, :4], ome=True, photometric="minisblack"),
    written(numpy.zeros((32, 32, 3), "u1"), tile=(16, 16), compression="zlib", photometric="rgb"),
]


@given(st.sampled_from(SMALL), st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=6))
@settings(max_examples=600, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_mutations_give_an_answer_or_reader_failed(raw: bytes, changes: list[tuple[int, bytes]]) -> None:
    mutated = bytearray(raw)
    for where, new in changes:
        at = where % len(mutated)
        mutated[at : at + len(new)] = new
    try:
        found = read(bytes(mutated))
    except ReaderFailed as failed:
        assert "broke" in failed.message or "memory" in failed.message
    else:
        assert found.images or found.note
