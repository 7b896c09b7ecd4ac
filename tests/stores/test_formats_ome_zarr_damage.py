"""OME-Zarr of which parts are missing, or that makes no sense."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repofs.formats.local_files import LocalFiles
from repofs.formats.ome_zarr import layout as ome_zarr_layout
from tests.helpers import ome_zarr
from tests.helpers.damage import asked, changed, cut
from tests.helpers.ome_zarr import STACK, Version, group, image, plate, preview, pyramid, read

BOTH = pytest.mark.parametrize("version", [2, 3])


@pytest.mark.parametrize("words", ["<OME><Image>", "<!DOCTYPE OME><OME/>", "\udcff<"])
def test_ome_xml_of_no_use(words: str, tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK], name="own")
    (path / "OME").mkdir()
    (path / "OME" / "METADATA.ome.xml").write_text(words, errors="surrogateescape")
    found = read(path)
    assert str(found.note).startswith("its OME/METADATA.ome.xml is of no use: it ")
    assert [one.name for one in found.images] == ["own"]


def test_series_of_which_parts_are_missing(tmp_path: Path) -> None:
    path = group(tmp_path / "a.zarr", {"bioformats2raw.layout": 3})
    image(path / "0", [STACK[:1, :1, :1]])
    group(path / "OME", {"series": ["1", 7, "0", "../b.zarr"]})
    found = read(path)
    assert [one.series for one in found.images] == [0]
    assert found.note == "the image 1 that it names is not there; it names '../b.zarr', which is not below it"
    (path / "OME" / ".zattrs").write_text("{")
    found = read(path)
    assert len(found.images) == 1
    assert str(found.note).startswith("OME/.zattrs cannot be read (JSONDecodeError")


def test_plate_of_which_parts_are_missing(tmp_path: Path) -> None:
    path = plate(tmp_path / "assay.zarr")
    shutil.rmtree(path / "B")
    shutil.rmtree(path / "A" / "1" / "0")
    (path / "A" / "1" / "1" / "0" / ".zarray").unlink()
    found = read(path)
    assert found.images == ()
    assert found.note == (
        "the image A/1/0 that it names is not there; the well B/2 that the plate names is not there; "
        "the array A/1/1/0 is not there; no image can be read"
    )


def test_only_so_many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ome_zarr_layout, "MAX_IMAGES", 2)
    found = read(plate(tmp_path / "assay.zarr"))
    assert len(found.images) == 2
    assert found.note == "it has more than 2 images: the rest was not looked at"


@BOTH
def test_a_resolution_that_is_missing(version: Version, tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", pyramid(STACK, 3), version=version)
    shutil.rmtree(path / "2")
    found = read(path)
    assert (len(found.images), found.note) == (1, "the array 2 is not there")
    assert (preview(path, 20) == (STACK[1, :, 2, ::2, ::2] + 1)[:, ::3, ::3]).all()
    shutil.rmtree(path / "0")
    assert read(path).note == "the array 0 is not there; no image can be read"


@BOTH
def test_a_plain_zarr_has_no_image(version: Version, tmp_path: Path) -> None:
    ome_zarr.array(tmp_path / "array.zarr", STACK, version)
    found = read(group(tmp_path / "group.zarr", {"made": "by hand"}, version))
    assert (found.format, found.images) == ("Zarr", ())
    assert found.note == "it names no image of OME-Zarr; no image can be read"
    assert list(found.original_metadata.values()) == ["by hand"]
    assert read(tmp_path / "array.zarr").images == ()
    assert read(tmp_path / "array.zarr").note == found.note


def test_a_directory_that_is_no_zarr(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    assert str(read(tmp_path / "a.zarr").note).startswith("no reader knows this kind of directory")


@pytest.mark.parametrize(
    ("multiscale", "note"),
    [
        ({}, "the image of the root names no array"),
        ({"datasets": [{"path": "../../other"}]}, "it names '../../other', which is not below it"),
        ({"datasets": [{"path": "/../x"}]}, "it names '../x', which is not below it"),
        ({"datasets": [{"path": 7}, "0"]}, "the image of the root names no array"),
        ({"datasets": [{"path": "0"}], "axes": ["y", "x"]}, "the axes of 0 are not those of an image of 3 dimensions"),
        ({"datasets": [{"path": "0"}], "axes": ["z", "y", "y"]}, "the axes of 0 are not those of an image of 3 dim"),
        ({"datasets": [{"path": "0"}], "axes": "zyx"}, None),
        ({"datasets": [7, {"path": 7}, {"path": "0"}]}, None),
    ],
)
def test_multiscales_that_make_no_sense(multiscale: dict[str, Any], note: str | None, tmp_path: Path) -> None:
    path = group(tmp_path / "a.zarr", {"multiscales": [multiscale, 7]})
    ome_zarr.array(path / "0", STACK[0, 0])
    found = read(path)
    assert (len(found.images) == 1) == (note is None)
    assert str(found.note).startswith(str(note))


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"shape": [3, 0, 9]}, "3 x 0 x 9 pixels of 0 are not possible"),
        ({"shape": [1, 2**31, 9]}, "1 x 2147483648 x 9 pixels of 0 are not possible"),
        ({"dtype": "<i8"}, "pixels of type int64 are not known to OMERO"),
        ({"dtype": "|S7", "fill_value": ""}, "pixels of type |S7 are not known to OMERO"),
        ({"dtype": "nonsense"}, "0 cannot be read (ValueError"),
        ({"shape": None}, "0 cannot be read (TypeError"),
        ({"compressor": {"id": "nobody"}}, "0 cannot be read (UnknownCodecError"),
    ],
)
def test_arrays_that_make_no_sense(change: dict[str, Any], note: str, tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK[0, 0]], "zyx")
    document = path / "0" / ".zarray"
    document.write_text(json.dumps(json.loads(document.read_text()) | change))
    found = read(path)
    assert found.images == ()
    assert str(found.note).startswith(note)


@BOTH
@pytest.mark.parametrize("place", ["", "0"])
def test_documents_cut_short(version: Version, place: str, tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK[:1, :1, :1]], version=version)
    names = ["zarr.json"] if version == 3 else [".zattrs", ".zarray" if place else ".zgroup"]
    for name in names:
        document = path / place / name
        if not document.exists():
            continue
        whole = document.read_bytes()
        for raw in (*cut(whole), b"", b"[" * 100_000, b'{"a":' * 100_000, b"null", b"7", b"\xff\xfe", b"NaN"):
            document.write_bytes(raw)
            asked("a.zarr/", LocalFiles(tmp_path))
        document.write_bytes(whole)
    assert read(path).note is None


def test_a_document_that_is_too_long(tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK])
    with (path / ".zattrs").open("ab") as file:
        file.truncate(17 << 20)
    assert read(path).note == ".zattrs is longer than 16 MiB; no image can be read"


def test_a_chunk_that_is_damaged_gives_no_picture(tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK[:1, :1, :1]], version=3)
    for chunk in (path / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    assert read(path).note is None
    with pytest.raises(Exception, match="0 cannot be read"):
        preview(path)


DOCUMENTS: list[tuple[Version, str]] = [
    (2, ".zattrs"),
    (2, "0/.zarray"),
    (2, "0/0.0"),
    (3, "zarr.json"),
    (3, "0/zarr.json"),
    (3, "0/c/0/0"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a small image of each version of Zarr."""
    directory = tmp_path_factory.mktemp("small")
    image(directory / "2.zarr", [STACK[0, 0, 0, :8, :9]], "yx", 2)
    image(directory / "3.zarr", [STACK[0, 0, 0, :8, :9]], "yx", 3)
    return directory


@given(
    st.sampled_from(DOCUMENTS),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4),
)
@settings(max_examples=300, deadline=5000, derandomize=True)
def test_mutations(small: Path, place: tuple[Version, str], changes: list[tuple[int, bytes]]) -> None:
    version, document = place
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(small / f"{version}.zarr", Path(directory) / "a.zarr")
        file = Path(directory) / "a.zarr" / document
        file.write_bytes(changed(file.read_bytes(), changes))
        asked("a.zarr/", LocalFiles(Path(directory)))
