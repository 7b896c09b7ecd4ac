"""NDTiff: images by the index, and indexes that lie. No writer is installed: the layout is written out here."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy
import pytest
import tifffile

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.formats.ndtiff.reader import NdTiffReader
from repofs.formats.tiff.reader import TiffReader
from repofs.image import Channel, Members, Recognised
from tests.helpers.formats import imported_meanwhile, members, recognised
from tests.stores.test_formats_samples import SAMPLES

INDEX = "NDTiff.index"
STACK = "run_NDTiffStack.tif"
SUMMARY = {"PixelSize_um": 2, "z-step_um": 0.5, "Interval_ms": 1500, "DateAndTime": "2022/12/28 17:04:23"}
Axes = dict[str, Any]


def entry(axes: Axes, name: str, offset: int, width: int, height: int, kind: int, said: tuple[int, int]) -> bytes:
    words, file = json.dumps(axes).encode(), name.encode()
    fixed = struct.pack("<IiiiiIii", offset, width, height, kind, 0, *said, 0)
    return struct.pack("<I", len(words)) + words + struct.pack("<I", len(file)) + file + fixed


def write(directory: Path, frames: Iterable[tuple[Axes, numpy.ndarray]], stack: str = STACK, order: str = "<") -> None:
    """Write *frames*, (Y, X) or (Y, X, 3), into one stack, and add them to the index."""
    summary = json.dumps(SUMMARY).encode()
    raw = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "6I", 0, 483729, 3, 3, 2355492, len(summary))
    raw += summary
    index = b""
    for axes, frame in frames:
        said = json.dumps({"PixelSizeUm": 0.25, "Axes": axes}).encode()
        kind = 2 if frame.ndim == 3 else 0 if frame.dtype == "u1" else 4
        at, pixels = len(raw), frame.astype(frame.dtype.newbyteorder(order)).tobytes()
        index += entry(axes, stack, at, frame.shape[1], frame.shape[0], kind, (at + len(pixels), len(said)))
        raw += pixels + said
    (directory / stack).write_bytes(raw)
    with (directory / INDEX).open("ab") as file:
        file.write(index)


def plane(number: int, shape: tuple[int, ...] = (6, 4), kind: str = "u2") -> numpy.ndarray:
    return (numpy.arange(numpy.prod(shape)).reshape(shape) + number).astype(kind)


def read(directory: Path, name: str = INDEX) -> Recognised:
    return registry.read(name, LocalFiles(directory))


GRID = [({"z": z, "channel": c, "time": t}, plane(100 * z + 40 * i + 10 * t)) for t in range(3) for z in range(-2, 3)
        for i, c in enumerate(["DAPI", "FITC"])]  # fmt: skip


def test_axes(tmp_path: Path) -> None:
    write(tmp_path, GRID)
    found = read(tmp_path)
    assert (found.format, found.note) == ("NDTiff", None)
    (image,) = found.images
    assert (image.name, image.pixel_type, image.big_endian, image.rgb) == ("run", "uint16", False, False)
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (4, 6, 5, 2, 3)
    assert image.channels == (Channel(name="DAPI"), Channel(name="FITC"))
    assert (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um) == (0.25, 0.25, 0.5)
    assert (image.time_increment_s, image.acquired) == (1.5, "2022-12-28T17:04:23")
    assert found.original_metadata["Summary.Interval_ms"] == "1500"


def test_every_position_is_an_image(tmp_path: Path) -> None:
    write(tmp_path, [({"position": p, "time": t}, plane(t)) for t in range(2) for p in (1, 0)])
    write(tmp_path, [({"position": 2, "time": t}, plane(t, (3, 9), "u1")) for t in range(4)], "run_NDTiffStack_1.tif")
    found = read(tmp_path)
    assert found.note is None
    assert [(image.name, image.size_x, image.size_t, image.pixel_type) for image in found.images] == [
        ("run [1]", 4, 2, "uint16"), ("run [0]", 4, 2, "uint16"), ("run [2]", 9, 4, "uint8"),
    ]  # fmt: skip


def test_rgb(tmp_path: Path) -> None:
    frame = plane(0, (6, 4, 3), "u1")
    write(tmp_path, [({"time": 0}, frame)])
    (image,) = read(tmp_path).images
    assert (image.rgb, image.size_c, image.channels) == (True, 3, ())
    seen = NdTiffReader().preview(INDEX, LocalFiles(tmp_path), 0, 256)
    assert numpy.array_equal(seen, frame.transpose(2, 0, 1))


@pytest.mark.parametrize("order", "<>")
def test_preview_is_the_middle_of_z_and_t(tmp_path: Path, order: str) -> None:
    write(tmp_path, GRID, order=order)
    assert read(tmp_path).images[0].big_endian == (order == ">")
    seen = NdTiffReader().preview(INDEX, LocalFiles(tmp_path), 0, 2)
    assert numpy.array_equal(seen, numpy.stack([plane(10), plane(50)])[:, ::3, ::3])  # z 0 and time 1


def test_preview_without_a_frame(tmp_path: Path) -> None:
    write(tmp_path, GRID)
    (tmp_path / STACK).unlink()
    for series in (0, 1):
        with pytest.raises(LookupError):
            NdTiffReader().preview(INDEX, LocalFiles(tmp_path), series, 256)


def test_members_in_any_order(tmp_path: Path) -> None:
    write(tmp_path, GRID)
    (tmp_path / "display_settings.txt").write_text('{"DAPI": {}}')
    files = LocalFiles(tmp_path)
    assert members(INDEX, files) == Members(INDEX, (INDEX, STACK, "display_settings.txt"))
    assert members(STACK, files) == Members(INDEX, (INDEX, STACK))
    settings = Members(INDEX, (INDEX, "display_settings.txt"), certain=False)
    assert members("display_settings.txt", files) == settings


def test_settings_alone_are_no_image() -> None:
    assert recognised(b"{}", "display_settings.txt") == Recognised(
        note="the settings of a display are of no use without NDTiff.index; no image can be read"
    )


def test_a_missing_stack_is_named(tmp_path: Path) -> None:
    write(tmp_path, GRID[:10])
    write(tmp_path, GRID[10:], "run_NDTiffStack_1.tif")
    (tmp_path / "run_NDTiffStack_1.tif").unlink()
    found = read(tmp_path)
    assert [image.size_t for image in found.images] == [3]
    assert found.note == (
        "1 of its 2 files are missing (run_NDTiffStack_1.tif): bring them to the same place;"
        " 10 of 30 frames of run are there"
    )


def test_frames_that_are_cut_off(tmp_path: Path) -> None:
    write(tmp_path, GRID)
    whole = (tmp_path / STACK).read_bytes()
    (tmp_path / STACK).write_bytes(whole[: len(whole) // 2])
    note = read(tmp_path).note
    assert note is not None and note.endswith(" of 30 frames of run are there")
    (tmp_path / STACK).write_bytes(whole[:150])
    found = read(tmp_path)
    assert (found.images, found.note) == ((), "no frame of run is whole; no image can be read")


@pytest.mark.parametrize("length", [2**n for n in range(12)])
def test_truncated_index(tmp_path: Path, length: int) -> None:
    write(tmp_path, GRID)
    whole = (tmp_path / INDEX).read_bytes()
    (tmp_path / INDEX).write_bytes(whole[:length])
    found = read(tmp_path)
    assert found.note is not None
    assert bool(found.images) == (length >= 128)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (struct.pack("<I", 0xFFFFFFF0) + b"{", "it ends within an entry"),
        (entry({"time": [0]}, STACK, 0, 4, 6, 4, (0, 0)), "its axes are none"),
        (entry({"time": True}, STACK, 0, 4, 6, 4, (0, 0)), "its axes are none"),
        (entry({"time": 9}, STACK, 0, -4, 6, 4, (0, 0)), "a size of -4 x 6 pixels is not possible"),
        (entry({"time": 9}, STACK, 0, 4, 6, 9, (0, 0)), "pixels of type 9 and compression 0 are not known"),
        (struct.pack("<I", 100_000) + b"[" * 100_000, "maximum recursion depth"),
    ],
)
def test_damaged_entries(tmp_path: Path, damage: bytes, what: str) -> None:
    write(tmp_path, GRID)
    with (tmp_path / INDEX).open("ab") as file:
        file.write(damage)
    found = read(tmp_path)
    assert len(found.images) == 1
    assert found.note is not None and found.note.startswith(f"NDTiff.index cannot be read beyond frame 30: {what}")


def test_bombs(tmp_path: Path) -> None:
    """Sizes and places that only the index says take no memory, and lie nowhere in the stack."""
    write(tmp_path, GRID[:1])
    with (tmp_path / INDEX).open("ab") as file:
        file.write(
            entry({**GRID[0][0], "time": 2**62}, STACK, 2**32 - 1, 2**31 - 1, 2**31 - 1, 4, (2**32 - 1, 2**31 - 1))
        )
    begun = time.monotonic()
    found = read(tmp_path)
    assert time.monotonic() - begun < 2
    (image,) = found.images
    assert (image.size_x, image.size_t) == (4, 2)
    assert found.note is not None and found.note.endswith("1 of 2 frames of run are there")


@pytest.mark.parametrize("name", ["../other/secret.tif", "/etc/passwd", "a/../../b.tif", ""])
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    write(tmp_path, GRID)
    with (tmp_path / INDEX).open("ab") as file:
        file.write(entry({"z": 7}, name, 0, 4, 6, 4, (0, 0)))
    found = read(tmp_path)
    assert found.note is not None and f"it names {name}, which is no file below its directory" in found.note
    assert members(INDEX, LocalFiles(tmp_path)) == Members(INDEX, (INDEX, STACK))


def samples() -> list[dict[str, Any]]:
    truth = SAMPLES / "truth.json"
    entries = json.loads(truth.read_text(encoding="utf-8"))["entries"] if truth.is_file() else []
    return [one for one in entries if one["format"].startswith("NDTiff")]


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample["path"])
def test_samples(sample: dict[str, Any]) -> None:
    (index,) = (SAMPLES / sample["path"]).rglob(INDEX)
    files = LocalFiles(index.parent)
    found = registry.read(INDEX, files)
    assert found.note is None
    (truth,), (image,) = sample["series"], found.images
    sizes = (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t)
    assert sizes == tuple(truth[f"size{axis}"] for axis in "XYZCT")
    assert image.pixel_type == truth["pixelType"]
    (stack,) = index.parent.glob("*.tif")
    seen = NdTiffReader().preview(INDEX, files, 0, 256)
    assert numpy.array_equal(seen, tifffile.imread(stack)[image.size_t // 2])
    assert registry.read(stack.name, files) == TiffReader().read(stack.name, files)


def test_nothing_is_imported_in_the_middle_of_a_file(tmp_path: Path) -> None:
    write(tmp_path, GRID)
    assert imported_meanwhile(tmp_path, INDEX, STACK) == "[]"
