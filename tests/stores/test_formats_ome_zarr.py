"""The reader of OME-Zarr: each version of it, what it is made of, and what is missing or makes no sense."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
import zarr

from tests.helpers import ome_zarr
from tests.helpers.damage import loaded_late
from tests.helpers.formats import only_image, sizes, um
from tests.helpers.ome_zarr import AXES, OME_XML, STACK, Version, group, image, plate, preview, pyramid, read

BOTH = pytest.mark.parametrize("version", [2, 3])


# --- one image -----------------------------------------------------------------------------------


@BOTH
def test_an_image(version: Version, tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", pyramid(STACK, 2), version=version, name="nuclei")
    found = only_image(read(path))
    assert (sizes(found), found.pixel_type, found.name) == ((130, 100, 4, 3, 2), "uint16", "nuclei")
    assert (um(found), found.time_increment_s) == ((0.5, 0.5, 0.5), 0.5)
    assert (found.channels, found.big_endian, found.rgb) == ((), False, False)


@BOTH
def test_preview_takes_the_smallest_resolution_that_is_enough(version: Version, tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", pyramid(STACK, 3), version=version)
    middle = STACK[1, :, 2]
    assert (preview(path, 200) == middle).all()
    assert (preview(path, 130) == middle).all()
    assert (preview(path, 65) == middle[:, ::2, ::2] + 1).all()
    assert (preview(path, 20) == middle[:, ::4, ::4] + 2).all()
    assert (preview(path, 10) == (middle[:, ::4, ::4] + 2)[:, ::3, ::3]).all()


def test_preview_of_axes_in_another_order(tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK[0, :, 0].transpose(2, 1, 0)], "xyc")
    assert sizes(only_image(read(path))) == (130, 100, 1, 3, 1)
    assert (preview(path) == STACK[0, :, 0]).all()


def test_preview_of_a_plane_of_many_chunks_has_fewer_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repofs.formats.ome_zarr.reader._PREVIEW_CHUNKS", 2)
    path = image(tmp_path / "a.zarr", [STACK[0, 0, 0]], "yx")  # of 2 x 3 chunks
    assert (preview(path) == STACK[0, 0, 0, ::128, ::128]).all()


def test_no_chunk_is_unpacked_that_is_larger_than_memory(tmp_path: Path) -> None:
    path = group(tmp_path / "a.zarr", {"multiscales": [{"datasets": [{"path": "0"}], "axes": ["y", "x"]}]})
    zarr.create_array(path / "0", shape=(60_000, 60_000), chunks=(60_000, 60_000), dtype="u1", zarr_format=2)
    assert sizes(only_image(read(path))) == (60_000, 60_000, 1, 1, 1)
    with pytest.raises(Exception, match="chunks are of 3600000000 bytes"):
        preview(path)


@pytest.mark.parametrize("codec", ["blosc", "gzip", "zstd", "raw", "shards"])
def test_codecs(codec: str, tmp_path: Path) -> None:
    how: dict[str, Any] = {
        "blosc": {"compressors": zarr.codecs.BloscCodec()},
        "gzip": {"compressors": zarr.codecs.GzipCodec()},
        "zstd": {"compressors": zarr.codecs.ZstdCodec()},
        "raw": {"compressors": None},
        "shards": {"shards": (100, 130), "chunks": (50, 65)},
    }[codec]
    path = image(tmp_path / "a.zarr", [STACK[0, 0, 0]], "yx", version=3)
    ome_zarr.array(path / "0", STACK[0, 0, 0], 3, **how)
    assert (preview(path) == STACK[0, 0, 0]).all()


@pytest.mark.parametrize(
    ("dtype", "omero"),
    [("i1", "int8"), (">u2", "uint16"), ("f2", "float"), (">f8", "double"), ("c8", "complex"), ("bool", "bit")],
)
def test_types(dtype: str, omero: str, tmp_path: Path) -> None:
    found = only_image(read(image(tmp_path / "a.zarr", [numpy.zeros((8, 9), dtype)], "yx")))
    assert (found.pixel_type, found.big_endian) == (omero, dtype.startswith(">"))


# --- what changed from version to version --------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        (None, (2, 3, 4, 5, 6), (6, 5, 4, 3, 2)),  # 0.1 and 0.2: always these five
        (None, (4, 5, 6), (6, 5, 4, 1, 1)),
        (["t", "c", "y", "x"], (2, 3, 5, 6), (6, 5, 1, 3, 2)),  # 0.3: by name
        ([AXES["c"], {"name": "angle"}, AXES["y"], AXES["x"]], (3, 4, 5, 6), (6, 5, 4, 3, 1)),  # 0.4: any kind
        ([{"name": "λ", "type": "channel"}, {"name": "τ", "type": "time"}, AXES["y"], AXES["x"]], (3, 4, 5, 6),
         (6, 5, 1, 3, 4)),
    ],
)  # fmt: skip
def test_axes(axes: Any, shape: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path) -> None:
    multiscale = {"datasets": [{"path": "0"}]} | ({} if axes is None else {"axes": axes})
    path = group(tmp_path / "a.zarr", {"multiscales": [multiscale]})
    data = numpy.arange(numpy.prod(shape), dtype="u2").reshape(shape)
    ome_zarr.array(path / "0", data)
    found = only_image(read(path))
    assert sizes(found) == expected
    assert um(found) == (None, None, None)
    assert preview(path).shape == (expected[3], 5, 6)


@pytest.mark.parametrize(("separator", "version"), [(".", 2), ("/", 2), ("/", 3), (".", 3)])
def test_chunks_lie_flat_or_deep(separator: str, version: Version, tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK[0, 0, 0]], "yx", version)
    shutil.rmtree(path / "0")
    ome_zarr.array(path / "0", STACK[0, 0, 0], version, chunk_key_encoding={
        "name": "v2" if version == 2 else "default", "separator": separator})  # fmt: skip
    assert (preview(path) == STACK[0, 0, 0]).all()


def test_scales_multiply_and_units_count(tmp_path: Path) -> None:
    axes = [{"name": "t", "unit": "millisecond"}, {"name": "z", "unit": "nanometer"}, {"name": "y", "unit": "meter"},
            {"name": "x"}]  # fmt: skip
    more = [{"type": "scale", "scale": [10, 2, 3, 4]}, {"type": "translation", "translation": [1, 1, 1, 1]}]
    path = image(tmp_path / "a.zarr", [numpy.zeros((2, 2, 4, 4))], "tzyx", axes=axes, coordinateTransformations=more)
    found = only_image(read(path))
    assert um(found) == pytest.approx((None, 1.5e6, 1e-3))
    assert found.time_increment_s == pytest.approx(0.005)


@pytest.mark.parametrize("scale", [[0, -1, 1], ["a", None, 1], [1], "1", [10**400, float("nan"), 1]])
def test_scales_that_are_none(scale: object, tmp_path: Path) -> None:
    more = [{"type": "scale", "scale": scale}, "identity", {"type": "affine"}]
    path = image(tmp_path / "a.zarr", [numpy.zeros((2, 4, 4))], "zyx", coordinateTransformations=more)
    found = only_image(read(path))
    usable = isinstance(scale, list) and len(scale) == 3
    assert um(found) == (0.5, None if usable else 0.5, None if usable else 0.5)


@BOTH
def test_channels(version: Version, tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK], version=version)
    channels = [{"label": "DAPI", "color": "0000ff"}, {"label": 7, "color": "#00FF00"}, {"color": "red"}]
    group(path, json.loads(json.dumps(attributes_of(path, version))) | {"omero": {"channels": channels}}, version)
    found = only_image(read(path)).channels
    assert [(channel.name, channel.color) for channel in found] == [("DAPI", "#0000FF"), ("7", "#00FF00"), (None, None)]


def attributes_of(path: Path, version: Version) -> dict[str, Any]:
    attributes = dict(zarr.open_group(path, mode="r", zarr_format=version).attrs)
    return attributes["ome"] if version == 3 else attributes  # type: ignore[return-value]


def test_labels_are_no_images(tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK])
    group(path / "labels", {"labels": ["cells"]})
    image(path / "labels" / "cells", [STACK[:, :1]])
    assert sizes(only_image(read(path))) == (130, 100, 4, 3, 2)


# --- several images ------------------------------------------------------------------------------


def converted(path: Path, version: Version = 2, **attributes: Any) -> Path:
    """Write what bioformats2raw makes of a file with two images."""
    group(path, attributes, version)
    image(path / "0", [STACK[:1, :1, :1]], version=version)
    image(
        path / "1", [STACK[:1, :2]], version=version, axes=[AXES["t"], AXES["c"], {"name": "z"}, AXES["y"], AXES["x"]]
    )
    group(path / "OME", {"series": ["1", "0"]}, version)
    (path / "OME" / "METADATA.ome.xml").write_text(OME_XML)
    return path


@BOTH
def test_bioformats2raw(version: Version, tmp_path: Path) -> None:
    found = read(converted(tmp_path / "a.zarr", version, **{"bioformats2raw.layout": 3}))
    assert found.note is None
    assert [(one.name, one.series, sizes(one)) for one in found.images] == [
        ("left", 0, (130, 100, 4, 2, 1)),
        ("right", 1, (130, 100, 1, 1, 1)),
    ]
    left = found.images[0]
    assert (left.acquired, um(left)) == ("2021-05-06T07:08:09", (0.5, 0.5, 2.0))
    assert found.original_metadata["Gain"] == "3"
    assert (preview(tmp_path / "a.zarr", series=1) == STACK[0, :1, 0]).all()


def test_bioformats2raw_before_it_had_a_name(tmp_path: Path) -> None:
    path = converted(tmp_path / "a.zarr")
    shutil.rmtree(path / "OME")
    found = read(path)
    assert [one.name for one in found.images] == ["a.zarr [0]", "a.zarr [1]"]


def test_channels_of_the_ome_xml(tmp_path: Path) -> None:
    path = image(tmp_path / "a.zarr", [STACK[:, :1]])
    (path / "OME").mkdir()
    (path / "OME" / "METADATA.ome.xml").write_text(OME_XML)
    (channel,) = only_image(read(path)).channels
    assert (channel.name, channel.emission_nm) == ("GFP", 520.0)


@BOTH
def test_plate(version: Version, tmp_path: Path) -> None:
    path = plate(tmp_path / "assay.zarr", version)
    found = read(path)
    assert found.note is None
    assert [(one.series, one.name) for one in found.images] == [(n, f"assay.zarr [{n}]") for n in range(3)]
    assert (preview(path, series=1) == STACK[0, :, 0] + 1).all()


def test_the_ome_xml_of_a_plate_has_an_order_of_its_own(tmp_path: Path) -> None:
    path = plate(tmp_path / "assay.zarr")
    group(path / "OME", {"series": ["B/2/0", "A/1/1"]})
    (path / "OME" / "METADATA.ome.xml").write_text(OME_XML)
    assert [one.name for one in read(path).images] == ["assay.zarr [0]", "right", "left"]


def test_well(tmp_path: Path) -> None:
    assert len(read(plate(tmp_path / "assay.zarr") / "A" / "1").images) == 2


def test_there_is_no_image_beyond_the_last(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        preview(image(tmp_path / "a.zarr", [STACK]), series=1)


def test_nothing_is_imported_in_the_middle_of_a_file(tmp_path: Path) -> None:
    for version in (2, 3):
        plate(tmp_path / f"{version}.zarr", version)  # type: ignore[arg-type]
    assert loaded_late(tmp_path, ["2.zarr/", "3.zarr/"]) == []
