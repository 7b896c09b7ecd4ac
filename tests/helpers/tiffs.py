"""Small TIFFs as the programs of microscopes, scanners and cameras write them, each of the plane `PLANE`."""

from __future__ import annotations

import io
import json
import struct

import numpy
import tifffile

Tag = tuple[int, int, int, object, bool]
Entry = tuple[int, int, int, bytes | int]  # tag, type, count, value: bytes stand elsewhere

PLANE = numpy.random.default_rng(11).integers(0, 250, (48, 64)).astype("u1")
RGB = numpy.stack([PLANE, PLANE, PLANE], -1)

GREY: dict[str, object] = {"photometric": "minisblack"}
COLOUR: dict[str, object] = {"photometric": "rgb"}


def written(*pages: tuple[numpy.ndarray, dict[str, object]]) -> bytes:
    """Return a TIFF of these pages, each with what else `TiffWriter.write` is told of it."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for data, how in pages:
            writer.write(data, **{"metadata": None, **how})  # type: ignore[arg-type]
    return file.getvalue()


def tag(code: int, kind: int, count: int, value: object) -> Tag:
    return code, kind, count, value, True


def text(code: int, value: str) -> Tag:
    return tag(code, 2, len(value) + 1, value)


APERIO = (
    "Aperio Image Library v10.0.51\r\n46920x33014 [0,100 46000x32914] (256x256) JPEG/RGB Q=30|AppMag = 20|"
    "ScanScope ID = SS1302|Date = 12/29/09|Time = 09:59:15|MPP = 0.4990"
)


def aperio(description: str = APERIO) -> bytes:
    """Return an SVS: slide, thumbnail, a smaller resolution, label."""
    tiled: dict[str, object] = {"tile": (16, 16), "description": description, **COLOUR}
    small = {"description": "Aperio Image\r\n64x48 -> 32x24 - |AppMag = 20", **COLOUR}
    label = {"description": "Aperio Image\r\nlabel 20x20", "subfiletype": 1, **COLOUR}
    return written((RGB, tiled), (RGB[::2, ::2], small), (RGB[::3, ::3], tiled), (RGB[:20, :20], label))


def hamamatsu() -> bytes:
    """Return an NDPI: slide, a smaller resolution, overview."""
    how: dict[str, object] = {"resolution": (20_000, 10_000), "resolutionunit": "CENTIMETER", **COLOUR}

    def tags(lens: float) -> list[Tag]:
        return [tag(65420, 4, 1, 1), tag(65421, 11, 1, lens), text(271, "Hamamatsu"), text(272, "NanoZoomer")]

    return written(
        (RGB, {"extratags": tags(20.0), **how}),
        (RGB[::2, ::2], {"extratags": tags(10.0), **how}),
        (RGB[:20, :30], {"extratags": tags(-1.0), **how}),
    )


def _qptiff_page(channel: str, color: str) -> dict[str, object]:
    xml = (
        f'<?xml version="1.0" encoding="utf-8"?><PerkinElmer-QPI-ImageDescription><Name>{channel}</Name>'
        f"<Color>{color}</Color><Objective>20x</Objective><InstrumentType>Vectra Polaris</InstrumentType>"
        f"<ScanProfile><Name>other</Name></ScanProfile></PerkinElmer-QPI-ImageDescription>"
    )
    return {"description": xml, "software": "PerkinElmer-QPI", "tile": (16, 16), "photometric": "minisblack",
            "resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # fmt: skip


def qptiff() -> bytes:
    """Return a QPTIFF of two channels: slide, thumbnail, a smaller resolution."""
    dapi, cy5 = _qptiff_page("DAPI", "0,0,255"), _qptiff_page("Cy5", "255,0,0")
    small = [(PLANE[::2, ::2], dapi), (PLANE[::2, ::2], cy5)]
    return written((PLANE, dapi), (PLANE, cy5), (RGB[:20, :20], {"software": "PerkinElmer-QPI", **COLOUR}), *small)


def _lsm_info(offset: int, *, z: int, channels: int, colors_at: int, scan_at: int) -> bytes:
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
            length = len(_lsm_info(0, z=z, channels=channels, colors_at=0, scan_at=0)) + len(colors) + len(scan)
            more = [tag(34412, 7, length, bytes(length))] if number == 0 else []
            writer.write(plane, photometric="minisblack", planarconfig="separate", metadata=None, extratags=more)
            writer.write(
                plane[:, ::4, ::4], photometric="minisblack", planarconfig="separate", metadata=None, subfiletype=1
            )
    raw = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(raw)) as tiff:
        at = struct.unpack_from("<HHII", raw, tiff.pages.first.tags[34412].offset)[3]
    block = _lsm_info(at, z=z, channels=channels, colors_at=0, scan_at=len(colors)) + colors + scan
    raw[at : at + len(block)] = block
    return bytes(raw)


def _patched(raw: bytes, code: int, count: int) -> tuple[bytearray, int]:
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
    raw, spare = _patched(file.getvalue(), 65000, 200)
    raw, at = _patched(bytes(raw), 33628, 4)
    struct.pack_into("<8I", raw, at, 4, spare, 5, spare, 6, spare + 8, 7, spare + 16)
    struct.pack_into("<2I I3s", raw, spare, 645, 1000, 3, b"um\0")
    struct.pack_into("<I4s", raw, spare + 16, 4, b"GFP\0")
    raw, at = _patched(bytes(raw), 33629, planes)
    day, noon = 2455260, 12 * 3_600_000  # 2010-03-05
    for number in range(planes):
        struct.pack_into("<6I", raw, at + 24 * number, *step, day, noon + number * minutes * 60_000, day, noon)
    return bytes(raw) + b"".join((PLANE + number).tobytes() for number in range(1, planes))


def entry(code: int, kind: int, count: int, value: bytes | int) -> tuple[int, int, int, bytes | int]:
    return code, kind, count, value


def by_hand(block: bytes, more: list[Entry], *, big: bool = False) -> bytes:
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


def metaseries() -> bytes:
    """Return a TIFF of MetaXpress."""

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
    return written((PLANE, {"description": xml, "software": "MetaSeries", **GREY}))


def micro_manager() -> bytes:
    """Return a TIFF of Micro-Manager without OME-XML."""
    summary = json.dumps({
        "PixelSize_um": 0.65, "z-step_um": 1.5, "Interval_ms": 2000, "ChNames": ["DAPI"], "ChColors": [-16776961],
        "StartTime": "2018-04-03 14:16:09 -0700",
    }).encode()  # fmt: skip
    block = struct.pack("<10I", 54773648, 0, 0, 0, 0, 0, 2355492, len(summary), 0, 0)[:32] + summary
    plane = json.dumps({"PixelSizeUm": 0.325}).encode() + b"\0"
    imagej = b"ImageJ=1.51\nunit=um\0"
    more = [entry(51123, 2, len(plane), plane), entry(270, 2, len(imagej), imagej)]
    return by_hand(block, more)


def scanimage() -> bytes:
    """Return a BigTIFF of ScanImage 2018."""
    frames = b"\n".join([
        b"SI.VERSION_MAJOR = '2018a'", b"SI.objectiveResolution = 15", b"SI.hChannels.channelSave = 2",
        b"SI.hChannels.channelName = {'green' 'red' 'blue'}", b"SI.hRoiManager.scanFrameRate = 30",
        b"SI.hStackManager.framesPerSlice = 1", b"SI.hStackManager.stackZStepSize = 2",
    ]) + b"\0"  # fmt: skip
    rois = {"scanfields": {"sizeXY": [16, 8], "pixelResolutionXY": [64, 48]}}
    roi = json.dumps({"RoiGroups": {"imagingRoiGroup": {"rois": rois}}}).encode() + b"\0"
    block = struct.pack("<4I", 0x07030301, 3, len(frames), len(roi)) + frames + roi
    description = b"frameNumbers = 1\nepoch = [2016  1 11 14 16 9.25]\nscanimage.SI = 1\0"
    return by_hand(block, [entry(270, 2, len(description), description)], big=True)


def fluoview() -> bytes:
    """Return a TIFF of FluoView: 2 planes in depth, at 3 times."""
    header = numpy.zeros(1, numpy.dtype(tifffile.TIFF.MM_HEADER))
    header["ImageName"], header["Dimensions"]["Size"] = b"cells", 1
    axes = [(b"x", 64, 0, 0.5, b"um"), (b"y", 48, 0, 0.5, b"um"), (b"z", 2, 0, 1.25, b"um"), (b"Time", 3, 0, 4.0, b"s")]
    for number, axis in enumerate(axes):
        header["Dimensions"][0, number] = axis
    stamp = tag(34362, 12, 8, (0.0,) * 8)
    tags = [tag(34361, 7, header.nbytes, header.tobytes()), stamp]
    return written(*((PLANE + n, {"extratags": tags if n == 0 else [], **GREY}) for n in range(6)))


def olympus_sis() -> bytes:
    """Return a TIFF of an Olympus camera."""
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
    return bytes(raw)


def fei(code: int = 34682, scan: str = "Scan") -> bytes:
    """Return a TIFF of an FEI microscope, with the tag and the section that has the pixel size."""
    ini = (
        "[User]\r\nDate=06/13/2016\r\nTime=05:06:40 PM\r\n[System]\r\nSystemType=Helios NanoLab\r\n"
        f"[{scan}]\r\nPixelWidth=3.3724e-06\r\nPixelHeight=3.4e-06\r\n"
    )
    return written((PLANE, {"extratags": [text(code, ini)], **GREY}))


def zeiss_sem(*, old: bool = False) -> bytes:
    """Return a TIFF of SmartSEM; an *old* one has the values without names only."""
    unnamed = "0\r\n0\r\n0\r\n3.712008e-08\r\n"
    named = (
        "AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 2.615 nm\r\nAP_DATE\r\nDate :23 Dec 2015\r\n"
        "AP_TIME\r\nTime :9:40:32\r\nSV_SERIAL_NUMBER\r\nSerial No. = Merlin-61-08\r\n"
    )
    return written((PLANE, {"extratags": [text(34118, unnamed + named * (not old))], **GREY}))


def tvips() -> bytes:
    """Return a TIFF of a TVIPS camera."""
    one = numpy.zeros(1, tifffile.TIFF.TVIPS_HEADER_V1)
    two = numpy.zeros(1, tifffile.TIFF.TVIPS_HEADER_V2)
    one["Version"], two["Magic"], two["PixelSizeX"], two["PixelSizeY"] = 2, 0xAAAAAAAA, 1.5, 1.25
    raw = one.tobytes() + two.tobytes()
    return written((PLANE, {"extratags": [tag(37706, 7, len(raw), raw)], **GREY}))


EVERY = {
    "slide.svs": aperio(), "slide.ndpi": hamamatsu(), "slide.qptiff": qptiff(), "cells.lsm": lsm(), "cells.stk": stk(),
    "metaseries.tif": metaseries(), "img_MMStack.tif": micro_manager(), "scan_00001.tif": scanimage(),
    "fluoview.tif": fluoview(), "sis.tif": olympus_sis(), "fei.tif": fei(), "sem.tif": zeiss_sem(),
    "tvips.tif": tvips(),
}  # fmt: skip
