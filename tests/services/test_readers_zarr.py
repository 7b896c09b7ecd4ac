"""OME-Zarr in a confined process, which can make none of asyncio's own event loops."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numcodecs
import pytest
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from repofs import config
from repofs.image import Appearance
from repofs.importer.lending import InDirectory, LentFiles
from repofs.importer.readers import Readers
from tests.helpers import ome_zarr
from tests.helpers.formats import sizes
from tests.helpers.ome_zarr import STACK, Version, image

pytestmark = pytest.mark.trio


def pool() -> Readers:
    return Readers(config.Readers(workers=1, timeout_seconds=30.0, memory_bytes=256 << 20))


@pytest.mark.parametrize(
    ("version", "codec"),
    [(2, numcodecs.Blosc()), (2, numcodecs.Zstd()), (2, numcodecs.Zlib()), (2, numcodecs.LZ4()), (3, BloscCodec()),
     (3, ZstdCodec()), (3, GzipCodec())],
)  # fmt: skip
async def test_read_and_picture(version: Version, codec: Any, tmp_path: Path) -> None:
    data = STACK[:1, :, :1]
    path = image(tmp_path / "a.zarr", [data], version=version)
    ome_zarr.array(path / "0", data, version, compressors=codec)
    directory = os.open(path, os.O_RDONLY)
    files = InDirectory(b"a.zarr", directory)
    async with pool() as some:
        found = await some.read(b"a.zarr/", files)
        picture = await some.picture(b"a.zarr/", files, 0, Appearance())
    os.close(directory)
    assert (found.note, [sizes(one) for one in found.images]) == (None, [(130, 100, 1, 3, 1)])
    assert picture.ranges == tuple((float(plane.min()), float(plane.max())) for plane in data[0, :, 0])


async def test_chunks_that_are_not_there_are_of_the_fill_value(tmp_path: Path) -> None:
    """A file that is not of the fileset is refused, not missing."""
    path = image(tmp_path / "a.zarr", [STACK[:1, :1, :1]], version=3)
    documents = [os.fsencode(one.relative_to(tmp_path)) for one in path.rglob("zarr.json")]
    directory = os.open(tmp_path, os.O_RDONLY)
    files = LentFiles(directory, documents)
    async with pool() as some:
        assert (await some.read(b"a.zarr/", files)).note is None
        assert (await some.picture(b"a.zarr/", files, 0, Appearance())).ranges == ((0.0, 0.0),)
    os.close(directory)
