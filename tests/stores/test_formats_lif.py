"""The LIF reader on whole files, cut ones and damaged ones; the files are made by `tests.helpers.lif`."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.lif.reader import LifReader
from repofs.image import Channel
from tests.helpers.formats import OneFile, recognised
from tests.helpers.lif import SETTINGS, Picture, lif, lof

GENERATOR = numpy.random.default_rng(2)
VOLUME = GENERATOR.integers(0, 60_000, (3, 2, 4, 20, 30), "u2")
TCZYX = Picture("Series001", VOLUME, "TCZYX", ("Green", "Red"), SETTINGS)


def preview(raw: bytes, pixels: int = 1000, series: int = 0) -> numpy.ndarray:
    return LifReader().preview("scan.lif", OneFile("scan.lif", raw), series, pixels)


def test_what_the_description_says() -> None:
    found = recognised(lif([TCZYX]), "scan.lif")
    assert (found.format, found.note) == ("LIF", None)
    (image,) = found.images
    assert (image.name, image.pixel_type, image.rgb) == ("Series001", "uint16", False)
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (30, 20, 4, 2, 3)
    for size in (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um):
        assert size == pytest.approx(0.5)
    assert (image.time_increment_s, image.acquired) == (2.0, "2021-03-04T16:39:17.951")
    assert image.channels == (Channel("FITC", "#00FF00"), Channel(None, "#FF0000"))
    assert (image.objective, image.magnification, image.numerical_aperture) == ("HC PL 63x", 63.0, 1.3)
    assert image.instrument == "TCS SP8, DMI6000"
    assert found.original_metadata["Series001.ATLConfocalSettingDefinition.Magnification"] == "63"


def test_samples_are_those_of_the_middle_plane() -> None:
    assert numpy.array_equal(preview(lif([TCZYX])), VOLUME[1, :, 2])
    assert numpy.array_equal(preview(lif([TCZYX]), 10), VOLUME[1, :, 2, ::3, ::3])


def test_images_of_folders_have_their_names() -> None:
    inner = Picture("Position 1", VOLUME[0, 0], "ZYX").element("Mem_0")
    found = recognised(lif([Picture("Tiles", VOLUME[0, 0], "ZYX", inner=inner), TCZYX]), "scan.lif")
    assert [(image.name, image.series) for image in found.images] == [
        ("Tiles", 0), ("Tiles/Position 1", 1), ("Series001", 2)
    ]  # fmt: skip
    assert numpy.array_equal(preview(lif([TCZYX, TCZYX]), series=1), VOLUME[1, :, 2])


def test_an_image_without_rows_has_one() -> None:
    raw = lif([Picture("xzt", VOLUME[:, 0, :, 0].copy(), "TZX")])
    (image,) = recognised(raw, "scan.lif").images
    assert (image.size_x, image.size_y, image.size_z, image.size_t) == (30, 1, 4, 3)
    assert image.physical_size_y_um is None
    assert numpy.array_equal(preview(raw), VOLUME[1, 0, 2, :1][None])


def test_wavelengths_are_channels_and_tiles_are_times() -> None:
    raw = lif([Picture("lambda", VOLUME[:, :, 0].copy(), "MLYX")])
    (image,) = recognised(raw, "scan.lif").images
    assert (image.size_c, image.size_z, image.size_t, image.channels) == (2, 1, 3, ())
    assert numpy.array_equal(preview(raw), VOLUME[1, :, 0])


@pytest.mark.parametrize("tables", [("Red", "Green", "Blue"), ("Blue", "Green", "Red")])
def test_colours_are_red_green_and_blue(tables: tuple[str, str, str]) -> None:
    pixels = GENERATOR.integers(0, 255, (8, 9, 3), "u1")
    raw = lif([Picture("photo", pixels, "YXC", tables)])
    (image,) = recognised(raw, "scan.lif").images
    assert (image.size_c, image.rgb, image.channels) == (3, True, ())
    order = [tables.index(one) for one in ("Red", "Green", "Blue")]
    assert numpy.array_equal(preview(raw), pixels[..., order].transpose(2, 0, 1))


def test_floats() -> None:
    samples = GENERATOR.random((5, 6)).astype("f4")
    raw = lif([Picture("ratio", samples, "YX")])
    assert recognised(raw, "scan.lif").images[0].pixel_type == "float"
    assert numpy.array_equal(preview(raw)[0], samples)


def test_lof() -> None:
    raw = lof(TCZYX)
    found = recognised(raw, "scan.lof")
    assert found.note is None
    assert [image.name for image in found.images] == ["Series001"]
    assert numpy.array_equal(LifReader().preview("scan.lof", OneFile("scan.lof", raw), 0, 100), VOLUME[1, :, 2])


WHOLE = lif([TCZYX, TCZYX])


@pytest.mark.parametrize("length", [2**power for power in range(4, 15)] + [len(WHOLE) - 1])
def test_truncated(length: int) -> None:
    found = recognised(WHOLE[:length], "scan.lif")
    assert found.note is not None
    assert ("no image can be read" in found.note) == (found.images == ())
    assert bool(found.images) == (length > len(WHOLE) - 2 * VOLUME.nbytes)
    for image in found.images:
        assert preview(WHOLE[:length], series=image.series).shape == (2, 20, 30)


def test_the_picture_of_a_cut_image_is_of_its_first_plane() -> None:
    raw = lif([TCZYX])[: -VOLUME[1:].nbytes]
    found = recognised(raw, "scan.lif")
    assert found.note == f"Series001: {VOLUME[1:].nbytes} bytes of its pixels are not in the file"
    assert numpy.array_equal(preview(raw), VOLUME[0, :, 0])


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('NumberOfElements="30"', 'NumberOfElements="-3"', "impossible sizes"),
        ('NumberOfElements="30"', 'NumberOfElements="1073741824"', "no plane of it is whole"),
        ('BytesInc="2"', 'BytesInc="0"', "impossible sizes"),
        ('NumberOfElements="30"', 'NumberOfElements="many"', "its description is damaged"),
        ('Resolution="16"', 'Resolution="99"', "its description is damaged (pixels of 99 bits)"),
        ('MemoryBlockID="Mem_0"', 'MemoryBlockID="Mem_7"', "its block of pixels is not in the file"),
        ("<Channels>", "<Chanels></Chanels><Channels2>", "its XML is not well-formed"),
    ],
)
def test_contradictions(old: str, new: str, why: str) -> None:
    picture = Picture("one", VOLUME[0, 0, 0], "YX")
    xml = picture.element("Mem_0").replace(old, new)

    class Damaged(Picture):
        def element(self, block: str) -> str:
            return xml

    found = recognised(lif([Damaged("one", VOLUME[0, 0, 0], "YX")]), "scan.lif")
    assert found.images == ()
    assert why in (found.note or "")


def test_entities_are_refused() -> None:
    assert "declares a document type" in (recognised(lif([], '<!DOCTYPE a [<!ENTITY b "c">]>'), "scan.lif").note or "")


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8)), max_size=6))
@settings(max_examples=200, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_mutations_give_an_answer_or_reader_failed(changes: list[tuple[int, bytes]]) -> None:
    mutated = bytearray(WHOLE)
    for at, new in changes:
        mutated[at : at + len(new)] = new
    files = OneFile("scan.lif", bytes(mutated))
    try:
        found = registry.read("scan.lif", files)
        for image in found.images:
            registry.picture("scan.lif", files, image.series)
    except ReaderFailed as failed:
        assert "broke" in failed.message
    else:
        assert found.images or found.note
