"""Dialects and compressions of TIFF that are damaged, or read where nothing else can be opened or loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from tests.helpers import damage, tiffs
from tests.helpers.formats import OneFile
from tests.helpers.tiffs import COLOUR, EVERY, GREY, PLANE, RGB

WAYS = ["lzw", "zlib", "packbits", "zstd", "lzma", "jpeg", "jpeg2000", "jpegxl", "jpegxr", "png", "webp", "lerc"]


def compressed(how: str) -> bytes:
    data, colours = (RGB, COLOUR) if how == "webp" else (PLANE, GREY)
    return tiffs.written((data, {"compression": how, "tile": (16, 16), **colours}))


@pytest.mark.parametrize("name", EVERY)
def test_cut_short(name: str) -> None:
    for raw in damage.cut(EVERY[name]):
        damage.asked(name, OneFile(name, raw))


@given(
    st.sampled_from(sorted(EVERY)),
    st.lists(st.tuples(st.integers(0, 40_000), st.binary(min_size=1, max_size=8)), max_size=6),
)
@settings(max_examples=400, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_changed(name: str, changes: list[tuple[int, bytes]]) -> None:
    damage.asked(name, OneFile(name, damage.changed(EVERY[name], changes)))


@given(st.sampled_from(WAYS), st.lists(st.tuples(st.integers(0, 9_000), st.binary(min_size=1, max_size=8)), max_size=6))
@settings(max_examples=300, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_compressed_and_changed(how: str, changes: list[tuple[int, bytes]]) -> None:
    damage.asked("scan.tif", OneFile("scan.tif", damage.changed(compressed(how), changes)))


def test_a_file_that_is_open_by_its_descriptor(tmp_path: Path) -> None:
    """As a confined process has it: the name of such a file is a number."""
    path = tmp_path / "scan.tif"
    path.write_bytes(EVERY["cells.stk"])

    class ByDescriptor(LocalFiles):
        def open(self, name: str) -> BinaryIO:
            return open(os.open(tmp_path / name, os.O_RDONLY), "rb")

    assert registry.read("scan.tif", ByDescriptor(tmp_path)).images[0].size_z == 4
    assert registry.picture("scan.tif", ByDescriptor(tmp_path), 0).png


def test_nothing_is_loaded_late(tmp_path: Path) -> None:
    every = EVERY | {f"{how}.tif": compressed(how) for how in WAYS}
    xml = '<OME><Image ID="Image:0"><Pixels SizeX="64" SizeY="48" SizeZ="1" SizeC="1" SizeT="1" Type="uint8">'
    xml += '<TiffData><UUID FileName="lzw.tif"/></TiffData></Pixels></Image></OME>'
    every["cells.companion.ome"] = xml.encode()
    for name, raw in every.items():
        (tmp_path / name).write_bytes(raw)
    assert damage.loaded_late(tmp_path, list(every)) == []
