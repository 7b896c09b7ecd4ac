"""The reader of DeltaVision files: every type, either byte order, the three orders of planes, and damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrc._new import BE_HDR, LE_HDR

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.deltavision import DeltaVisionReader
from tests.helpers.damage import asked, changed, cut, loaded_late
from tests.helpers.formats import OneFile, only_image, preview, recognised, sizes, um

VOLUME = (numpy.arange(3 * 40 * 600, dtype="i4") % 2000).reshape(3, 40, 600)


def dv_of(data: numpy.ndarray, order: str = "<", sequence: int = 0, channels: int = 1, times: int = 1) -> bytes:
    """Return a DeltaVision file of *data* (planes, Y, X), with an extended header of 8 integers and 32 floats each."""
    form = BE_HDR if order == ">" else LE_HDR
    values: list[float | bytes] = list(form.unpack(bytes(form.size)))
    planes, height, width = data.shape
    extended = 32 + 128
    kinds = {"u1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6, "i4": 7}
    changes = {0: width, 1: height, 2: planes, 3: kinds[data.dtype.str[1:]], 10: 0.1, 11: 0.2, 12: 0.5,
               23: extended * planes, 24: -16224, 28: 8, 29: 32, 39: 10602, 46: times, 47: sequence, 51: channels,
               52: 525, 53: 632, 54: -50}  # fmt: skip
    for index, value in changes.items():
        values[index] = value
    values[-1] = b"a title".ljust(800, b"\0")
    frames = b"".join(
        bytes(32) + struct.pack(f"{order}32f", *(400.0 + plane if n == 10 else 0.0 for n in range(32)))
        for plane in range(planes)
    )
    return form.pack(*values) + frames + data.astype(data.dtype.newbyteorder(order)).tobytes()


def test_dv_header_fields_are_where_the_test_thinks() -> None:
    image = only_image(recognised(dv_of(numpy.zeros((1, 3, 4), "u2")), "a.dv"))
    assert (sizes(image), um(image)) == ((4, 3, 1, 1, 1), pytest.approx((0.1, 0.2, 0.5)))
    assert image.channels[0].excitation_nm == 400.0
    assert image.objective is not None
    assert (image.magnification, image.numerical_aperture) == (60.0, 1.4)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "c8", "u2", "i4"])
@pytest.mark.parametrize("order", "<>")
def test_dv_types(dtype: str, order: str) -> None:
    data = VOLUME.astype(dtype)
    raw = dv_of(data, order)
    image = only_image(recognised(raw, "a.dv"))
    omero = {"u1": "uint8", "i2": "int16", "f4": "float", "c8": "complex", "u2": "uint16", "i4": "int32"}
    assert (image.pixel_type, image.big_endian) == (omero[dtype], order == ">")
    assert (preview(DeltaVisionReader(), raw, "a.dv") == data[1:2, ::2, ::2]).all()


@pytest.mark.parametrize(("sequence", "axes"), [(0, "CTZ"), (1, "TZC"), (2, "TCZ")])
def test_dv_sequences(sequence: int, axes: str) -> None:
    """*axes* are as numpy has them, the slowest first."""
    count = {"Z": 3, "C": 2, "T": 5}
    data = numpy.arange(30 * 4 * 6, dtype="u2").reshape(*(count[axis] for axis in axes), 4, 6)
    raw = dv_of(data.reshape(30, 4, 6), sequence=sequence, channels=2, times=5)
    image = only_image(recognised(raw, "a.dv"))
    assert sizes(image) == (6, 4, 3, 2, 5)
    assert [channel.name for channel in image.channels] == ["525", "632"]
    assert [channel.emission_nm for channel in image.channels] == [525.0, 632.0]
    first_of_second = {0: 15, 1: 1, 2: 3}[sequence]
    assert [channel.excitation_nm for channel in image.channels] == [400.0, 400.0 + first_of_second]
    expected = data.transpose(*(axes.index(axis) for axis in "CZT"), 3, 4)[:, 1, 2]
    assert (preview(DeltaVisionReader(), raw, "a.dv") == expected).all()


def test_dv_bright_field_has_no_emission() -> None:
    channels = only_image(recognised(dv_of(numpy.zeros((3, 4, 4), "u2"), channels=3), "a.r3d")).channels
    assert [(channel.name, channel.emission_nm) for channel in channels][2] == ("-50", None)


def test_dv_that_ends_early() -> None:
    raw = dv_of(numpy.arange(6 * 20, dtype="u2").reshape(6, 4, 5), channels=2)[:-1]
    found = recognised(raw, "a.dv")
    assert found.note == "the file is not whole: its header declares 5 x 4 pixels in 6 planes, 5 are there"
    assert sizes(found.images[0]) == (5, 4, 3, 1, 1)
    assert len(found.images[0].channels) == 1
    assert preview(DeltaVisionReader(), raw, "a.dv").shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("where", "form", "value", "note"),
    [
        (12, "<i", 3, "pixels of type 3 are not known to OMERO; no image can be read"),
        (0, "<i", 0, "0 x 4 pixels in 6 planes of 1 channels and 1 times are not possible; no image can be read"),
        (180, "<h", 7, "5 x 4 pixels in 6 planes of 1 channels and 7 times are not possible; no image can be read"),
        (180, "<h", 4, "its 6 planes are no multiple of 1 channels and 4 times"),
    ],
)
def test_dv_that_cannot_be(where: int, form: str, value: int, note: str) -> None:
    raw = bytearray(dv_of(numpy.zeros((6, 4, 5), "u2")))
    struct.pack_into(form, raw, where, value)
    assert recognised(bytes(raw), "a.dv").note == note


# --- damage --------------------------------------------------------------------------------------


SMALL = dv_of(numpy.zeros((4, 4, 5), "u2"), channels=2)


def test_no_image_beyond_the_first() -> None:
    with pytest.raises(ReaderFailed, match="finds no image 1"):
        registry.picture("a.dv", OneFile("a.dv", SMALL), 1)
    with pytest.raises(LookupError):
        DeltaVisionReader().preview("a.dv", OneFile("a.dv", SMALL), 1, 256)


def test_cut_short() -> None:
    for raw in cut(SMALL):
        found = asked("a.dv", OneFile("a.dv", raw))
        assert found is not None
        assert found.note is not None


@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=6))
@settings(max_examples=200, deadline=5000, derandomize=True)
def test_mutations(changes: list[tuple[int, bytes]]) -> None:
    asked("a.dv", OneFile("a.dv", changed(SMALL, changes)))


def test_nothing_is_loaded_in_the_middle_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.dv").write_bytes(SMALL)
    assert loaded_late(tmp_path, ["a.dv"]) == []
