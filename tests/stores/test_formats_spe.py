"""The reader of Princeton Instruments SPE on files of WinView and LightField, cut ones and hostile ones."""

from __future__ import annotations

import struct
import time

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.spe import SpeReader
from repofs.image import Recognised
from tests.helpers.formats import OneFile, recognised

FRAMES = numpy.arange(5 * 40 * 60, dtype="<u2").reshape(5, 40, 60)
NUMBERS = {"float32": 0, "int32": 1, "int16": 2, "uint16": 3, "uint32": 8}


def winview(frames: numpy.ndarray, **fields: tuple[str, int, object]) -> bytes:
    """Return a file as WinView writes it; *fields* are (format, offset, value) of more of the header."""
    head = bytearray(4100)
    count, height, width = frames.shape
    known = {
        "xdim": ("<H", 42, width), "ydim": ("<H", 656, height), "frames": ("<i", 1446, count),
        "type": ("<h", 108, NUMBERS[frames.dtype.name]), "number": ("<I", 2996, 0x01234567),
    }  # fmt: skip
    for form, offset, value in {**known, **fields}.values():
        struct.pack_into(form, head, offset, value)
    return bytes(head) + frames.tobytes()


def lightfield(frames: numpy.ndarray, gap: int = 0, xml: bytes | None = None) -> bytes:
    """Return a file as LightField writes it, with *gap* bytes of its own behind each frame."""
    count, height, width = frames.shape
    data = b"".join(frame.tobytes() + b"\xff" * gap for frame in frames)
    if xml is None:
        xml = (
            f'<SpeFormat version="3.0" xmlns="http://www.princetoninstruments.com/spe/2009"><DataFormat>'
            f'<DataBlock type="Frame" count="{count}" size="{frames[0].nbytes}" stride="{frames[0].nbytes + gap}">'
            f'<DataBlock type="Region" width="{width}" height="{height}"/></DataBlock></DataFormat></SpeFormat>'
        ).encode()
    head = winview(frames, version=("<f", 1992, 3.0), footer=("<Q", 678, 4100 + len(data)), number=("<I", 2996, 0))[
        :4100
    ]
    return head + data + xml


def read(raw: bytes) -> Recognised:
    return recognised(raw, "laser.spe")


def preview(raw: bytes) -> numpy.ndarray:
    return SpeReader().preview("laser.spe", OneFile("laser.spe", raw), 0, 20)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("f4", "float"), ("i4", "int32"), ("i2", "int16"), ("u2", "uint16"), ("u4", "uint32")],
)
def test_frames_are_time_points(kind: str, stored: str) -> None:
    raw = winview(FRAMES.astype(kind))
    found = read(raw)
    (image,) = found.images
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (60, 40, 1, 1, 5)
    assert (image.pixel_type, image.name, found.note, found.format) == (stored, "laser.spe", None, "SPE")
    assert numpy.array_equal(preview(raw), FRAMES[2, ::3, ::3][None].astype(kind))


@pytest.mark.parametrize("gap", [0, 16])
def test_lightfield(gap: int) -> None:
    raw = lightfield(FRAMES, gap)
    found = read(raw)
    assert (found.note, found.images[0].size_t) == (None, 5)
    assert found.original_metadata["XML"].startswith("<SpeFormat")
    assert numpy.array_equal(preview(raw), FRAMES[2, ::3, ::3][None])


def test_lightfield_with_two_regions() -> None:
    region = b'<DataBlock type="Region" width="60" height="40"/>'
    found = read(
        lightfield(FRAMES, xml=b'<SpeFormat><DataBlock type="Frame">' + 2 * region + b"</DataBlock></SpeFormat>")
    )
    assert found.note == "it has 2 regions: only the first is read"


def test_metadata() -> None:
    raw = winview(FRAMES, date=("10s", 20, b"05Mar2024"), comment=("80s", 200, b"first light"), gain=("<H", 198, 3))
    assert read(raw).original_metadata.items() >= {"date": "05Mar2024", "comments": "first light", "gain": "3"}.items()


@pytest.mark.parametrize(
    "xml", [b"<SpeFormat>", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b'<x type="Frame" stride="much"/>']
)
def test_a_footer_that_is_damaged(xml: bytes) -> None:
    found = read(lightfield(FRAMES, xml=xml))
    assert str(found.note).startswith("its XML footer cannot be read (")
    assert found.images[0].size_t == 5


def test_a_file_cut_short_has_the_frames_that_are_there() -> None:
    raw = winview(FRAMES)[: 4100 + 3 * 4800 + 100]
    found = read(raw)
    assert (found.note, found.images[0].size_t) == ("its header declares 5 frames, 3 are there", 3)
    assert numpy.array_equal(preview(raw), FRAMES[1, ::3, ::3][None])


def test_no_whole_frame() -> None:
    note = "the file is not whole: a frame of 4800 bytes does not fit into it; no image can be read"
    assert read(winview(FRAMES)[:5000]).note == note
    assert read(winview(FRAMES)[:4099]).note == "the file is not whole: it ends within its header; no image can be read"
    with pytest.raises(LookupError):
        preview(winview(FRAMES)[:5000])


def test_a_size_that_is_none() -> None:
    found = read(winview(FRAMES, xdim=("<H", 42, 0)))
    assert found.note == "a size of 0 x 40 pixels is not possible; no image can be read"


def test_a_name_alone_proves_nothing() -> None:
    assert "the bytes do not begin as SPE does" in str(read(bytes(8192)).note)
    assert "no reader knows this format" in str(recognised(winview(FRAMES), "laser.dat").note)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([winview(FRAMES), lightfield(FRAMES, 16)]),
    st.lists(st.tuples(st.integers(0, 4100), st.binary(min_size=1, max_size=8)), max_size=5),
    st.integers(0, 30000),
)
def test_damage_is_survived(whole: bytes, changes: list[tuple[int, bytes]], length: int) -> None:
    raw = bytearray(whole)
    for at, data in changes:
        raw[at : at + len(data)] = data
    started = time.monotonic()
    for question in (read, lambda raw: registry.picture("laser.spe", OneFile("laser.spe", raw), 0)):
        try:
            question(bytes(raw[:length]))
        except ReaderFailed as error:
            assert "out of memory" not in error.message
    assert time.monotonic() - started < 2
