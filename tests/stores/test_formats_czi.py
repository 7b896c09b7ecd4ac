"""The CZI reader on whole files, cut ones and damaged ones; the files are made by `tests.helpers.czi`."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.czi.reader import CziReader
from repofs.formats.local_files import LocalFiles
from repofs.image import Channel, Members
from tests.helpers.czi import GUID, Tile, czi
from tests.helpers.formats import OneFile, recognised

GENERATOR = numpy.random.default_rng(1)
PLANE = GENERATOR.integers(0, 60_000, (40, 60), "u2")


def preview(raw: bytes, pixels: int = 1000, series: int = 0) -> numpy.ndarray:
    return CziReader().preview("scan.czi", OneFile("scan.czi", raw), series, pixels)


def test_scenes_are_images_of_their_own_sizes() -> None:
    """Two scenes far apart, a mosaic with a gap, and a pyramid, which counts for nothing."""
    tiles = [
        Tile(PLANE, {"X": 10, "Y": 5, "S": 0, "M": 0}),
        Tile(PLANE, {"X": 80, "Y": 0, "S": 0, "M": 1}),
        Tile(PLANE[:8, :8], {"X": 90_000, "Y": 90_000, "S": 1, "M": 0}),
        Tile(PLANE[:4, :4], {"X": 90_000, "Y": 90_000, "S": 1}, size=(8, 8)),
    ]
    found = recognised(czi(tiles), "scan.czi")
    assert found.note is None
    assert [(one.name, one.size_x, one.size_y, one.series) for one in found.images] == [
        ("scene 0", 130, 45, 0),
        ("scene 1", 8, 8, 1),
    ]


def test_what_the_metadata_says() -> None:
    tiles = [Tile(PLANE, {"C": c, "Z": z, "T": t}) for c in range(2) for z in range(3) for t in range(4)]
    found = recognised(czi(tiles), "scan.czi")
    (image,) = found.images
    assert (image.name, image.size_z, image.size_c, image.size_t) == ("scan.czi", 3, 2, 4)
    assert image.pixel_type == "uint16"
    assert not image.rgb
    assert (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um) == (
        pytest.approx(1.6),
        None,
        None,
    )
    assert (image.time_increment_s, image.acquired) == (2.5, "2021-06-15T06:09:43Z")
    assert (image.objective, image.magnification, image.numerical_aperture) == ("Plan 20x/0.8", 20.0, 0.8)
    assert image.instrument == "Axio"
    assert image.channels == (Channel("DAPI", "#00A1FF", 353.0, 465.5), Channel("Channel:1", "#00FF00"))
    assert found.original_metadata["Information.Image.AcquisitionDateAndTime"] == "2021-06-15T06:09:43Z"


def test_dimensions_that_omero_has_not_are_counted_with_channels_and_times() -> None:
    tiles = [Tile(PLANE, {"C": 0, "I": i, "H": h}) for i in range(2) for h in range(3)]
    (image,) = recognised(czi(tiles), "scan.czi").images
    assert (image.size_z, image.size_c, image.size_t) == (1, 2, 3)


def test_colours_are_three_channels() -> None:
    pixels = GENERATOR.integers(0, 255, (10, 12, 3), "u1")
    raw = czi([Tile(pixels, {})])
    (image,) = recognised(raw, "scan.czi").images
    assert (image.size_c, image.rgb, image.pixel_type, image.channels) == (3, True, "uint8", ())
    assert numpy.array_equal(preview(raw), pixels.transpose(2, 0, 1))


def hi_lo(plane: numpy.ndarray) -> bytes:
    halves = numpy.frombuffer(plane.tobytes(), "u1").reshape(-1, 2).T.tobytes()
    return b"\3\1\1" + imagecodecs.zstd_encode(halves)


@pytest.mark.parametrize(
    ("compression", "packed"),
    [
        (0, None),
        (2, PLANE.tobytes()),  # some writers say LZW and store it as it is
        (4, imagecodecs.jpegxr_encode(PLANE, level=1.0)),
        (5, imagecodecs.zstd_encode(PLANE.tobytes())),
        (6, b"\1" + imagecodecs.zstd_encode(PLANE.tobytes())),
        (6, hi_lo(PLANE)),
        (1001, PLANE.tobytes()),
    ],
)
def test_compressions(compression: int, packed: bytes | None) -> None:
    raw = czi([Tile(PLANE, {}, compression=compression, packed=packed)])
    assert numpy.array_equal(preview(raw)[0], PLANE)
    assert numpy.array_equal(preview(raw, 20)[0], PLANE[::3, ::3])


def test_the_samples_are_those_of_the_middle_plane_and_of_the_later_tile() -> None:
    tiles = [Tile(PLANE + z * 10 + t, {"Z": z, "T": t}) for z in range(4) for t in range(3)]
    assert numpy.array_equal(preview(czi(tiles))[0], PLANE + 21)
    over = [Tile(PLANE, {"M": 1, "X": 30}), Tile(PLANE + 1, {"M": 0})]
    assert numpy.array_equal(preview(czi(over))[0], numpy.hstack([PLANE[:, :30] + 1, PLANE]))


def test_the_smallest_sufficient_pyramid_is_taken() -> None:
    """Full resolution would decode to other values; the border of the smaller one is rounded."""
    tiles = [
        Tile(PLANE, {"M": 0}),
        Tile(PLANE[:20, :30] * 0 + 7, {}, size=(40, 60)),
        Tile(PLANE[:10, :15] * 0 + 9, {}, size=(40, 60)),
    ]
    assert set(preview(czi(tiles), 30).ravel().tolist()) == {7}
    assert set(preview(czi(tiles), 15).ravel().tolist()) == {9}


def test_a_subblock_that_cannot_be_decoded_stays_dark() -> None:
    tiles = [Tile(PLANE, {"X": 0}), Tile(PLANE, {"X": 60}, compression=5, packed=b"no zstd")]
    assert numpy.array_equal(preview(czi(tiles))[0], numpy.hstack([PLANE, PLANE * 0]))
    with pytest.raises(registry.ReaderFailed, match="no subblock of its middle plane"):
        registry.picture("scan.czi", OneFile("scan.czi", czi(tiles[1:])), 0)


def test_an_unknown_compression_is_named() -> None:
    with pytest.raises(registry.ReaderFailed, match=r"compression 77 is not known.*: no thumbnail"):
        registry.picture("scan.czi", OneFile("scan.czi", czi([Tile(PLANE, {}, compression=77, packed=b"x")])), 0)


def split(place: Path) -> None:
    second = Tile(PLANE + 1, {"T": 1}, part=1)
    raw = czi([second], part=1)
    (place / "scan(1).czi").write_bytes(raw)
    where = raw.index(b"ZISRAWSUBBLOCK")
    (place / "scan.czi").write_bytes(czi([Tile(PLANE, {"T": 0}), second], elsewhere={1: where}))


def test_a_split_file_is_one_fileset(tmp_path: Path) -> None:
    split(tmp_path)
    files = LocalFiles(tmp_path)
    both = Members("scan.czi", ("scan.czi", "scan(1).czi"), key=GUID.hex())
    assert CziReader().members("scan.czi", files) == both
    assert CziReader().members("scan(1).czi", files) == both
    found = registry.read("scan.czi", files)
    assert found.note is None
    assert found.images[0].size_t == 2
    assert numpy.array_equal(CziReader().preview("scan.czi", files, 0, 1000)[0], PLANE + 1)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    split(tmp_path)
    (tmp_path / "scan(1).czi").unlink()
    found = registry.read("scan.czi", LocalFiles(tmp_path))
    assert found.note is not None
    assert "its part scan(1).czi is missing; 1 of its 2 subblocks" in found.note
    assert len(found.images) == 1


def test_a_part_by_itself_points_to_the_first(tmp_path: Path) -> None:
    split(tmp_path)
    found = registry.read("scan(1).czi", LocalFiles(tmp_path))
    assert found.images == ()
    assert found.note is not None
    assert "part 1 of a split file, to be read through its first part, scan.czi" in found.note


def test_a_number_in_the_name_of_a_whole_file_means_nothing() -> None:
    raw = czi([Tile(PLANE, {})])
    assert CziReader().members("scan(1).czi", OneFile("scan(1).czi", raw)) is None
    assert len(recognised(raw, "scan(1).czi").images) == 1


WHOLE = czi([Tile(PLANE, {"Z": z}) for z in range(3)])


@pytest.mark.parametrize("length", [2**power for power in range(4, 15)])
def test_truncated(length: int) -> None:
    """An image where one of the three planes is whole; the directory at the beginning says how many there were."""
    found = recognised(WHOLE[:length], "scan.czi")
    planes = (length - WHOLE.index(b"ZISRAWSUBBLOCK")) // (len(WHOLE[WHOLE.index(b"ZISRAWSUBBLOCK") :]) // 3)
    assert len(found.images) == (planes > 0)
    assert found.note is not None
    assert ("no image can be read" in found.note) == (planes < 1)
    if planes > 0:
        assert f"{3 - planes} of its 3 subblocks are not whole or not in the file" in found.note
        assert found.images[0].size_z == 3


def test_the_picture_of_a_cut_file_is_of_the_nearest_plane() -> None:
    size = len(WHOLE[WHOLE.index(b"ZISRAWSUBBLOCK") :]) // 3
    assert numpy.array_equal(preview(WHOLE[: -2 * size])[0], PLANE)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"<ImageDocument>", b"<!DOCTYPE a>   ", "it declares a document type"),
        (b"</ImageDocument>", b"</ImageDocumenx>", "it is not well-formed"),
    ],
)
def test_metadata_of_no_use_costs_no_image(old: bytes, new: bytes, why: str) -> None:
    found = recognised(WHOLE.replace(old, new), "scan.czi")
    assert len(found.images) == 1
    assert found.note == f"its metadata is of no use: {why}"


def with_count(count: int) -> bytes:
    """Return the file, whose directory says that it has *count* subblocks."""
    return WHOLE[:576] + struct.pack("<i", count) + WHOLE[580:]


def test_absurd_sizes() -> None:
    far = czi([Tile(PLANE, {"X": -(2**31)}), Tile(PLANE, {"X": 2**31 - 1})])
    assert recognised(far, "scan.czi").note == "scene 0 has an impossible size; no image can be read"
    assert "more than the 1000000 that are looked at" in (recognised(with_count(2**31 - 1), "scan.czi").note or "")
    assert "it ends within its directory" in (recognised(with_count(900_000), "scan.czi").note or "")


def test_a_newer_czifile_costs_only_this_format(tmp_path: Path) -> None:
    (tmp_path / "czifile.py").write_text('__version__ = "2026.1.1"', encoding="utf-8")
    (tmp_path / "scan.czi").write_bytes(WHOLE)
    code = "\n".join(
        [
            "from pathlib import Path",
            "from repofs.formats import registry",
            "from repofs.formats.local_files import LocalFiles",
            f"files = LocalFiles(Path({str(tmp_path)!r}))",
            "print(registry.look('scan.czi', files).note)",
        ]
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout == (
        "czifile 2026.1.1 is installed, it is read with 'czifile>=2019.7.2,<2020'; no image can be read\n"
    )


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8)), max_size=6))
@pytest.mark.filterwarnings("ignore:unknown segment type")
@settings(max_examples=200, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_mutations_give_an_answer_or_reader_failed(changes: list[tuple[int, bytes]]) -> None:
    mutated = bytearray(WHOLE)
    for at, new in changes:
        mutated[at : at + len(new)] = new
    files = OneFile("scan.czi", bytes(mutated))
    try:
        found = registry.read("scan.czi", files)
        for image in found.images:
            registry.picture("scan.czi", files, image.series)
    except ReaderFailed as failed:
        assert "broke" in failed.message
    else:
        assert found.images or found.note
