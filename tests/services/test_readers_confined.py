"""Readers in their real, confined processes: what a library would open, load or start there fails here."""

from __future__ import annotations

import io
import os
from pathlib import Path

import h5py
import imagecodecs
import numpy
import pytest
from astropy.io import fits
from PIL import Image
from pyimzml.ImzMLWriter import ImzMLWriter

from repofs import config
from repofs.importer.lending import InDirectory
from repofs.importer.readers import Readers
from tests.helpers.digital_micrograph import document, image

pytestmark = pytest.mark.trio

GREY = numpy.arange(300 * 400, dtype="u2").reshape(300, 400)
RGB = numpy.stack([GREY, GREY // 2, GREY // 3], axis=2)


def pillow(kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray((RGB >> 8).astype("u1")).save(file, kind, **how)
    return file.getvalue()


def astropy(*units: fits.hdu.base._BaseHDU) -> bytes:
    file = io.BytesIO()
    fits.HDUList(list(units)).writeto(file)
    return file.getvalue()


def velox() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as hdf5:
        hdf5.create_dataset("Data/Image/a/Data", data=GREY[..., None], chunks=(100, 100, 1), compression="gzip")
    return file.getvalue()


FILES = {
    "a.png": lambda: pillow("PNG"),
    "b.png": lambda: imagecodecs.png_encode(RGB),
    "a.jpg": lambda: pillow("JPEG"),
    "a.gif": lambda: pillow("GIF"),
    "a.bmp": lambda: pillow("BMP"),
    "a.jp2": lambda: pillow("JPEG2000"),
    "a.j2k": lambda: pillow("JPEG2000", no_jp2=True, tile_size=(128, 128)),
    "b.jp2": lambda: imagecodecs.jpeg2k_encode(RGB, level=0),
    "a.fits": lambda: astropy(fits.PrimaryHDU(GREY)),
    "b.fits": lambda: astropy(fits.PrimaryHDU(), fits.CompImageHDU(GREY)),
    "a.dm4": lambda: document(image(GREY), version=4),
    "a.emd": velox,
}


async def looked_at(directory: Path, name: str, pool: Readers) -> tuple[int, int, bytes]:
    """Return the sizes of the one image of the file *name*, and its thumbnail."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        files = InDirectory(b"", descriptor)
        (only,) = (await pool.read(name.encode(), files)).images
        return only.size_x, only.size_y, (await pool.picture(name.encode(), files, 0, only.appearance)).png
    finally:
        os.close(descriptor)


async def test_each_format_is_read_and_shown(tmp_path: Path) -> None:
    async with Readers(config.Readers(workers=1)) as pool:
        for name, made in FILES.items():
            (tmp_path / name).write_bytes(made())
            width, height, png = await looked_at(tmp_path, name, pool)
            assert (width, height) == (400, 300), name
            assert max(Image.open(io.BytesIO(png)).size) <= 256, name


async def test_a_pair_is_read_and_shown(tmp_path: Path) -> None:
    with ImzMLWriter(str(tmp_path / "a.imzML")) as writer:
        for x in range(1, 5):
            writer.addSpectrum(numpy.array([50.0, 60.0]), numpy.array([1.0, x]), (x, 1))
    async with Readers(config.Readers(workers=1)) as pool:
        width, height, _ = await looked_at(tmp_path, "a.imzML", pool)
        assert (width, height) == (4, 1)
