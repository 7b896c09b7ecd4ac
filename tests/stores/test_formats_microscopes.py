"""What the readers of microscope makers' formats have in common: they can live in a confined process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy
import pytest

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from tests.helpers import lif, nd2, olympus
from tests.helpers.czi import Tile, czi
from tests.helpers.formats import recognised

PLANE = numpy.random.default_rng(5).integers(0, 200, (16, 24), "u2")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with a file of each format."""
    packed = {compression: Tile(PLANE, {"X": 24 * number}, compression=compression, packed=b"damaged")
              for number, compression in enumerate((1, 2, 4, 5, 6), 1)}  # fmt: skip
    frames = PLANE.reshape(1, 16, 24, 1, 1)
    (tmp_path / "scan.czi").write_bytes(czi([Tile(PLANE, {}), *packed.values()]))
    (tmp_path / "scan.nd2").write_bytes(nd2.nd2(frames, [nd2.z_loop(1, 0.5)], compressed=True))
    (tmp_path / "scan.lif").write_bytes(lif.lif([lif.Picture("one", PLANE, "YX")]))
    (tmp_path / "scan.lof").write_bytes(lif.lof(lif.Picture("one", PLANE, "YX")))
    (tmp_path / "scan.oib").write_bytes(olympus.oib(PLANE.reshape(1, 1, 1, 16, 24)))
    olympus.oif(tmp_path, PLANE.reshape(1, 1, 1, 16, 24))
    return tmp_path


NAMES = ("scan.czi", "scan.nd2", "scan.lif", "scan.lof", "scan.oib", "scan.oif")


class Descriptors:
    """`reader.Files` as a confined process has them: the name of an open file is a number."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has(self, name: str) -> bool:
        return (self._directory / name).exists()

    def names(self, directory: str = "") -> Sequence[str]:
        return LocalFiles(self._directory).names(directory)

    def open(self, name: str) -> BinaryIO:
        return open(os.open(self._directory / name, os.O_RDONLY), "rb")


@pytest.mark.parametrize("name", NAMES)
def test_files_may_have_no_name(name: str, place: Path) -> None:
    files = Descriptors(place)
    found = registry.read(name, files)
    assert found.note is None
    assert found.format == name[-3:].upper().replace("LOF", "LIF")
    (least, most), *_ = registry.picture(name, files, 0).ranges
    assert (least, most) == (0.0 if name == "scan.czi" else PLANE.min(), PLANE.max())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_imported_in_the_middle_of_a_file(name: str, place: Path) -> None:
    """A confined process may be unable to read a module any more."""
    code = f"""if True:
        import sys
        from pathlib import Path
        from repofs.formats import registry
        from repofs.formats.local_files import LocalFiles
        registry.readers()
        before = set(sys.modules)
        files = LocalFiles(Path({str(place)!r}))
        assert registry.read({name!r}, files).images
        registry.picture({name!r}, files, 0)
        print(sorted(set(sys.modules) - before))"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize(
    "head",
    [
        b"ZISRAWFILE\0",
        b"\xda\xce\xbe\x0a",
        b"\x70\0\0\0\x10\0\0\0\x2a\x20\0\0\0<\0",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    ],
)
@pytest.mark.parametrize("body", [b"", b"\0" * 10_000, b"\xff" * 10_000, bytes(range(256)) * 40])
def test_a_magic_number_and_garbage(head: bytes, body: bytes) -> None:
    found = recognised(head + body, "scan.oib")
    assert found.images == ()
    assert "no image can be read" in (found.note or "")
