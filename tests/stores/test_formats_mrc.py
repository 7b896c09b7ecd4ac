"""The reader of MRC files: every mode, either byte order, axes in any order, and damage."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import mrcfile
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrcfile.dtypes import get_ext_header_dtype

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.formats.mrc_map import MrcReader
from tests.helpers.damage import asked, changed, cut, loaded_late
from tests.helpers.formats import OneFile, only_image, preview, recognised, sizes, um

VOLUME = (numpy.arange(3 * 40 * 600, dtype="i4") % 2000).reshape(3, 40, 600)


def mrc_of(data: numpy.ndarray, directory: Path, voxel_size: float | tuple[float, ...] = 2.5) -> bytearray:
    """Return the bytes that mrcfile writes of *data*; *voxel_size* in Å."""
    with mrcfile.new(directory / "written.mrc", data, overwrite=True) as file:
        file.voxel_size = voxel_size
    return bytearray((directory / "written.mrc").read_bytes())


@pytest.mark.parametrize(
    ("dtype", "omero"),
    [("i1", "int8"), ("i2", "int16"), ("u2", "uint16"), ("f2", "float"), ("f4", "float"), ("c8", "complex"),
     (">i2", "int16"), (">f4", "float"), (">c8", "complex")],
)  # fmt: skip
def test_mrc_types(dtype: str, omero: str, tmp_path: Path) -> None:
    raw = bytes(mrc_of(VOLUME.astype(dtype), tmp_path))
    image = only_image(recognised(raw, "a.mrc"))
    assert (sizes(image), image.pixel_type, image.name) == ((600, 40, 3, 1, 1), omero, "a.mrc")
    assert image.big_endian == dtype.startswith(">")
    assert um(image) == pytest.approx((2.5e-4,) * 3)
    assert (preview(MrcReader(), raw, "a.mrc") == VOLUME.astype(dtype)[1:2, ::2, ::2]).all()


def test_mrc_rgb_is_three_bytes_a_pixel(tmp_path: Path) -> None:
    raw = mrc_of(numpy.zeros((2, 5, 4), "i1"), tmp_path)
    struct.pack_into("<i", raw, 12, 16)
    pixels = numpy.arange(2 * 5 * 4 * 3, dtype="u1")
    raw[1024:] = pixels.tobytes()
    image = only_image(recognised(bytes(raw), "a.mrc"))
    assert (sizes(image), image.pixel_type, image.rgb) == ((4, 5, 2, 3, 1), "uint8", True)
    assert (preview(MrcReader(), bytes(raw), "a.mrc") == pixels.reshape(2, 5, 4, 3)[1].transpose(2, 0, 1)).all()


def test_mrc_stack_of_volumes(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "stack.mrc", numpy.zeros((4, 3, 5, 6), "f4")) as file:
        assert file.is_volume_stack()
    assert sizes(only_image(registry.read("stack.mrc", LocalFiles(tmp_path)))) == (6, 5, 3, 1, 4)


def test_mrc_columns_need_not_be_x(tmp_path: Path) -> None:
    raw = mrc_of(numpy.zeros((2, 3, 4), "f4"), tmp_path)
    struct.pack_into("<3i", raw, 28, 10, 20, 40)  # intervals along X, Y, Z of a cell in Å
    struct.pack_into("<3f", raw, 40, 10, 40, 160)
    struct.pack_into("<3i", raw, 64, 3, 2, 1)
    assert um(only_image(recognised(bytes(raw), "a.map"))) == pytest.approx((4e-4, 2e-4, 1e-4))


@pytest.mark.parametrize(("where", "form", "value"), [(40, "<f", 0.0), (40, "<f", float("nan")), (28, "<i", 0)])
def test_mrc_without_a_pixel_size(where: int, form: str, value: float, tmp_path: Path) -> None:
    raw = mrc_of(numpy.zeros((2, 3, 4), "f4"), tmp_path)
    struct.pack_into(form, raw, where, value)
    assert only_image(recognised(bytes(raw), "a.map")).physical_size_x_um is None


def test_mrc_with_the_wrong_machine_stamp(tmp_path: Path) -> None:
    raw = mrc_of(VOLUME.astype("i2"), tmp_path)
    raw[212:216] = b"\x11\x11\0\0"
    image = only_image(recognised(bytes(raw), "a.mrc"))
    assert (sizes(image), image.big_endian) == ((600, 40, 3, 1, 1), False)


def test_mrc_that_ends_early_has_its_whole_sections(tmp_path: Path) -> None:
    raw = bytes(mrc_of(VOLUME.astype("i2"), tmp_path))[:-1]
    found = recognised(raw, "a.mrc")
    assert found.note == "the file is not whole: 1 bytes of 600 x 40 x 3 pixels are missing"
    assert sizes(found.images[0]) == (600, 40, 2, 1, 1)
    assert (preview(MrcReader(), raw, "a.mrc") == VOLUME.astype("i2")[1:2, ::2, ::2]).all()


@pytest.mark.parametrize(
    ("where", "value", "note"),
    [
        (12, 3, "pixels of mode 3 are not known to OMERO; no image can be read"),
        (0, -5, "-5 x 40 x 3 pixels are not possible; no image can be read"),
        (
            0,
            2**31 - 1,
            "the file is not whole: 515395931280 bytes of 2147483647 x 40 x 3 pixels are missing; no image can be read",
        ),
        (92, 2**31 - 1, "the file is not whole: 144000 bytes of 600 x 40 x 3 pixels are missing; no image can be read"),
    ],
)
def test_mrc_that_cannot_be(where: int, value: int, note: str, tmp_path: Path) -> None:
    raw = mrc_of(VOLUME.astype("i2"), tmp_path)
    struct.pack_into("<i", raw, where, value)
    found = recognised(bytes(raw), "a.mrc")
    assert found.images == ()
    assert found.note == note


def test_mrc_of_many_gigabytes_costs_no_more(tmp_path: Path) -> None:
    raw = mrc_of(numpy.zeros((1, 2, 2), "u2"), tmp_path)
    struct.pack_into("<3i", raw, 0, 20_000, 20_000, 100)
    with (tmp_path / "a.mrc").open("wb") as file:
        file.write(raw)
        file.truncate(1024 + 20_000 * 20_000 * 100 * 2)
        file.seek(1024 + (50 * 20_000 * 20_000 + 78 * 20_000) * 2)
        file.write(b"\x07\0")
    found = asked("a.mrc", LocalFiles(tmp_path))
    assert found is not None
    assert sizes(only_image(found)) == (20_000, 20_000, 100, 1, 1)
    samples = MrcReader().preview("a.mrc", LocalFiles(tmp_path), 0, 256)
    assert (samples.shape, samples[0, 1, 0], samples.max()) == ((1, 257, 257), 7, 7)


def test_mrc_labels_are_kept(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.mrc", numpy.zeros((2, 3), "f4")) as file:
        file.add_label("made by hand")
    metadata = registry.read("a.mrc", LocalFiles(tmp_path)).original_metadata
    assert metadata["label 1"].startswith("made by hand")
    assert metadata["nx"] == "3"


@pytest.mark.parametrize("there", [True, False])
def test_mrc_of_an_fei_microscope(there: bool, tmp_path: Path) -> None:
    raw = mrc_of(numpy.zeros((1, 2, 2), "u2"), tmp_path)
    record = numpy.zeros(1, get_ext_header_dtype(b"FEI1", "<"))
    record["Microscope type"], record["Magnification"] = b"Titan", 75_000
    raw[104:108] = b"FEI1"
    struct.pack_into("<i", raw, 92, record.nbytes)
    raw[1024:1024] = record.tobytes() if there else b""
    found = recognised(bytes(raw), "a.mrc")
    assert found.original_metadata.get("FEI1.Magnification") == ("75000.0" if there else None)
    assert [image.instrument for image in found.images] == (["Titan"] if there else [])


# --- damage --------------------------------------------------------------------------------------


with tempfile.TemporaryDirectory() as directory:
    SMALL = bytes(mrc_of(numpy.zeros((2, 4, 5), "f4"), Path(directory)))


def test_no_image_beyond_the_first() -> None:
    with pytest.raises(ReaderFailed, match="finds no image 1"):
        registry.picture("a.mrc", OneFile("a.mrc", SMALL), 1)
    with pytest.raises(LookupError):
        MrcReader().preview("a.mrc", OneFile("a.mrc", SMALL), 1, 256)


def test_cut_short() -> None:
    for raw in cut(SMALL):
        found = asked("a.mrc", OneFile("a.mrc", raw))
        assert found is not None
        assert found.note is not None


@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=6))
@settings(max_examples=200, deadline=5000, derandomize=True)
def test_mutations(changes: list[tuple[int, bytes]]) -> None:
    asked("a.mrc", OneFile("a.mrc", changed(SMALL, changes)))


def test_nothing_is_loaded_in_the_middle_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.mrc").write_bytes(SMALL)
    assert loaded_late(tmp_path, ["a.mrc"]) == []
