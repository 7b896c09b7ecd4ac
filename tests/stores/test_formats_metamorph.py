"""MetaMorph's .nd: what belongs to it, what it holds, and what becomes of one that is not whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import tifffile

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.formats.metamorph import MetamorphReader
from repofs.formats.tiff.reader import TiffReader
from repofs.image import Channel, Members, Recognised
from tests.helpers.formats import imported_meanwhile, members, recognised
from tests.stores.test_formats_samples import SAMPLES

ND = """"NDInfoFile", Version 1.0
"Description", File recreated from images.
A second line, of the description
"StartTime1", 20241001 12:00:00.250
"DoTimelapse", TRUE
"NTimePoints", 3
"DoStage", TRUE
"NStagePositions", 2
"Stage1", "A1"
"Stage2", "B1"
"DoWave", TRUE
"NWavelengths", 2
"WaveName1", "Conf_640"
"WaveDoZ1", TRUE
"WaveName2", "Bright/DIC"
"WaveDoZ2", FALSE
"WavePointsCollected2", 1, 3
"DoZSeries", TRUE
"NZSteps", 5
"ZStepSize", 0,3
"WaveInFileName", TRUE
"EndFile"
"""
STACKS = [f"run_w1Conf-640_s{s}_t{t}.stk" for s in (1, 2) for t in (1, 2, 3)]
PLANES = [f"run_w2Bright-DIC_s{s}_t{t}.tif" for s in (1, 2) for t in (1, 3)]


def wave(name: str) -> numpy.ndarray:
    """Return planes (Z, Y, X) that are told apart by the name of their file."""
    seed = [int(part[1:]) for part in Path(name).stem.split("_")[2:]]
    planes = 5 if name.endswith("stk") else 1
    return (numpy.arange(planes * 6 * 4).reshape(planes, 6, 4) + 1000 * seed[0] + 200 * seed[1]).astype("u2")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a directory with the run of two stages, two waves and three time points."""
    (tmp_path / "run.nd").write_bytes(ND.encode())
    for name in STACKS + PLANES:
        tifffile.imwrite(tmp_path / name, wave(name), photometric="minisblack", metadata=None)
    return tmp_path


def read(directory: Path, name: str = "run.nd") -> Recognised:
    return registry.read(name, LocalFiles(directory))


def test_an_image_a_stage(run: Path) -> None:
    found = read(run)
    first, second = found.images
    assert found.format == "MetaMorph"
    assert (first.name, second.name) == ("A1", "B1")
    assert (first.size_x, first.size_y, first.size_z, first.size_c, first.size_t) == (4, 6, 5, 2, 3)
    assert replace(second, name="A1", series=0) == first
    assert first.channels == (Channel(name="Conf_640"), Channel(name="Bright/DIC"))
    assert (first.pixel_type, first.acquired) == ("uint16", "2024-10-01T12:00:00.250")
    assert (first.physical_size_x_um, first.physical_size_z_um) == (None, 0.3)
    assert found.original_metadata["ZStepSize"] == "0,3"


def test_a_wave_without_a_z_series_is_noted(run: Path) -> None:
    note = read(run).note
    assert note is not None
    assert f"{PLANES[0]} has 1 Z, 1 C and 1 T, the largest file of A1 5, 1 and 1 (and 1 more files)" in note


def test_members_in_any_order(run: Path) -> None:
    said = members("run.nd", LocalFiles(run))
    assert said is not None and said.certain
    assert (said.main, set(said.names)) == ("run.nd", {"run.nd", *STACKS, *PLANES})
    for name in STACKS + PLANES:
        assert members(name, LocalFiles(run)) == Members("run.nd", ("run.nd", name), certain=False)


def test_the_nd_names_files_that_have_not_come(run: Path) -> None:
    for name in STACKS + PLANES:
        (run / name).unlink()
    said = members("run.nd", LocalFiles(run))
    assert said is not None and set(said.names) == {"run.nd", *STACKS, *PLANES}


def test_suffixes_are_as_they_are_written(run: Path) -> None:
    """MetaMorph writes .TIF; of a wave of which one file is there the others are called alike."""
    (run / PLANES[0]).rename(run / PLANES[0].replace(".tif", ".TIF"))
    for name in PLANES[1:]:
        (run / name).unlink()
    said = members("run.nd", LocalFiles(run))
    assert said is not None and {name for name in said.names if "_w2" in name} == {
        name.replace(".tif", ".TIF") for name in PLANES
    }


@pytest.mark.parametrize(
    ("name", "main"),
    [
        ("run_w1Conf_s1_t1.stk", "run.nd"),
        ("run_w1.tif", "run.nd"),
        ("run_w2_x_w1Cy5_t12.TIF", "run_w2_x.nd"),
        ("run_s1.tif", None),  # a wave is what makes it likely
        ("_w1.tif", None),
        ("run_w1_mask.tif", None),
        ("run_w1.png", None),
        ("run.tif", None),
        ("run_w1.ome.tif", None),  # says more itself
    ],
)
def test_names_that_speak_of_an_nd(tmp_path: Path, name: str, main: str | None) -> None:
    tifffile.imwrite(tmp_path / name, numpy.zeros((2, 2), "u1"))
    said = members(name, LocalFiles(tmp_path))
    assert (said and said.main) == main


def test_a_name_without_a_wave_belongs_to_an_nd_that_is_there(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "run_s1_t1.tif", numpy.zeros((2, 2), "u1"))
    (tmp_path / "run.ND").write_text(ND)
    said = members("run_s1_t1.tif", LocalFiles(tmp_path))
    assert said is not None and said.main == "run.ND"


def test_a_plane_alone_is_a_tiff(run: Path) -> None:
    assert read(run, STACKS[0]) == TiffReader().read(STACKS[0], LocalFiles(run))


def test_missing_files_are_named(run: Path) -> None:
    (run / STACKS[1]).unlink()
    found = read(run)
    assert len(found.images) == 2
    assert found.note is not None
    assert found.note.startswith(f"1 of its 10 files are missing ({STACKS[1]}): bring them to the same place; ")


def test_a_stage_without_a_whole_plane_gives_no_image(run: Path) -> None:
    for name in STACKS[:3] + PLANES[:2]:
        (run / name).write_bytes((run / name).read_bytes()[:20])
    found = read(run)
    assert [(image.name, image.series) for image in found.images] == [("B1", 1)]
    assert found.note is not None and "not whole" in found.note


def test_files_of_another_size_are_named(run: Path) -> None:
    tifffile.imwrite(run / STACKS[0], numpy.zeros((5, 9, 9), "u2"), photometric="minisblack", metadata=None)
    note = read(run).note
    assert note is not None and f"{STACKS[0]} has planes of 9 x 9 uint16, other than A1" in note


def test_fewer_planes_than_declared(run: Path) -> None:
    (run / "run.nd").write_text(ND.replace('"NZSteps", 5', '"NZSteps", 42'))
    note = read(run).note
    assert note is not None and note.startswith("the .nd declares 42 planes a stack, 5 are there; ")


def test_one_plane(tmp_path: Path) -> None:
    """Without waves, stages and time points the names have no parts, and the image is called as the file."""
    (tmp_path / "run.nd").write_bytes(b'"NDInfoFile", Version 1.0\r\n"DoWave", FALSE\r\n"StartTime1", yesterday\r\n')
    tifffile.imwrite(tmp_path / "run.tif", numpy.zeros((3, 2), "u1"))
    found = read(tmp_path)
    assert found.note is None
    (image,) = found.images
    assert (image.name, image.size_c, image.channels, image.acquired) == ("run.nd", 1, (), None)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('"NTimePoints", many', "says 'many' for NTimePoints, which is no number from 1 to 100000"),
        ('"NTimePoints", 0', "says '0' for NTimePoints"),
        ('"NStagePositions", 99999999999999999999', "says '99999999999999999999' for NStagePositions"),
        ('"NStagePositions", 90000', "names 540000 files: up to "),
    ],
)
def test_counts_that_make_no_sense(tmp_path: Path, line: str, what: str) -> None:
    key = line.split(",")[0]
    lines = [line if one.startswith(key) else one for one in ND.splitlines()]
    (tmp_path / "run.nd").write_text("\n".join(lines))
    found = read(tmp_path)
    assert found.images == ()
    assert found.note is not None and found.note.startswith(f"the .nd file {what}")
    assert members("run.nd", LocalFiles(tmp_path)) is None


def test_bytes_that_are_no_nd() -> None:
    note = recognised(b"no description", "run.nd").note
    assert note is not None and note.startswith("the name ends in .nd but the bytes do not begin as MetaMorph does")


def test_western_letters(tmp_path: Path) -> None:
    (tmp_path / "run.nd").write_bytes(ND.replace("A1", "Zürich").encode("cp1252"))
    said = MetamorphReader().read("run.nd", LocalFiles(tmp_path))
    assert said.original_metadata["Stage1"] == "Zürich"


@pytest.mark.parametrize("length", [1, 2, 4, 16, 64, 128, 256, 512])
def test_truncated(run: Path, length: int) -> None:
    (run / "run.nd").write_bytes(ND.encode()[:length])
    found = read(run)
    assert found.images or found.note


def test_preview_is_the_middle_plane_of_each_wave(run: Path) -> None:
    seen = MetamorphReader().preview("run.nd", LocalFiles(run), 1, 256)
    expected = [wave("run_w1Conf-640_s2_t2.stk")[2], wave("run_w2Bright-DIC_s2_t1.tif")[0]]
    assert numpy.array_equal(seen, expected)  # the second wave has no second time point


def test_preview_of_no_such_image(run: Path) -> None:
    with pytest.raises(LookupError):
        MetamorphReader().preview("run.nd", LocalFiles(run), 2, 256)


def test_samples() -> None:
    if not (SAMPLES / "truth.json").is_file():
        pytest.skip(f"no samples at {SAMPLES}: set REPOFS_SAMPLES to where truth.json lies")
    truth = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))
    filesets = [one for one in truth["filesets"] if one["kind"] == "MetaMorph .nd"]
    assert filesets
    for one in filesets:
        main = SAMPLES / one["main"]
        names = {Path(name).name for name in one["members"]} | {main.name}
        for name in sorted(names):
            said = members(name, LocalFiles(main.parent))
            assert said is not None and said.main == main.name and set(said.names) <= names
        assert registry.read(main.name, LocalFiles(main.parent)).images


def test_nothing_is_imported_in_the_middle_of_a_file(run: Path) -> None:
    (run / "western.nd").write_bytes(ND.replace("A1", "Zürich").encode("cp1252"))
    assert imported_meanwhile(run, "run.nd", STACKS[0], "western.nd") == "[]"
