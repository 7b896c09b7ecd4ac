"""What vendors' dialects of TIFF say of an image, in files that are written as their programs write them."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy
import pytest
import tifffile

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.model import Channel, ImageInfo, Recognised
from tests.helpers.formats import recognised

Tag = tuple[int, int, int, object, bool]

PLANE = numpy.random.default_rng(11).integers(0, 250, (48, 64)).astype("u1")
RGB = numpy.stack([PLANE, PLANE, PLANE], -1)


def read(*pages: tuple[numpy.ndarray, dict[str, object]], bigtiff: bool = False) -> Recognised:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=bigtiff) as writer:
        for data, how in pages:
            writer.write(data, **{"metadata": None, **how})  # type: ignore[arg-type]
    found = recognised(file.getvalue(), "scan.tif")
    assert found.note is None
    return found


def tag(code: int, kind: int, count: int, value: object) -> Tag:
    return code, kind, count, value, True


def text(code: int, value: str) -> Tag:
    return tag(code, 2, len(value) + 1, value)


def sizes(image: ImageInfo) -> tuple[float | None, ...]:
    return tuple(
        None if size is None else round(size, 6)
        for size in (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um)
    )


APERIO = (
    "Aperio Image Library v10.0.51\r\n46920x33014 [0,100 46000x32914] (256x256) JPEG/RGB Q=30|AppMag = 20|"
    "ScanScope ID = SS1302|Date = 12/29/09|Time = 09:59:15|MPP = 0.4990"
)


def aperio(description: str) -> Recognised:
    tiled: dict[str, object] = {"tile": (16, 16), "photometric": "rgb"}
    return read(
        (RGB, {"description": description, **tiled}),
        (RGB[::2, ::2], {"description": "Aperio Image Library v10.0.51\r\n64x48 -> 32x24 - |AppMag = 20", "photometric": "rgb"}),
        (RGB[::3, ::3], {"description": description, **tiled}),
        (RGB[:20, :20], {"description": "Aperio Image Library v10.0.51\r\nlabel 20x20", "photometric": "rgb", "subfiletype": 1}),
    )  # fmt: skip


def test_aperio() -> None:
    slide, thumbnail, label = aperio(APERIO).images
    assert [slide.name, thumbnail.name, label.name] == ["Baseline", "Thumbnail", "Label"]
    assert (slide.size_x, slide.size_c, slide.size_z, slide.rgb) == (64, 3, 1, True)
    assert sizes(slide) == (0.499, 0.499, None)
    assert (slide.magnification, slide.instrument, slide.acquired) == (20.0, "Aperio SS1302", "2009-12-29T09:59:15")
    assert sizes(thumbnail) == (None, None, None)
    assert thumbnail.magnification is None


def test_an_aperio_slide_made_from_another_has_not_its_size() -> None:
    slide = aperio("Aperio Image Library v12.2.2\r\n64x48 -> 32x24;" + APERIO).images[0]
    assert (sizes(slide), slide.acquired) == ((None, None, None), None)
    assert slide.magnification == 20.0


def ndpi_tags(lens: float) -> list[Tag]:
    return [tag(65420, 4, 1, 1), tag(65421, 11, 1, lens), text(271, "Hamamatsu"), text(272, "NanoZoomer")]


def test_hamamatsu() -> None:
    how: dict[str, object] = {"resolution": (20_000, 10_000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    found = read(
        (RGB, {"extratags": ndpi_tags(20.0), **how}),
        (RGB[::2, ::2], {"extratags": ndpi_tags(10.0), **how}),
        (RGB[:20, :30], {"extratags": ndpi_tags(-1.0), **how}),
    )
    slide, overview = found.images
    assert (slide.size_x, sizes(slide)) == (64, (0.5, 1.0, None))
    assert (slide.magnification, slide.instrument) == (20.0, "Hamamatsu NanoZoomer")
    assert (overview.name, overview.size_x, sizes(overview), overview.magnification) == ("Macro", 30, (None,) * 3, None)


def test_an_ndpi_of_more_than_four_gibibytes(tmp_path: Path) -> None:
    at = (1 << 32) + 1000
    entries: list[tuple[int, int, int, int]] = [
        (256, 4, 1, 64), (257, 4, 1, 48), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (271, 2, 10, at + 800),
        (273, 4, 1, (1 << 32) + 5000), (277, 3, 1, 1), (278, 4, 1, 48), (279, 4, 1, 64 * 48), (65420, 4, 1, 1),
    ]  # fmt: skip
    low = b"".join(struct.pack("<HHII", *entry[:3], entry[3] & 0xFFFFFFFF) for entry in entries)
    high = b"".join(struct.pack("<I", entry[3] >> 32) for entry in entries)
    path = tmp_path / "slide.ndpi"
    with path.open("wb") as file:
        file.write(b"II*\0" + struct.pack("<Q", at))
        file.seek(at)
        file.write(struct.pack("<H", len(entries)) + low + struct.pack("<Q", 0) + high)
        file.seek(at + 800)
        file.write(b"Hamamatsu\0")
        file.seek((1 << 32) + 5000)
        file.write(PLANE.tobytes())
    files = LocalFiles(tmp_path)
    found = registry.read("slide.ndpi", files)
    assert found.note is None
    assert [(image.size_x, image.size_y) for image in found.images] == [(64, 48)]
    (reader,) = (one for one in registry.readers() if one.accepts(b"II*\0", "slide.ndpi", files))
    assert numpy.array_equal(reader.preview("slide.ndpi", files, 0, 64)[0], PLANE)
    with path.open("r+b") as file:
        file.truncate((1 << 32) + 5000 + 100)
    assert "1 of 1 strips are not in the file" in str(registry.read("slide.ndpi", files).note)


def qptiff(channel: str, color: str) -> dict[str, object]:
    xml = (
        f'<?xml version="1.0" encoding="utf-8"?><PerkinElmer-QPI-ImageDescription><Name>{channel}</Name>'
        f"<Color>{color}</Color><Objective>20x</Objective><InstrumentType>Vectra Polaris</InstrumentType>"
        f"<ScanProfile><Name>other</Name></ScanProfile></PerkinElmer-QPI-ImageDescription>"
    )
    return {"description": xml, "software": "PerkinElmer-QPI", "tile": (16, 16), "photometric": "minisblack",
            "resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # fmt: skip


def test_qptiff() -> None:
    dapi, cy5 = qptiff("DAPI", "0,0,255"), qptiff("Cy5", "255,0,0")
    small = [(PLANE[::2, ::2], dapi), (PLANE[::2, ::2], cy5)]
    thumbnail = (RGB[:20, :20], {"photometric": "rgb", "software": "PerkinElmer-QPI"})
    slide, overview = read((PLANE, dapi), (PLANE, cy5), thumbnail, *small).images  # type: ignore[arg-type]
    assert (slide.size_x, slide.size_c, slide.size_z) == (64, 2, 1)
    assert sizes(slide) == (0.5, 0.5, None)
    assert slide.channels == (Channel("DAPI", "#0000FF"), Channel("Cy5", "#FF0000"))
    assert (slide.objective, slide.magnification, slide.instrument) == ("20x", 20.0, "Vectra Polaris")
    assert (overview.name, overview.channels) == ("Thumbnail", ())


def lsm_info(offset: int, *, z: int, channels: int, colors_at: int, scan_at: int) -> bytes:
    fields = numpy.zeros(1, numpy.dtype(tifffile.TIFF.CZ_LSMINFO, align=False).newbyteorder("<"))
    values = {
        "MagicNumber": 67127628, "StructureSize": fields.nbytes, "DimensionX": 64, "DimensionY": 48, "DimensionZ": z,
        "DimensionChannels": channels, "DimensionTime": 1, "VoxelSizeX": 1e-7, "VoxelSizeY": 1e-7, "VoxelSizeZ": 5e-7,
        "TimeIntervall": 2.5, "OffsetChannelColors": offset + fields.nbytes + colors_at,
        "OffsetScanInformation": offset + fields.nbytes + scan_at,
    }  # fmt: skip
    for name, value in values.items():
        fields[name] = value
    return fields.tobytes()


def lsm(z: int = 3, channels: int = 2) -> bytes:
    """Return an LSM: for each Z a page of *channels* separate samples, and a thumbnail of it."""
    names = b"".join(struct.pack("<I", 4) + name for name in (b"Ch1\0", b"Ch2\0"))
    colors = struct.pack("<6I", 32 + len(names), 2, 2, 24, 32, 0) + bytes([0, 255, 0, 0, 255, 0, 0, 0]) + names
    lens, day = b"Plan-Apochromat 63x/1.40 Oil DIC\0", 40242.5  # of days after 1899-12-30: 2010-03-05, noon
    scan = struct.pack("<III", 0x10000000, 0, 0) + struct.pack("<III", 0x10000004, 2, len(lens)) + lens
    scan += struct.pack("<IIId", 0x10000036, 5, 8, day) + struct.pack("<III", 0xFFFFFFFF, 0, 0)
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder="<") as writer:
        for number in range(z):
            plane = numpy.stack([PLANE + number + 10 * channel for channel in range(channels)])
            length = len(lsm_info(0, z=z, channels=channels, colors_at=0, scan_at=0)) + len(colors) + len(scan)
            more = [tag(34412, 7, length, bytes(length))] if number == 0 else []
            writer.write(plane, photometric="minisblack", planarconfig="separate", metadata=None, extratags=more)
            writer.write(plane[:, ::4, ::4], photometric="minisblack", planarconfig="separate", metadata=None, subfiletype=1)
    raw = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(raw)) as tiff:
        at = struct.unpack_from("<HHII", raw, tiff.pages.first.tags[34412].offset)[3]
    block = lsm_info(at, z=z, channels=channels, colors_at=0, scan_at=len(colors)) + colors + scan
    raw[at : at + len(block)] = block
    return bytes(raw)


def test_lsm() -> None:
    found = recognised(lsm(), "cells.lsm")
    assert found.note is None
    (image,) = found.images
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (64, 48, 3, 2, 1)
    assert sizes(image) == (0.1, 0.1, 0.5)
    assert (image.time_increment_s, image.acquired) == (2.5, "2010-03-05T12:00:00")
    assert image.channels == (Channel("Ch1", "#00FF00"), Channel("Ch2", "#FF0000"))
    assert (image.objective, image.magnification) == ("Plan-Apochromat 63x/1.40 Oil DIC", 63.0)
    assert (image.numerical_aperture, image.instrument) == (1.4, "Zeiss LSM")
