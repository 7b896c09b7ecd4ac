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
from repofs.formats.tiff import TiffReader
from repofs.model import Channel, ImageInfo, Recognised
from tests.helpers.formats import OneFile, recognised

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
        (RGB[::2, ::2], {"description": "Aperio Image\r\n64x48 -> 32x24 - |AppMag = 20", "photometric": "rgb"}),
        (RGB[::3, ::3], {"description": description, **tiled}),
        (RGB[:20, :20], {"description": "Aperio Image\r\nlabel 20x20", "photometric": "rgb", "subfiletype": 1}),
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


def lsm(z: int = 3, channels: int = 3) -> bytes:
    """Return an LSM: for each Z a page of *channels* separate samples, and a thumbnail of it."""
    names = b"".join(struct.pack("<I", 4) + name for name in (b"Ch1\0", b"Ch2\0", b"Ch3\0"))
    shades = bytes([0, 255, 0, 0, 255, 0, 0, 0, 0, 0, 255, 0])
    colors = struct.pack("<6I", 36 + len(names), 3, 3, 24, 36, 0) + shades + names
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
            writer.write(
                plane[:, ::4, ::4], photometric="minisblack", planarconfig="separate", metadata=None, subfiletype=1
            )
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
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (64, 48, 3, 3, 1)
    assert sizes(image) == (0.1, 0.1, 0.5)
    assert (image.time_increment_s, image.acquired) == (2.5, "2010-03-05T12:00:00")
    assert image.channels == (Channel("Ch1", "#00FF00"), Channel("Ch2", "#FF0000"), Channel("Ch3", "#0000FF"))
    assert (image.objective, image.magnification) == ("Plan-Apochromat 63x/1.40 Oil DIC", 63.0)
    assert (image.numerical_aperture, image.instrument) == (1.4, "Zeiss LSM")
    expected = numpy.stack([PLANE + 1 + 10 * channel for channel in range(3)])
    assert numpy.array_equal(TiffReader().preview("cells.lsm", OneFile("cells.lsm", lsm()), 0, 64), expected)


def patched(raw: bytes, code: int, count: int) -> tuple[bytearray, int]:
    """Return *raw* with another *count* in the entry of tag *code* of its first page, and where its value stands."""
    new = bytearray(raw)
    with tifffile.TiffFile(io.BytesIO(raw)) as tiff:
        entry = tiff.pages.first.tags[code].offset
    struct.pack_into("<I", new, entry + 4, count)
    return new, struct.unpack_from("<I", raw, entry + 8)[0]


def stk(planes: int = 4, *, step: tuple[int, int] = (5, 10), minutes: int = 0) -> bytes:
    """Return a MetaMorph stack: one page, its planes behind each other, tables of the planes in private tags."""
    file = io.BytesIO()
    tables = [
        tag(33628, 4, 8, (0,) * 8),
        tag(33629, 5, 3 * planes, (1, 1) * 3 * planes),
        tag(65000, 7, 200, bytes(200)),
    ]
    tifffile.imwrite(file, PLANE, byteorder="<", metadata=None, extratags=tables, photometric="minisblack")
    raw, spare = patched(file.getvalue(), 65000, 200)
    raw, at = patched(bytes(raw), 33628, 4)
    struct.pack_into("<8I", raw, at, 4, spare, 5, spare, 6, spare + 8, 7, spare + 16)
    struct.pack_into("<2I I3s", raw, spare, 645, 1000, 3, b"um\0")
    struct.pack_into("<I4s", raw, spare + 16, 4, b"GFP\0")
    raw, at = patched(bytes(raw), 33629, planes)
    day, noon = 2455260, 12 * 3_600_000  # 2010-03-05
    for number in range(planes):
        struct.pack_into("<6I", raw, at + 24 * number, *step, day, noon + number * minutes * 60_000, day, noon)
    return bytes(raw) + b"".join((PLANE + number).tobytes() for number in range(1, planes))


def test_metamorph_stack_in_depth() -> None:
    found = recognised(stk(), "cells.stk")
    assert found.note is None
    (image,) = found.images
    assert (image.name, image.size_x, image.size_z, image.size_c, image.size_t) == ("GFP", 64, 4, 1, 1)
    assert sizes(image) == (0.645, 0.645, 0.5)
    assert image.acquired == "2010-03-05T12:00:00"
    assert numpy.array_equal(TiffReader().preview("cells.stk", OneFile("cells.stk", stk()), 0, 64), PLANE[None] + 2)


def test_metamorph_stack_in_time() -> None:
    (image,) = recognised(stk(step=(0, 1), minutes=2), "cells.stk").images
    assert (image.size_z, image.size_t, image.time_increment_s) == (1, 4, 120.0)
    assert sizes(image) == (0.645, 0.645, None)


def test_metamorph_stack_cut_short() -> None:
    found = recognised(stk()[:-100], "cells.stk")
    assert found.note == "its header declares 4 planes, 3 are there"
    assert found.images[0].size_z == 3


def test_metaseries() -> None:
    def prop(name: str, kind: str, value: str) -> str:
        return f'<prop id="{name}" type="{kind}" value="{value}"/>'

    plane = (
        prop("spatial-calibration-state", "bool", "on")
        + prop("spatial-calibration-x", "float", "0.325")
        + prop("spatial-calibration-y", "float", "0.325")
        + prop("spatial-calibration-units", "string", "um")
        + prop("acquisition-time-local", "time", "20180102 11:12:13.250")
        + prop("_IllumSetting_", "string", "FITC")
        + prop("_MagSetting_", "string", "20x Plan Apo")
        + prop("wavelength", "float", "525")
    )
    xml = f"<MetaData><PlaneInfo>{plane}</PlaneInfo></MetaData>"
    (image,) = read((PLANE, {"description": xml, "software": "MetaSeries", "photometric": "minisblack"})).images
    assert sizes(image) == (0.325, 0.325, None)
    assert image.acquired == "2018-01-02T11:12:13.250000"
    assert image.channels == (Channel("FITC", emission_nm=525.0),)
    assert (image.objective, image.magnification) == ("20x Plan Apo", 20.0)


def entry(code: int, kind: int, count: int, value: bytes | int) -> tuple[int, int, int, bytes | int]:
    return code, kind, count, value


def by_hand(block: bytes, more: list[tuple[int, int, int, bytes | int]], *, big: bool = False) -> bytes:
    """Return a TIFF of one page with *block* behind the header, where programs keep what is of the whole file."""
    start = (16 if big else 8) + len(block)
    wanted = [
        entry(256, 4, 1, 64), entry(257, 4, 1, 48), entry(258, 3, 1, 8), entry(259, 3, 1, 1), entry(262, 3, 1, 1),
        entry(273, 4, 1, start), entry(277, 3, 1, 1), entry(278, 4, 1, 48), entry(279, 4, 1, PLANE.nbytes), *more,
    ]  # fmt: skip
    body, entries = PLANE.tobytes(), b""
    for code, kind, count, value in sorted(wanted, key=lambda one: one[0]):
        if isinstance(value, bytes):
            value, body = start + len(body), body + value
        entries += struct.pack("<HHQQ" if big else "<HHII", code, kind, count, value)
    ifd = struct.pack("<Q" if big else "<H", len(wanted)) + entries + bytes(8)
    first = start + len(body)
    header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHI", b"II", 42, first)
    return header + block + body + ifd


def test_micro_manager() -> None:
    summary = json.dumps({
        "PixelSize_um": 0.65, "z-step_um": 1.5, "Interval_ms": 2000, "ChNames": ["DAPI"], "ChColors": [-16776961],
        "StartTime": "2018-04-03 14:16:09 -0700",
    }).encode()  # fmt: skip
    block = struct.pack("<10I", 54773648, 0, 0, 0, 0, 0, 2355492, len(summary), 0, 0)[:32] + summary
    plane = json.dumps({"PixelSizeUm": 0.325}).encode() + b"\0"
    imagej = b"ImageJ=1.51\nunit=um\0"
    more = [entry(51123, 2, len(plane), plane), entry(270, 2, len(imagej), imagej)]
    (image,) = recognised(by_hand(block, more), "img_MMStack.tif").images
    assert sizes(image) == (0.325, 0.325, 1.5)
    assert (image.time_increment_s, image.acquired) == (2.0, "2018-04-03T14:16:09")
    assert image.channels == (Channel("DAPI", "#0000FF"),)


def test_scanimage() -> None:
    frames = b"\n".join([
        b"SI.VERSION_MAJOR = '2018a'", b"SI.objectiveResolution = 15", b"SI.hChannels.channelSave = [1;2]",
        b"SI.hChannels.channelName = {'green' 'red' 'blue'}", b"SI.hRoiManager.scanFrameRate = 30",
        b"SI.hStackManager.framesPerSlice = 1", b"SI.hStackManager.stackZStepSize = 2",
    ]) + b"\0"  # fmt: skip
    rois = {"scanfields": {"sizeXY": [16, 8], "pixelResolutionXY": [64, 48]}}
    roi = json.dumps({"RoiGroups": {"imagingRoiGroup": {"rois": rois}}}).encode() + b"\0"
    block = struct.pack("<4I", 0x07030301, 3, len(frames), len(roi)) + frames + roi
    description = b"frameNumbers = 1\nepoch = [2016  1 11 14 16 9.25]\nscanimage.SI = 1\0"
    raw = by_hand(block, [entry(270, 2, len(description), description)], big=True)
    found = recognised(raw, "scan_00001.tif")
    (image,) = found.images
    assert sizes(image) == (round(15 * 16 / 64, 6), round(15 * 8 / 48, 6), None)
    assert image.acquired == "2016-01-11T14:16:09.250000"
    assert image.time_increment_s == pytest.approx(1 / 30)
    assert [channel.name for channel in image.channels] == ["green", "red"]
    assert image.instrument == "ScanImage"


def test_fluoview() -> None:
    header = numpy.zeros(1, numpy.dtype(tifffile.TIFF.MM_HEADER))
    header["ImageName"], header["Dimensions"]["Size"] = b"cells", 1
    axes = [(b"x", 64, 0, 0.5, b"um"), (b"y", 48, 0, 0.5, b"um"), (b"z", 2, 0, 1.25, b"um"), (b"Time", 3, 0, 4.0, b"s")]
    for number, axis in enumerate(axes):
        header["Dimensions"][0, number] = axis
    stamp = tag(34362, 12, 8, (0.0,) * 8)
    tags = [tag(34361, 7, header.nbytes, header.tobytes()), stamp]
    pages = [(PLANE + n, {"extratags": tags if n == 0 else [], "photometric": "minisblack"}) for n in range(6)]
    (image,) = read(*pages).images  # type: ignore[arg-type]
    assert (image.name, image.size_z, image.size_t, image.size_c) == ("cells", 2, 3, 1)
    assert sizes(image) == (0.5, 0.5, 1.25)
    assert image.time_increment_s == 4.0


def test_olympus_sis() -> None:
    block = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 42, 19, 15, 10, 118, b"cells", 1)
    file = io.BytesIO()
    general = struct.pack("<10xhdd8xd2x34s32s", -9, 23.9, 24.1, 60.0, b"Morada", b"")
    tags = [tag(33560, 7, len(block) + 8 + len(general), bytes(len(block) + 8 + len(general)))]
    tifffile.imwrite(file, PLANE, metadata=None, extratags=tags, photometric="minisblack")
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tiff:
        at = tiff.pages.first.tags[33560].valueoffset
    raw = bytearray(file.getvalue())
    whole = block + struct.pack("<hhI", 1, 1, at + len(block) + 8) + general
    raw[at : at + len(whole)] = whole
    (image,) = recognised(bytes(raw), "sis.tif").images
    assert sizes(image) == (0.0239, 0.0241, None)
    assert (image.acquired, image.magnification, image.instrument) == ("2018-11-15T19:42:00", 60.0, "Morada")


@pytest.mark.parametrize(("code", "scan"), [(34680, "Scan"), (34682, "EScan")])
def test_fei(code: int, scan: str) -> None:
    ini = (
        "[User]\r\nDate=06/13/2016\r\nTime=05:06:40 PM\r\n[System]\r\nSystemType=Helios NanoLab\r\n"
        f"[{scan}]\r\nPixelWidth=3.3724e-06\r\nPixelHeight=3.4e-06\r\n"
    )
    (image,) = read((PLANE, {"extratags": [text(code, ini)], "photometric": "minisblack"})).images
    assert sizes(image) == (3.3724, 3.4, None)
    assert (image.acquired, image.instrument) == ("2016-06-13T17:06:40", "Helios NanoLab")


def test_zeiss_sem() -> None:
    unnamed = "0\r\n0\r\n0\r\n3.712008e-08\r\n"
    named = (
        "AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 2.615 nm\r\nAP_DATE\r\nDate :23 Dec 2015\r\n"
        "AP_TIME\r\nTime :9:40:32\r\nSV_SERIAL_NUMBER\r\nSerial No. = Merlin-61-08\r\n"
    )
    (image,) = read((PLANE, {"extratags": [text(34118, unnamed + named)], "photometric": "minisblack"})).images
    assert sizes(image) == (0.002615, 0.002615, None)
    assert (image.acquired, image.instrument) == ("2015-12-23T09:40:32", "Zeiss Merlin-61-08")
    (image,) = read((PLANE, {"extratags": [text(34118, unnamed)], "photometric": "minisblack"})).images
    assert sizes(image) == (0.03712, 0.03712, None)


def test_tvips() -> None:
    one = numpy.zeros(1, tifffile.TIFF.TVIPS_HEADER_V1)
    two = numpy.zeros(1, tifffile.TIFF.TVIPS_HEADER_V2)
    one["Version"], two["Magic"], two["PixelSizeX"], two["PixelSizeY"] = 2, 0xAAAAAAAA, 1.5, 1.25
    raw = one.tobytes() + two.tobytes()
    (image,) = read((PLANE, {"extratags": [tag(37706, 7, len(raw), raw)], "photometric": "minisblack"})).images
    assert sizes(image) == (0.0015, 0.00125, None)


def test_a_block_that_cannot_be_read_costs_the_details_only() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, PLANE, metadata=None, extratags=[text(34118, "1\r\n2\r\n")], photometric="minisblack")
    found = recognised(file.getvalue(), "sem.tif")
    assert found.note == "what its program wrote of it (sem) cannot be read: IndexError"
    assert (found.images[0].size_x, sizes(found.images[0])) == (64, (None, None, None))
