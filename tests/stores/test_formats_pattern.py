"""Pattern files: what they name, of which axis it is, and patterns that make no sense or ask for too much."""

from __future__ import annotations

import time
from pathlib import Path

import numpy
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.formats import image_sequence, registry
from repofs.formats.local_files import LocalFiles
from repofs.formats.pattern import PatternReader
from repofs.image import Channel, ImageInfo, Recognised
from tests.helpers.formats import imported_meanwhile, members, recognised


def made(directory: Path, line: str, data: numpy.ndarray | None = None, name: str = "scan.pattern") -> list[str]:
    """Write the pattern *line* and all files that it names, and return their names; each file has its own values."""
    (directory / name).write_text(line + "\n")
    said = members(name, LocalFiles(directory))
    assert said is not None and said.certain and said.main == said.names[0] == name
    for number, file in enumerate(said.names[1:]):
        (directory / file).parent.mkdir(exist_ok=True, parents=True)
        plane = numpy.arange(24, dtype="u2").reshape(6, 4) if data is None else data
        tifffile.imwrite(directory / file, plane + 100 * number, photometric="minisblack", metadata=None)
    return list(said.names[1:])


def read(directory: Path, name: str = "scan.pattern") -> Recognised:
    return registry.read(name, LocalFiles(directory))


def sizes(image: ImageInfo) -> tuple[int, int, int]:
    return image.size_z, image.size_c, image.size_t


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("z<0-2>.tif", "z0.tif z1.tif z2.tif"),
        ("z<08-10>.tif", "z08.tif z09.tif z10.tif"),
        ("z<8-10>.tif", "z8.tif z9.tif z10.tif"),
        ("z<0-6:3>.tif", "z0.tif z3.tif z6.tif"),
        ("<red,green,blue>.tif", "red.tif green.tif blue.tif"),
        ("well<A-C>.tif", "wellA.tif wellB.tif wellC.tif"),
        ("well<a-e:2>.tif", "wella.tif wellc.tif welle.tif"),
        ("x<a-B>.tif", "xa-B.tif"),
        ("z<3>.tif", "z3.tif"),
        ("z<0-1>_c<1-2>.tif", "z0_c1.tif z0_c2.tif z1_c1.tif z1_c2.tif"),
        ("sub/z<0-1>.tif", "sub/z0.tif sub/z1.tif"),
        ("\N{LATIN SMALL LETTER A WITH DIAERESIS} z<0-1>.tif", "ä z0.tif|ä z1.tif"),
    ],
)
def test_names(tmp_path: Path, line: str, names: str) -> None:
    assert made(tmp_path, line) == names.split("|" if "|" in names else None)


@pytest.mark.parametrize(
    ("line", "zct"),
    [
        ("img_z<000-002>_ch<00-01>.tif", (3, 2, 1)),
        ("tubhiswt_C<0-1>_TP<0-4>.ome.tif", (1, 2, 5)),
        ("sec<1-2>_tl<1-3>_wavelength<1-4>.tif", (2, 4, 3)),
        ("focalplane_<1-2> w1_<1-3> timepoint-<1-4>.tif", (2, 3, 4)),
        ("x<R,G,B>.tif", (1, 3, 1)),
        ("a<1-2>b<1-3>d<1-4>.tif", (2, 4, 3)),
        ("z<1-2>b<1-3>d<1-4>.tif", (2, 4, 3)),
        ("a<1-2>_z<1-3>.tif", (3, 1, 2)),
        ("z<1-2>_z<1-3>.tif", (6, 1, 1)),
    ],
)
def test_axes(tmp_path: Path, line: str, zct: tuple[int, int, int]) -> None:
    made(tmp_path, line)
    found = read(tmp_path)
    assert (found.format, found.note) == ("file pattern", None)
    (image,) = found.images
    assert sizes(image) == zct
    assert (image.name, image.size_x, image.size_y, image.pixel_type) == ("scan.pattern", 4, 6, "uint16")


def test_words_name_the_channels(tmp_path: Path) -> None:
    made(tmp_path, "z<0-1>_<DAPI,FITC>.tif")
    assert read(tmp_path).images[0].channels == (Channel(name="DAPI"), Channel(name="FITC"))


def test_planes_within_the_files(tmp_path: Path) -> None:
    """The files hold five Z already: a block without a label is of T then."""
    made(tmp_path, "run<1-3>_c<1-2>.tif", numpy.zeros((5, 6, 4), "u2"))
    assert sizes(read(tmp_path).images[0]) == (5, 2, 3)


def test_series(tmp_path: Path) -> None:
    made(tmp_path, "run_s<1-2>_z<1-3>.tif")
    images = read(tmp_path).images
    assert [(image.name, image.series, sizes(image)) for image in images] == [
        ("scan.pattern [0]", 0, (3, 1, 1)), ("scan.pattern [1]", 1, (3, 1, 1)),
    ]  # fmt: skip


def test_missing_files_are_named(tmp_path: Path) -> None:
    for name in made(tmp_path, "z<0-9>.tif")[2:7]:
        (tmp_path / name).unlink()
    found = read(tmp_path)
    assert [image.size_z for image in found.images] == [10]
    assert found.note == "5 of its 10 files are missing (z2.tif, z3.tif, z4.tif, …): bring them to the same place"


def test_no_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "scan.pattern").write_text("z<0-9>.tif")
    found = read(tmp_path)
    assert found.images == ()
    assert found.note is not None and found.note.endswith("no plane of scan.pattern is whole; no image can be read")
    with pytest.raises(LookupError):
        PatternReader().preview("scan.pattern", LocalFiles(tmp_path), 0, 256)


def test_a_file_that_is_no_tiff_is_named(tmp_path: Path) -> None:
    made(tmp_path, "z<0-2>.tif")
    (tmp_path / "z1.tif").write_bytes(b"\x89PNG")
    found = read(tmp_path)
    assert [image.size_z for image in found.images] == [3]
    assert found.note == "z1.tif is no TIFF, and nothing else is read in a sequence"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("", "'' has no block, or half of one"),
        ("plain.tif", "'plain.tif' has no block, or half of one"),
        ("z<0-1.tif", "'z<0-1.tif' has no block, or half of one"),
        ("z<<0-1>>.tif", "'z<<0-1>>.tif' has no block, or half of one"),
        ("z<2-0>.tif", "has the block <2-0>, which ends before it begins"),
        ("z<0-999999999999999999>.tif", "names 1000000000000000000 files: up to 50000 can be one fileset"),
        ("<0-999><0-999><0-999>.tif", "names 1000000000 files: up to 50000 can be one fileset"),
        (f"<0-40000>{'x' * 2000}.tif", "names 40001 files: up to "),
        ("../z<0-1>.tif", "names ../z0.tif, which is no file below its directory"),
        ("<a,..>/z.tif", "names ../z.tif, which is no file below its directory"),
        ("/data/z<0-1>.tif", "names /data/z0.tif, which is no file below its directory"),
    ],
)
def test_patterns_that_are_none(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "scan.pattern").write_text(f"\n{line}\n")
    begun = time.monotonic()
    found = read(tmp_path)
    assert members("scan.pattern", LocalFiles(tmp_path)) is None
    assert time.monotonic() - begun < 2
    assert found.images == ()
    assert found.note is not None and found.note.startswith(f"the pattern {what}")
    assert found.note.endswith("; no image can be read")


def test_bytes_that_are_no_text() -> None:
    note = recognised(b"z<0-1>\0", "scan.pattern").note
    assert note is not None and note.startswith("the name ends in .pattern but the bytes do not")


@given(st.text("<>-,:./0123abzZ_ \r\n", max_size=40))
@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_any_line_gives_a_note(line: str) -> None:
    found = recognised(b"# " + line.encode(), "scan.pattern")
    assert found.images == () and found.note


def test_preview_is_the_middle_plane_of_each_channel(tmp_path: Path) -> None:
    names = made(tmp_path, "c<0-1>_z<0-4>_t<0-2>.tif")
    seen = PatternReader().preview("scan.pattern", LocalFiles(tmp_path), 0, 256)
    middle = [tifffile.imread(tmp_path / name) for name in ("c0_z2_t1.tif", "c1_z2_t1.tif")]
    assert numpy.array_equal(seen, middle)
    for name in names:
        if name.startswith("c1"):
            (tmp_path / name).unlink()
    seen = PatternReader().preview("scan.pattern", LocalFiles(tmp_path), 0, 256)
    assert numpy.array_equal(seen, [middle[0], numpy.zeros_like(middle[0])])


def test_preview_of_rgb_files(tmp_path: Path) -> None:
    (tmp_path / "scan.pattern").write_text("z<0-2>.tif")
    frames = numpy.arange(3 * 6 * 4 * 3, dtype="u1").reshape(3, 6, 4, 3)
    for number, frame in enumerate(frames):
        tifffile.imwrite(tmp_path / f"z{number}.tif", frame, photometric="rgb")
    (image,) = read(tmp_path).images
    assert (image.rgb, image.size_c, image.size_z) == (True, 3, 3)
    seen = PatternReader().preview("scan.pattern", LocalFiles(tmp_path), 0, 256)
    assert numpy.array_equal(seen, frames[1].transpose(2, 0, 1))


def test_nothing_is_imported_in_the_middle_of_a_file(tmp_path: Path) -> None:
    names = made(tmp_path, "z<0-2>_t<0-1>_<a,b>.tif")
    assert imported_meanwhile(tmp_path, "scan.pattern", names[0]) == "[]"


def test_of_many_files_some_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each channel one at least."""
    made(tmp_path, "t<0-99>_c<0-3>.tif")
    tifffile.imwrite(tmp_path / "t0_c3.tif", numpy.zeros((2, 2), "u1"))
    monkeypatch.setattr(image_sequence, "MAX_OPENED", 4)
    opened: list[str] = []
    files = LocalFiles(tmp_path)
    genuine = files.open
    monkeypatch.setattr(files, "open", lambda name: opened.append(name) or genuine(name))
    found = registry.read("scan.pattern", files)
    assert sizes(found.images[0]) == (1, 4, 100)
    assert set(opened) == {"scan.pattern", "t0_c0.tif", "t0_c1.tif", "t0_c2.tif", "t0_c3.tif"}
    assert found.note == "t0_c3.tif has planes of 2 x 2 uint8, other than scan.pattern"
