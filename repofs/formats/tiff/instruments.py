"""What slide scanners, cameras and electron microscopes say of an image, as tifffile takes it apart."""

from __future__ import annotations

from xml.parsers import expat

import tifffile
from tifffile.tifffile import svs_description_metadata

from repofs.formats.tiff.details import Details, lens, pixel_of
from repofs.formats.units import micrometres
from repofs.formats.values import at, color, moment, positive, words
from repofs.image import Channel

_CENTIMETRE = 3  # of the tag ResolutionUnit


def aperio(_: tifffile.TiffFile, series: tifffile.TiffPageSeries, __: int) -> Details:
    """SVS: of a file made from another (`HEADER;HEADER OF THE OTHER|…`), size and date are those of the other."""
    if series.name != "Baseline":
        return {}
    said = svs_description_metadata(series.keyframe.description)
    found = {
        "magnification": positive(said.get("AppMag")),
        "instrument": f"Aperio {said.get('ScanScope ID', '')}".strip(),
    }
    if ";" in said["Header"]:
        return found
    return found | {
        "physical_size_x_um": positive(said.get("MPP")),
        "physical_size_y_um": positive(said.get("MPP")),
        "acquired": moment(f"{said.get('Date')} {said.get('Time')}", "%m/%d/%y %H:%M:%S", "%m/%d/%Y %H:%M:%S"),
    }


def hamamatsu(_: tifffile.TiffFile, series: tifffile.TiffPageSeries, __: int) -> Details:
    """NDPI: pixels a centimetre, and the lens; that of the overview is -1."""
    tags = series.keyframe.tags
    magnification = positive(tags.valueof(65421))
    if magnification is None:
        return {}
    maker, model = (words(tags.valueof(tag)) for tag in ("Make", "Model"))
    return _by_resolution(series) | {
        "magnification": magnification,
        "instrument": " ".join(filter(None, (maker, model))) or None,
    }


def perkin_elmer(_: tifffile.TiffFile, series: tifffile.TiffPageSeries, __: int) -> Details:
    """QPTIFF: XML in the description of each page, one page a channel."""
    if series.name != "Baseline":
        return {}
    pages = [_children(page.description) for page in series if isinstance(page, tifffile.TiffPage)]
    colors = [page.get("Color", "").split(",") for page in pages]
    channels = tuple(
        Channel(
            words(page.get("Name")), color(*map(int, rgb)) if len(rgb) == 3 and all(map(str.isdigit, rgb)) else None
        )
        for page, rgb in zip(pages, colors, strict=True)
    )
    return _by_resolution(series) | lens(pages[0].get("Objective")) | {
        "channels": channels if any(channel.name for channel in channels) else (),
        "instrument": words(pages[0].get("InstrumentType")),
    }  # fmt: skip


def _by_resolution(series: tifffile.TiffPageSeries) -> Details:
    """Return the sizes by the tags of the resolution, for makers who mean the object by it and not a print."""
    tags = series.keyframe.tags
    if tags.valueof("ResolutionUnit") != _CENTIMETRE:
        return {}
    return {
        "physical_size_x_um": positive(pixel_of(tags.valueof("XResolution")), 1e4),
        "physical_size_y_um": positive(pixel_of(tags.valueof("YResolution")), 1e4),
    }


def _children(xml: str) -> dict[str, str]:
    """Return the first text of each element below the root, of XML without entities; empty when it is none."""
    found: dict[str, str] = {}
    path: list[str] = []

    def characters(data: str) -> None:
        if len(path) == 2:
            found[path[1]] = (found.get(path[1], "") + data)[:1024]

    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, _: path.append(name)
    parser.EndElementHandler = lambda _: path.pop()
    parser.CharacterDataHandler = characters
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(xml, True)
    except (expat.ExpatError, ValueError):
        return {}
    return found


def _refuse(*_: object) -> None:
    raise ValueError("it declares an entity")


def olympus(_: tifffile.TiffFile, series: tifffile.TiffPageSeries, __: int) -> Details:
    """SIS: a block that only some fields are known of, in metres."""
    said = series.keyframe.tags.valueof(33560)
    return {
        "physical_size_x_um": positive(at(said, "pixelsizex"), 1e6),
        "physical_size_y_um": positive(at(said, "pixelsizey"), 1e6),
        "magnification": positive(at(said, "magnification")),
        "acquired": moment(at(said, "datetime")),
        "instrument": words(at(said, "cameraname")),
    }


def fei(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries, __: int) -> Details:
    """FEI and Thermo Fisher, Helios and others: sections of an INI file, in metres."""
    said = tiff.fei_metadata
    scan = next((at(said, key) for key in ("Scan", "EScan", "IScan") if at(said, key, "PixelWidth")), None)
    user = at(said, "User") or {}
    when = f"{user.get('Date')} {user.get('Time')}"
    return {
        "physical_size_x_um": positive(at(scan, "PixelWidth"), 1e6),
        "physical_size_y_um": positive(at(scan, "PixelHeight"), 1e6),
        "acquired": moment(when, "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S"),
        "instrument": words(at(said, "System", "SystemType")),
    }


def zeiss_sem(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries, __: int) -> Details:
    """Zeiss SmartSEM: variables with a title, a value, a unit; the first, without a name, has the size in metres."""
    said = tiff.sem_metadata or {}
    size = said.get("ap_image_pixel_size") or said.get("ap_pixel_size") or ()
    pixel = micrometres(*size[1:3]) if len(size) > 2 else positive(said[""][3], 1e6)
    date, time, serial = ((said.get(key) or ("", ""))[1] for key in ("ap_date", "ap_time", "sv_serial_number"))
    return {
        "physical_size_x_um": pixel,
        "physical_size_y_um": pixel,
        "acquired": moment(f"{date} {time}", "%d %b %Y %H:%M:%S"),
        "instrument": f"Zeiss {serial}" if serial else None,
    }


def tvips(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries, __: int) -> Details:
    """TVIPS cameras of electron microscopes: in nm."""
    said = tiff.tvips_metadata
    return {
        "physical_size_x_um": positive(at(said, "PixelSizeX"), 1e-3),
        "physical_size_y_um": positive(at(said, "PixelSizeY"), 1e-3),
        "instrument": words(at(said, "CameraType")),
    }
