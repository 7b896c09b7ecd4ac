"""cellSens .vsi files: a TIFF with a folder whose pyramids are not read."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import tifffile

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.formats.vsi import VsiReader
from repofs.image import Members
from tests.helpers.formats import imported_meanwhile, members, recognised

PYRAMIDS = ("_scan_/stack1/frame_t_0.ets", "_scan_/stack10001/frame_t_0.ets")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Return a directory with a slide: a picture of its label, two pyramids and another file of its folder."""
    with (tmp_path / "scan.vsi").open("wb") as file:
        tifffile.imwrite(file, numpy.arange(72, dtype="u1").reshape(6, 4, 3), photometric="rgb")
    for name in PYRAMIDS:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"SIS\0" + bytes(60))
    (tmp_path / "_scan_" / "notes.txt").write_text("no pyramid")
    return tmp_path


def test_the_picture_is_read_and_the_pyramids_are_named(slide: Path) -> None:
    found = registry.read("scan.vsi", LocalFiles(slide))
    assert found.format == "cellSens VSI"
    assert [(image.size_x, image.size_y, image.size_c, image.rgb) for image in found.images] == [(4, 6, 3, True)]
    assert found.note == "the pyramids in 2 .ets files are not read, only the pictures in the .vsi are"


def test_members_are_all_below_the_folder(slide: Path) -> None:
    names = ("scan.vsi", "_scan_/notes.txt", *PYRAMIDS)
    assert members("scan.vsi", LocalFiles(slide)) == Members("scan.vsi", names)


def test_without_its_folder(slide: Path) -> None:
    """Some have none: it is waited for, and not missed."""
    (slide / "_scan_").rename(slide / "elsewhere")
    said = members("scan.vsi", LocalFiles(slide))
    assert said == Members("scan.vsi", ("scan.vsi", PYRAMIDS[0]), certain=False)
    found = registry.read("scan.vsi", LocalFiles(slide))
    assert len(found.images) == 1
    assert found.note == "there is no .ets file below _scan_: if it has one, bring it to the same place"


def test_a_pyramid_alone() -> None:
    found = recognised(b"SIS\0" + bytes(60), "frame_t_0.ets")
    assert (found.format, found.note) == (
        "cellSens VSI",
        "the pyramid of a .vsi image is not read; no image can be read",
    )


@pytest.mark.parametrize("name", ["scan.vsi", "frame_t_0.ets"])
def test_other_bytes(name: str) -> None:
    note = recognised(b"no image", name).note
    assert note is not None and "the bytes do not begin as cellSens VSI does" in note


@pytest.mark.parametrize("length", [2**n for n in range(3, 9)])
def test_truncated(slide: Path, length: int) -> None:
    whole = (slide / "scan.vsi").read_bytes()
    (slide / "scan.vsi").write_bytes(whole[:length])
    found = registry.read("scan.vsi", LocalFiles(slide))
    assert found.images == ()
    assert found.note is not None and "not whole" in found.note


def test_preview_is_the_picture(slide: Path) -> None:
    seen = VsiReader().preview("scan.vsi", LocalFiles(slide), 0, 256)
    assert numpy.array_equal(seen, tifffile.imread(slide / "scan.vsi").transpose(2, 0, 1))


def test_nothing_is_imported_in_the_middle_of_a_file(slide: Path) -> None:
    assert imported_meanwhile(slide, "scan.vsi", PYRAMIDS[0]) == "[]"
