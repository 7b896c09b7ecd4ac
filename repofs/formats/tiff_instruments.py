"""What slide scanners, cameras and electron microscopes say of an image, as tifffile takes it apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.parsers import expat

import tifffile
from tifffile.tifffile import svs_description_metadata

from repofs.formats.tiff_values import at, color, lens, micrometres, moment, pixel_of, positive, words
from repofs.model import Channel

_CENTIMETRE = 3  # of the tag ResolutionUnit


def details(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict[str, Any]:
    """Return fields of an ImageInfo; None where nothing is said."""
    for name, instrument in _INSTRUMENTS.items():
        if getattr(tiff, f"is_{name}") or getattr(series.keyframe, f"is_{name}"):
            return instrument(tiff, series)
    return {}


def _aperio(_: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict[str, Any]:
    """SVS: of a file made from another (`HEADER;HEADER OF THE OTHER|…`), size and date are those of the other."""
    said = svs_description_metadata(series.keyframe.description)
    if series.name != "Baseline":
        return {}
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


def _hamamatsu(_: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict[str, Any]:
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


def _perkin_elmer(_: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict[str, Any]:
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


def _leica(_: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict[str, Any]:
    """SCN: each page of it says how many of its pixels are a centimetre."""
    return _by_resolution(series)


def _by_resolution(series: tifffile.TiffPageSeries) -> dict[str, Any]:
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


def _olympus(_: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> dict[str, Any]:
    """SIS: a block that only some fields are known of, in metres."""
    said = series.keyframe.tags.valueof(33560)
    return {
        "physical_size_x_um": positive(at(said, "pixelsizex"), 1e6),
        "physical_size_y_um": positive(at(said, "pixelsizey"), 1e6),
        "magnification": positive(at(said, "magnification")),
        "acquired": moment(at(said, "datetime")),
        "instrument": words(at(said, "cameraname")),
    }


def _fei(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries) -> dict[str, Any]:
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


def _zeiss_sem(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries) -> dict[str, Any]:
    """Zeiss SmartSEM: variables with a title, a value and a unit; the first, without a name, holds the size in metres."""
    said = tiff.sem_metadata or {}
    size = said.get("ap_image_pixel_size") or said.get("ap_pixel_size") or ()
    unnamed = said.get("") or ()
    pixel = micrometres(size[1], size[2]) if len(size) > 2 else positive(unnamed[3], 1e6) if len(unnamed) > 3 else None
    date, time, serial = ((said.get(key) or ("", ""))[1] for key in ("ap_date", "ap_time", "sv_serial_number"))
    return {
        "physical_size_x_um": pixel,
        "physical_size_y_um": pixel,
        "acquired": moment(f"{date} {time}", "%d %b %Y %H:%M:%S"),
        "instrument": f"Zeiss {serial}" if serial else None,
    }


def _tvips(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries) -> dict[str, Any]:
    """TVIPS cameras of electron microscopes: in nm."""
    said = tiff.tvips_metadata
    return {
        "physical_size_x_um": positive(at(said, "PixelSizeX"), 1e-3),
        "physical_size_y_um": positive(at(said, "PixelSizeY"), 1e-3),
        "instrument": words(at(said, "CameraType")),
    }


_INSTRUMENTS: dict[str, Callable[[tifffile.TiffFile, tifffile.TiffPageSeries], dict[str, Any]]] = {
    "svs": _aperio,
    "ndpi": _hamamatsu,
    "qpi": _perkin_elmer,
    "scn": _leica,
    "sis": _olympus,
    "fei": _fei,
    "sem": _zeiss_sem,
    "tvips": _tvips,
}
