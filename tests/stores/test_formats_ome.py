"""OME-XML in a TIFF: what it declares, held against the pages; and OME-XML made to hurt."""

from __future__ import annotations

import io
import time
import tracemalloc

import numpy
import pytest
import tifffile

from repofs.formats import ome_xml
from repofs.formats.outcome import Fault
from repofs.image import Channel, Recognised
from tests.helpers.formats import recognised

PIXELS = numpy.zeros((6, 16, 24), "u2")
UUID = "urn:uuid:00000000-0000-0000-0000-000000000001"


def ome(pixels: str, *, root: str = "", image: str = "", tail: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {root}>'
        f'<Image ID="Image:0" Name="cells">{image}{pixels}</Image>{tail}</OME>'
    )


def pixels_element(
    z: int = 3, c: int = 2, t: int = 1, *, inner: str = "<TiffData/>", more: str = "", x: int = 24
) -> str:
    return (
        f'<Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="{x}" SizeY="16" SizeZ="{z}" SizeC="{c}" SizeT="{t}" '
        f"{more}>{inner}</Pixels>"
    )


def read(xml: str, name: str = "scan.ome.tif", pages: numpy.ndarray = PIXELS) -> Recognised:
    file = io.BytesIO()
    tifffile.imwrite(file, pages, description=xml.encode(), metadata=None, photometric="minisblack")
    return recognised(file.getvalue(), name)


def test_everything_that_it_says_of_an_image() -> None:
    channels = (
        '<Channel ID="Channel:0:0" Name="DAPI" Color="65535" ExcitationWavelength="405" EmissionWavelength="0.461" '
        'EmissionWavelengthUnit="µm"/><Channel ID="Channel:0:1" Name="GFP" Color="-16776961"/><TiffData/>'
    )
    more = (
        'PhysicalSizeX="650" PhysicalSizeXUnit="nm" PhysicalSizeY="0.65" PhysicalSizeZ="-1" BigEndian="true" '
        'TimeIncrement="2" TimeIncrementUnit="min"'
    )
    extra = (
        "<StructuredAnnotations><XMLAnnotation><Value><OriginalMetadata><Key>Lens</Key><Value>Plan Apo</Value>"
        "</OriginalMetadata></Value></XMLAnnotation></StructuredAnnotations>"
    )
    extra += (
        '<Instrument ID="Instrument:0"><Microscope Manufacturer="Zeiss" Model="Axio"/><Objective ID="Objective:0" '
        'Model="Apo 63x" NominalMagnification="63" LensNA="1.4"/><Objective ID="Objective:1"/></Instrument>'
    )
    refers = '<InstrumentRef ID="Instrument:0"/><ObjectiveSettings ID="Objective:0"/>'
    date = "<AcquisitionDate>2010-03-02T15:08:59</AcquisitionDate>"
    found = read(ome(pixels_element(inner=channels, more=more), image=date + refers, tail=extra))
    assert (found.format, found.note) == ("OME-TIFF", None)
    (image,) = found.images
    assert (image.name, image.pixel_type, image.big_endian) == ("cells", "uint16", True)
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (24, 16, 3, 2, 1)
    assert image.physical_size_x_um == pytest.approx(0.65)
    assert (image.physical_size_y_um, image.physical_size_z_um) == (0.65, None)
    assert (image.time_increment_s, image.acquired) == (120.0, "2010-03-02T15:08:59")
    assert image.channels == (
        Channel("DAPI", "#0000FF", 405.0, 461.0),
        Channel("GFP", "#FF0000"),
    )
    assert (image.instrument, image.objective) == ("Zeiss Axio", "Apo 63x")
    assert (image.magnification, image.numerical_aperture) == (63.0, 1.4)
    assert found.original_metadata["Lens"] == "Plan Apo"


def test_colour_samples_count_as_channels_of_one_plane() -> None:
    inner = '<Channel SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/>'
    file = io.BytesIO()
    xml = ome(pixels_element(1, 3, inner=inner).replace("uint16", "uint8"))
    rgb = numpy.zeros((16, 24, 3), "u1")
    tifffile.imwrite(file, rgb, description=xml, metadata=None, photometric="rgb")
    found = recognised(file.getvalue(), "scan.ome.tif")
    assert found.note is None
    assert (found.images[0].size_c, found.images[0].rgb) == (3, True)


def test_fewer_pages_than_declared() -> None:
    found = read(ome(pixels_element(z=5)))
    assert found.note == "the OME-XML declares 10 planes of cells and says where 6 of them are"
    assert found.images[0].size_z == 5


def test_a_page_that_is_not_there() -> None:
    found = read(ome(pixels_element(inner='<TiffData IFD="0" PlaneCount="4"/><TiffData IFD="6" PlaneCount="2"/>')))
    assert found.note == "the OME-XML names page 8 for cells where 6 are in the file"
    assert read(ome(pixels_element(inner='<TiffData IFD="100" PlaneCount="6"/>'))).images == ()


def test_sizes_come_from_the_page_when_they_differ() -> None:
    found = read(ome(pixels_element(x=10**9)))
    assert found.images[0].size_x == 24
    assert "the OME-XML says 1000000000 x 16 pixels, the page has 24 x 16" in str(found.note)


@pytest.mark.parametrize("size", ["0", "-1", "99999999999999999999", "many", "4294967296"])
def test_impossible_sizes(size: str) -> None:
    found = read(ome(pixels_element()).replace('SizeZ="3"', f'SizeZ="{size}"'))
    assert found.images == ()
    assert found.note == "the OME-XML gives no possible size for cells; no image can be read"


def test_unknown_pixel_type() -> None:
    assert "unknown pixel type ('uint12')" in str(read(ome(pixels_element()).replace("uint16", "uint12")).note)


def test_metadata_in_another_file() -> None:
    root = f'UUID="{UUID}"'
    xml = f'<OME {root}><BinaryOnly MetadataFile="multi.companion.ome" UUID="urn:uuid:2"/></OME>'
    found = read(xml, "multi-Z1.ome.tif", PIXELS[:1])
    assert found.note == "its metadata is in multi.companion.ome, this file has only the planes"
    assert (found.format, found.images[0].name, found.images[0].size_z) == ("OME-TIFF", "multi-Z1.ome.tif", 1)


def _member(z: int, name: str, uuid: str) -> str:
    return f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'


def test_a_member_of_several_files_stands_for_itself() -> None:
    inner = _member(0, "a.ome.tif", "urn:uuid:2") + _member(1, "b.ome.tif", UUID)
    xml = ome(pixels_element(2, 1, inner=inner), root=f'UUID="{UUID}"')
    found = read(xml, "renamed.ome.tif", PIXELS[:1])
    assert found.note == "the OME-XML also names planes in a.ome.tif, which stand for themselves"
    assert found.images[0].size_z == 1


def test_a_file_that_was_renamed_is_still_itself() -> None:
    inner = "".join(_member(z, "old.ome.tif", "urn:uuid:3").replace('IFD="0"', f'IFD="{z}"') for z in range(6))
    found = read(ome(pixels_element(6, 1, inner=inner), root=f'UUID="{UUID}"'), "new.ome.tif")
    assert found.note is None
    assert found.images[0].size_z == 6


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ('<!DOCTYPE OME [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><OME>&b;</OME>', "document type declaration"),
        ("<OME>" * 100 + "</OME>" * 100, "64 levels"),
        ("<OME><Image", "it is not whole"),
        ("<OME>" + "<Image/>" * 20_000 + "</OME>", "10000 images"),
        ("<OME>" + "<a/>" * 2_000_001 + "</OME>", "2000000 elements"),
        ("<OME>" + " " * ((64 << 20) + 1) + "</OME>", "longer than 64 MiB"),
    ],
    ids=["entities", "depth", "cut", "images", "elements", "bytes"],
)
def test_hostile_xml_is_refused(xml: str, why: str) -> None:
    with pytest.raises(Fault, match=why):
        ome_xml.parse(xml)


def test_useless_xml_leaves_the_pages() -> None:
    found = read("<!DOCTYPE OME><OME></OME>")
    assert "its OME-XML is of no use: it has a document type declaration" in str(found.note)
    assert found.images[0].size_z == 6


def test_xml_that_is_not_ome() -> None:
    assert ome_xml.parse("<svg>OME</svg>") is None
    assert read("<svg>OME</svg>").format == "TIFF"


def test_two_hundred_thousand_planes_cost_little() -> None:
    planes = "".join(f'<TiffData FirstZ="{n}" IFD="{n}" PlaneCount="1"/><Plane TheZ="{n}"/>' for n in range(200_000))
    xml = ome(pixels_element(200_000, 1, inner=planes))
    before = time.process_time()
    found = read(xml)
    assert time.process_time() - before < 20
    assert "declares" in str(found.note) or "names page 200000" in str(found.note)


def test_text_without_end_is_not_kept() -> None:
    xml = "<OME><Image><AcquisitionDate>" + "9" * (32 << 20) + "</AcquisitionDate></Image></OME>"
    tracemalloc.start()
    try:
        found = ome_xml.parse(xml)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found is not None
    assert len(found.images[0].acquired or "") == 4096
    assert peak < 80 << 20
