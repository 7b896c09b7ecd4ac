"""What slide scanners, cameras and electron microscopes say of an image in their dialects of TIFF."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy
import pytest

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.image import Channel, ImageInfo
from tests.helpers import tiffs
from tests.helpers.formats import only_image, recognised, sizes, um
from tests.helpers.tiffs import GREY, PLANE

NONE = (None, None, None)


def images_of(raw: bytes) -> tuple[ImageInfo, ...]:
    found = recognised(raw, "slide.tif")
    assert found.note is None
    return found.images


def image_of(raw: bytes) -> ImageInfo:
    return only_image(recognised(raw, "scan.tif"))


def test_aperio() -> None:
    slide, thumbnail, label = images_of(tiffs.aperio())
    assert [slide.name, thumbnail.name, label.name] == ["Baseline", "Thumbnail", "Label"]
    assert (sizes(slide), slide.rgb) == ((64, 48, 1, 3, 1), True)
    assert um(slide) == (0.499, 0.499, None)
    assert (slide.magnification, slide.instrument, slide.acquired) == (20.0, "Aperio SS1302", "2009-12-29T09:59:15")
    assert (um(thumbnail), thumbnail.magnification) == (NONE, None)


def test_an_aperio_slide_made_from_another_has_not_its_size() -> None:
    slide = images_of(tiffs.aperio("Aperio Image Library v12.2.2\r\n64x48 -> 32x24;" + tiffs.APERIO))[0]
    assert (um(slide), slide.acquired, slide.magnification) == (NONE, None, 20.0)


def test_hamamatsu() -> None:
    slide, overview = images_of(tiffs.hamamatsu())
    assert (slide.size_x, um(slide)) == (64, (0.5, 1.0, None))
    assert (slide.magnification, slide.instrument) == (20.0, "Hamamatsu NanoZoomer")
    assert (overview.name, overview.size_x, um(overview), overview.magnification) == ("Macro", 30, NONE, None)


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


def test_qptiff() -> None:
    slide, overview = images_of(tiffs.qptiff())
    assert (sizes(slide), um(slide)) == ((64, 48, 1, 2, 1), (0.5, 0.5, None))
    assert slide.channels == (Channel("DAPI", "#0000FF"), Channel("Cy5", "#FF0000"))
    assert (slide.objective, slide.magnification, slide.instrument) == ("20x", 20.0, "Vectra Polaris")
    assert (overview.name, overview.channels) == ("Thumbnail", ())


@pytest.mark.parametrize(
    "xml",
    ["<a", "<a><Name>x</Name>", '<!DOCTYPE a [<!ENTITY b "c">]><a><Name>&b;</Name></a>'],
    ids=["cut", "open", "entity"],
)
def test_a_qptiff_whose_xml_is_of_no_use(xml: str) -> None:
    how: dict[str, object] = {"description": xml, "software": "PerkinElmer-QPI", "tile": (16, 16), **GREY}
    assert image_of(tiffs.written((PLANE, how))).channels == ()


def test_olympus_sis() -> None:
    image = image_of(tiffs.olympus_sis())
    assert um(image) == pytest.approx((0.0239, 0.0241, None))
    assert (image.acquired, image.magnification, image.instrument) == ("2018-11-15T19:42:00", 60.0, "Morada")


@pytest.mark.parametrize(("code", "scan"), [(34680, "Scan"), (34682, "EScan")])
def test_fei(code: int, scan: str) -> None:
    image = image_of(tiffs.fei(code, scan))
    assert um(image) == pytest.approx((3.3724, 3.4, None))
    assert (image.acquired, image.instrument) == ("2016-06-13T17:06:40", "Helios NanoLab")


def test_zeiss_sem() -> None:
    image = image_of(tiffs.zeiss_sem())
    assert um(image) == pytest.approx((0.002615, 0.002615, None))
    assert (image.acquired, image.instrument) == ("2015-12-23T09:40:32", "Zeiss Merlin-61-08")
    assert um(image_of(tiffs.zeiss_sem(old=True))) == pytest.approx((0.03712008, 0.03712008, None))


def test_tvips() -> None:
    assert um(image_of(tiffs.tvips())) == (0.0015, 0.00125, None)


def test_a_block_that_cannot_be_read_costs_the_details_only() -> None:
    found = recognised(tiffs.written((PLANE, {"extratags": [tiffs.text(34118, "1\r\n2\r\n")], **GREY})), "sem.tif")
    assert found.note == "what its program wrote of it (sem) cannot be read: IndexError"
    assert (found.images[0].size_x, um(found.images[0])) == (64, NONE)
