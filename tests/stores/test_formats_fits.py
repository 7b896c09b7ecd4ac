"""The reader of FITS on images, cubes, compressed ones, cut ones and hostile ones."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import time

import numpy
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.fits import FitsReader
from repofs.image import Recognised
from tests.helpers.formats import OneFile, recognised

CUBE = numpy.arange(5 * 40 * 60, dtype="i2").reshape(5, 40, 60)


def saved(*units: fits.hdu.base._BaseHDU) -> bytes:
    file = io.BytesIO()
    fits.HDUList(list(units)).writeto(file)
    return file.getvalue()


def read(raw: bytes) -> Recognised:
    return recognised(raw, "sky.fits")


def preview(raw: bytes, series: int = 0, pixels: int = 20) -> numpy.ndarray:
    return FitsReader().preview("sky.fits", OneFile("sky.fits", raw), series, pixels)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("u1", "uint8"), ("i1", "int8"), ("i2", "int16"), ("u2", "uint16"), ("i4", "int32"), ("u4", "uint32"),
     ("f4", "float"), ("f8", "double")],
)  # fmt: skip
def test_pixel_types(kind: str, stored: str) -> None:
    samples = CUBE.astype(kind)
    raw = saved(fits.PrimaryHDU(samples))
    found = read(raw)
    (image,) = found.images
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (60, 40, 5, 1, 1)
    assert (image.pixel_type, image.name, found.note) == (stored, "sky.fits", None)
    shown = preview(raw)
    assert shown.dtype.name == numpy.dtype(kind).name
    assert numpy.array_equal(shown, samples[2, ::3, ::3][None])


def test_scaled_samples_are_numbers_with_a_point() -> None:
    unit = fits.PrimaryHDU(CUBE)
    unit.header["BSCALE"], unit.header["BZERO"] = 0.5, 10.0
    raw = saved(fits.PrimaryHDU(CUBE)).replace(b"EXTEND  =                    T", b"BSCALE  =                  0.5")
    assert read(raw).images[0].pixel_type == "float"
    assert numpy.array_equal(preview(raw), CUBE[2, ::3, ::3][None] / 2)


def test_numbers_of_64_bits_are_no_image() -> None:
    found = read(saved(fits.PrimaryHDU(CUBE.astype("i8"))))
    assert found.images == ()
    assert found.note == "unit 0: numbers of BITPIX = 64 are not known to OMERO; no image can be read"


def test_units_that_are_images_and_others() -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    spectrum = fits.ImageHDU(numpy.zeros(9, "f4"))
    named = fits.ImageHDU(CUBE, name="SCIENCE")
    raw = saved(fits.PrimaryHDU(), named, table, spectrum, fits.CompImageHDU(CUBE + 1))
    found = read(raw)
    assert [image.name for image in found.images] == ["SCIENCE", "sky.fits [1]"]
    assert found.note is None
    assert found.original_metadata["1.EXTNAME"] == "SCIENCE"
    assert numpy.array_equal(preview(raw, 1), CUBE[2, ::3, ::3][None] + 1)
    with pytest.raises(LookupError):
        preview(raw, 2)


def test_several_images_without_names() -> None:
    found = read(saved(fits.PrimaryHDU(CUBE), fits.ImageHDU(CUBE[0])))
    assert [image.name for image in found.images] == ["sky.fits [0]", "sky.fits [1]"]


def test_time_length_and_when() -> None:
    unit = fits.PrimaryHDU(numpy.zeros((3, 5, 40, 60), "i2"))
    unit.header.update(CTYPE4="TIME", CDELT1=-0.5, CUNIT1="mm", CDELT2=0.1, CUNIT2="deg", INSTRUME="Scope 2")
    unit.header["DATE-OBS"] = "2024-03-05T14:15:16"
    (image,) = read(saved(unit)).images
    assert (image.size_z, image.size_t) == (5, 3)
    assert (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um) == (500.0, None, None)
    assert (image.acquired, image.instrument) == ("2024-03-05T14:15:16", "Scope 2")


def test_a_date_without_a_century_is_none() -> None:
    unit = fits.PrimaryHDU(CUBE)
    unit.header["DATE-OBS"] = "05/04/87"
    assert read(saved(unit)).images[0].acquired is None


def test_a_cube_cut_short_has_the_planes_that_are_there() -> None:
    raw = saved(fits.PrimaryHDU(CUBE))[: 2880 + 3 * 4800 + 100]
    found = read(raw)
    assert found.images[0].size_z == 3
    assert found.note == "unit 0: its header declares 5 planes, 3 are there"
    assert numpy.array_equal(preview(raw), CUBE[1, ::3, ::3][None])


def test_a_compressed_image_cut_short_is_none() -> None:
    raw = saved(fits.PrimaryHDU(), fits.CompImageHDU(CUBE))
    assert read(raw[:-2881]).note == "unit 1: its data are not whole; no image can be read"


def test_what_follows_and_is_no_unit() -> None:
    found = read(saved(fits.PrimaryHDU(CUBE)) + b"garbage" * 1000)
    assert found.images[0].size_z == 5
    assert found.note == "what follows byte 28800 is no unit of FITS or is not whole"


def test_no_end_of_the_header() -> None:
    found = read(saved(fits.PrimaryHDU(CUBE))[:1000])
    assert found.note == "the file is not whole: Empty or corrupt FITS file; no image can be read"


def test_a_card_that_is_not_as_the_standard_wants_it() -> None:
    raw = saved(fits.PrimaryHDU(CUBE)).replace(b"EXTEND  =                    T", b"ORIGIN  = 'no end of it       ")
    assert "no end of it" in read(raw).original_metadata["ORIGIN"]


def test_a_large_compressed_plane_is_not_unpacked() -> None:
    raw = saved(fits.PrimaryHDU(), fits.CompImageHDU(CUBE[0]))
    large = raw.replace(b"ZNAXIS1 =                   60", b"ZNAXIS1 =           2000000000")
    assert read(large).images[0].size_x == 2_000_000_000
    with pytest.raises(ValueError, match="unpacks no compressed plane"):
        preview(large)


def test_absurd_sizes() -> None:
    raw = saved(fits.PrimaryHDU(CUBE)).replace(b"NAXIS1  =                   60", b"NAXIS1  =      100000000000000")
    assert read(raw).note == "unit 0: a shape of (5, 40, 100000000000000) is not possible; no image can be read"


WHOLE = [
    saved(fits.PrimaryHDU(CUBE)),
    saved(fits.PrimaryHDU(), fits.ImageHDU(CUBE.astype("f4")), fits.CompImageHDU(CUBE)),
]


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 9000), st.binary(min_size=1, max_size=8)), max_size=5))
def test_damage_is_survived(whole: bytes, changes: list[tuple[int, bytes]]) -> None:
    raw = bytearray(whole)
    for at, data in changes:
        raw[at : at + len(data)] = data
    started = time.monotonic()
    for question in (read, lambda raw: registry.picture("sky.fits", OneFile("sky.fits", raw), 0)):
        try:
            question(bytes(raw))
        except ReaderFailed as error:
            assert "out of memory" not in error.message
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("whole", WHOLE)
def test_every_cut_is_noticed(whole: bytes) -> None:
    for length in [2**power for power in range(5, 16) if 2**power < len(whole)] + [len(whole) - 2881]:
        try:
            assert read(whole[:length]).note is not None, length
        except ReaderFailed as error:
            assert "out of memory" not in error.message


def test_nothing_is_imported_in_the_middle_of_a_file() -> None:
    """A confined process may be unable to read a module any more."""
    program = """
import base64, sys
from repofs.formats import registry
from tests.helpers.formats import OneFile, recognised
registry.readers()
before = set(sys.modules)
for line in sys.stdin:
    raw = base64.b64decode(line)
    for image in recognised(raw, "sky.fits").images:
        registry.picture("sky.fits", OneFile("sky.fits", raw), image.series)
print(sorted(set(sys.modules) - before))
"""
    lines = "\n".join(base64.b64encode(raw).decode() for raw in WHOLE)
    done = subprocess.run([sys.executable, "-c", program], input=lines, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
