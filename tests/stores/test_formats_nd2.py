"""The ND2 reader on whole files, cut ones and damaged ones; the files are made by `tests.helpers.nd2`."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.nikon import Nd2Reader
from repofs.image import Channel
from tests.helpers.formats import OneFile, recognised
from tests.helpers.nd2 import nd2, positions, time_loop, z_loop

GENERATOR = numpy.random.default_rng(3)
FRAMES = GENERATOR.integers(0, 60_000, (24, 6, 8, 2, 1), "u2")  # T 2, P 3, Z 4
LOOPS = [time_loop(2, 500.0), positions(["centre", "", "edge"]), z_loop(4, 0.5)]
WHOLE = nd2(FRAMES, LOOPS)


def preview(raw: bytes, pixels: int = 1000, series: int = 0) -> numpy.ndarray:
    return Nd2Reader().preview("scan.nd2", OneFile("scan.nd2", raw), series, pixels)


def channels_first(frame: numpy.ndarray) -> numpy.ndarray:
    return frame.transpose(2, 3, 0, 1).reshape(-1, *frame.shape[:2])


def test_what_the_file_says() -> None:
    found = recognised(WHOLE, "scan.nd2")
    assert (found.format, found.note) == ("ND2", None)
    assert [image.name for image in found.images] == ["centre", "scan.nd2 [1]", "edge"]
    image = found.images[2]
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (8, 6, 4, 2, 2)
    assert (image.pixel_type, image.rgb, image.series) == ("uint16", False, 2)
    assert (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um) == (0.25, 0.25, 0.5)
    assert (image.time_increment_s, image.acquired) == (0.5, "2014-06-18T15:55:27")
    assert image.channels == (Channel("DAPI", "#0000FF", 400.0, 500.0), Channel("GFP", "#80FF00", 401.0, 500.0))
    assert (image.objective, image.magnification, image.numerical_aperture) == ("Plan Apo 60x", 60.0, 0.95)
    assert image.instrument == "Ti Microscope"
    assert found.original_metadata["channel.0.channel.name"] == "DAPI"


def test_a_single_plane_has_no_distance_of_planes() -> None:
    (image,) = recognised(nd2(FRAMES[:1]), "scan.nd2").images
    assert (image.name, image.size_z, image.size_t) == ("scan.nd2", 1, 1)
    assert (image.physical_size_z_um, image.time_increment_s) == (None, None)


def test_times_as_they_were_measured_where_none_was_asked_for() -> None:
    (image,) = recognised(nd2(FRAMES[:2], [time_loop(2, 0.0, measured_ms=1500.0)]), "scan.nd2").images
    assert (image.size_t, image.time_increment_s) == (2, 1.5)


@pytest.mark.parametrize(
    ("date", "iso"),
    [
        (b"18/06/2014  15:55:27", "2014-06-18T15:55:27"),
        (b"6/18/2014 3:55:27 PM", "2014-06-18T15:55:27"),
        (b"2014-06-18  15:55:27", "2014-06-18T15:55:27"),
        (b"yesterday, about tea", None),
    ],
)
def test_dates(date: bytes, iso: str | None) -> None:
    (image,) = recognised(nd2(FRAMES[:1]).replace(b"18/06/2014  15:55:27", date), "scan.nd2").images
    assert image.acquired == iso


@pytest.mark.parametrize(("padding", "compressed"), [(0, False), (6, False), (0, True), (6, True)])
def test_samples_are_those_of_the_middle_frame_of_the_position(padding: int, compressed: bool) -> None:
    raw = nd2(FRAMES, LOOPS, padding=padding, compressed=compressed)
    assert recognised(raw, "scan.nd2").note is None
    middle = channels_first(FRAMES.reshape(2, 3, 4, *FRAMES.shape[1:])[1, 2, 2])
    assert numpy.array_equal(preview(raw, series=2), middle)
    assert numpy.array_equal(preview(raw, 3, series=2), middle[:, ::2, ::2])


def test_colours_are_red_green_and_blue() -> None:
    frames = GENERATOR.integers(0, 255, (1, 6, 8, 1, 3), "u1")
    raw = nd2(frames)
    (image,) = recognised(raw, "scan.nd2").images
    assert (image.size_c, image.rgb, image.pixel_type, image.channels) == (3, True, "uint8", ())
    assert numpy.array_equal(preview(raw), frames[0, :, :, 0, ::-1].transpose(2, 0, 1))


def test_missing_frames_are_counted_and_not_shown_as_black() -> None:
    raw = nd2(FRAMES, LOOPS, missing=[18, 4, 5, 6, 7, 16, 17, 19])
    found = recognised(raw, "scan.nd2")
    assert found.note == "8 of its 24 frames are not in the file"
    assert [image.series for image in found.images] == [0, 2]  # position 1 has none
    whole = recognised(nd2(FRAMES, LOOPS, missing=[14]), "scan.nd2")
    assert len(whole.images) == 3
    assert preview(nd2(FRAMES, LOOPS, missing=[14])).any()


def test_channels_that_nd2_breaks_on_cost_no_image() -> None:
    found = recognised(WHOLE.replace(b"pFluorescentProbe", b"pFluorescentProbX"), "scan.nd2")
    assert len(found.images) == 3
    assert "what it says of its channels cannot be read" in (found.note or "")


@pytest.mark.parametrize("length", [2**power for power in range(4, 17)] + [len(WHOLE) - 1])
def test_truncated(length: int) -> None:
    """The map of chunks is at the end."""
    found = recognised(WHOLE[:length], "scan.nd2")
    assert found.images == ()
    assert "no image can be read" in (found.note or "")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'uiWidth runtype="lx_int64" value="8"', b'uiWidth runtype="lx_int64" value="0"', "are not possible"),
        (
            b'uiBpcInMemory runtype="lx_int64" value="16"',
            b'uiBpcInMemory runtype="lx_int64" value="99"',
            "are not known",
        ),
        (b"uiComp ", b"uiCmop ", "what describes its frames is not in the file"),
    ],
)
def test_contradictions(old: bytes, new: bytes, why: str) -> None:
    assert old in WHOLE
    found = recognised(WHOLE.replace(old, new), "scan.nd2")
    assert found.images == ()
    assert why in (found.note or "")


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8)), max_size=40))
@settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_mutations_give_an_answer_or_reader_failed(changes: list[tuple[int, bytes]]) -> None:
    mutated = bytearray(WHOLE)
    for at, new in changes:
        mutated[at : at + len(new)] = new
    files = OneFile("scan.nd2", bytes(mutated))
    try:
        found = registry.read("scan.nd2", files)
        for image in found.images:
            registry.picture("scan.nd2", files, image.series)
    except ReaderFailed as failed:
        assert "broke" in failed.message
    else:
        assert found.images or found.note
