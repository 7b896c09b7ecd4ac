"""What the programs of light microscopes say of an image, each in its dialect of TIFF, as tifffile takes it apart."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy
import tifffile

from repofs.formats.tiff import instruments as tiff_instruments
from repofs.formats.tiff.details import Details, lens, pixel_of
from repofs.formats.units import micrometres, seconds
from repofs.formats.values import at, color, moment, positive, words
from repofs.image import Channel

Dialect = Callable[[tifffile.TiffFile, tifffile.TiffPageSeries, int], Details]

_BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error)
_DAY_ZERO = datetime(1899, 12, 30)  # of OLE dates, in the time of the place
_CHANNEL_KEYS = ("channelName", "channelSave")
_EPOCH = re.compile(r"epoch = \[ *(\d+)[ ,]+(\d+)[ ,]+(\d+)[ ,]+(\d+)[ ,]+(\d+)[ ,]+(\d+(?:\.\d*)?) *\]")


def details(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, channels: int) -> tuple[Details, str | None]:
    """Return what is said of an image of so many *channels* beside its pages, and why something cannot be read.

    Where two dialects say the same, as Micro-Manager's and ImageJ's in one file, the first of `_DIALECTS` counts.
    """
    said: Details = {}
    fault = None
    pages = {id(page): page for page in (tiff.pages.first, series.keyframe)}.values()
    for name, dialect in _DIALECTS.items():
        if any(getattr(page, f"is_{name}") for page in pages):
            try:
                found = dialect(tiff, series, channels)
            except _BROKEN as error:  # a block may hold anything, and the pixels are good without it
                fault = f"what its program wrote of it ({name}) cannot be read: {type(error).__name__}"
            else:
                said = {key: value for key, value in found.items() if value not in (None, ())} | said
    return said, fault


def _metamorph(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, _: int) -> Details:
    """STK: MetaMorph's own, with planes that have no pages."""
    stk = tiff.stk_metadata or {}
    unit = stk.get("CalibrationUnits", "")
    properties = stk.get("PlaneProperty") or ()
    plane = {one["name"]: one.get("value") for one in properties if isinstance(one, Mapping) and "name" in one}
    distances = numpy.atleast_1d(stk.get("ZDistance", 0.0))
    made = stk.get("DatetimeCreated")
    steps = numpy.diff(made) / numpy.timedelta64(1, "s") if made is not None and series.axes[:1] == "T" else []
    emission = positive(stk.get("wavelength"))
    channel = Channel(words(plane.get("_IllumSetting_")), emission_nm=emission)
    said = lens(plane.get("_MagSetting_"))
    return said | {
        "physical_size_x_um": micrometres(stk.get("XCalibration"), unit),
        "physical_size_y_um": micrometres(stk.get("YCalibration"), unit),
        "physical_size_z_um": micrometres(distances[0], unit) if distances.size else None,
        "time_increment_s": positive(numpy.median(steps)) if len(steps) else None,
        "acquired": moment(stk.get("CreateTime")) or _first_moment(made),
        "channels": () if channel == Channel() else (channel,),
        "numerical_aperture": positive(plane.get("_MagNA_")) or said["numerical_aperture"],
    }


def _first_moment(made: numpy.ndarray | None) -> str | None:
    return None if made is None or not len(made) else moment(made[0].astype("datetime64[us]").item())


def _metaseries(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries, __: int) -> Details:
    """MetaXpress and newer MetaMorph: XML in the description."""
    plane = at(tiff.metaseries_metadata, "PlaneInfo") or {}
    unit = plane.get("spatial-calibration-units", "")
    calibrated = plane.get("spatial-calibration-state", True)
    name = words(plane.get("_IllumSetting_")) or words(plane.get("image-name"))
    return lens(plane.get("_MagSetting_")) | {
        "physical_size_x_um": micrometres(plane.get("spatial-calibration-x"), unit) if calibrated else None,
        "physical_size_y_um": micrometres(plane.get("spatial-calibration-y"), unit) if calibrated else None,
        "acquired": moment(plane.get("acquisition-time-local"), "%Y%m%d %H:%M:%S.%f", "%Y%m%d %H:%M:%S"),
        "channels": (Channel(name, emission_nm=positive(plane.get("wavelength"))),) if name else (),
    }


def _micromanager(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries, channels: int) -> Details:
    """Micro-Manager: JSON of the whole acquisition behind the header, and of each plane in a tag."""
    summary = at(tiff.micromanager_metadata, "Summary") or {}
    plane = tiff.pages.first.tags.valueof(51123) or {}
    pixel = positive(at(plane, "PixelSizeUm")) or positive(summary.get("PixelSize_um"))
    names, colors = (_as_many(summary.get(key), channels) for key in ("ChNames", "ChColors"))
    found = [
        Channel(words(name), color(shade >> 16, shade >> 8, shade) if isinstance(shade, int) else None)
        for name, shade in zip(names, colors, strict=True)
    ]
    began = next((summary[key] for key in ("StartTime", "Time") if summary.get(key)), at(plane, "Time"))
    return {
        "physical_size_x_um": pixel,
        "physical_size_y_um": pixel,
        "physical_size_z_um": positive(summary.get("z-step_um")),
        "time_increment_s": positive(summary.get("Interval_ms"), 1e-3),
        "acquired": moment(str(began)[:19], "%Y-%m-%d %H:%M:%S"),
        "channels": tuple(found) if found != [Channel()] * channels else (),
    }


def _imagej(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, channels: int) -> Details:
    """ImageJ: the resolution is in its own unit, the colours are the ends of its lookup tables."""
    if series.kind != "imagej":
        return {}
    imagej = tiff.imagej_metadata or {}
    unit = imagej.get("unit", "")
    tags = series.keyframe.tags
    tables = imagej.get("LUTs")
    colors: tuple[Channel, ...] = ()
    if isinstance(tables, (list, tuple)) and len(tables) == channels:
        ends = (numpy.asarray(table).reshape(3, -1)[:, -1].tolist() for table in tables)
        colors = tuple(Channel(color=color(*end)) for end in ends)
    return {
        "physical_size_x_um": micrometres(pixel_of(tags.valueof("XResolution")), unit),
        "physical_size_y_um": micrometres(pixel_of(tags.valueof("YResolution")), unit),
        "physical_size_z_um": micrometres(imagej.get("spacing"), unit),
        "time_increment_s": positive(imagej.get("finterval")),
        "channels": colors,
    }


def _as_many(values: object, channels: int) -> list[Any]:
    """Return *values* when they are one a channel, else None for each."""
    return list(values) if isinstance(values, (list, tuple)) and len(values) == channels else [None] * channels


def _lsm(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries, channels: int) -> Details:
    """Zeiss LSM 5 and 7: one structure of the whole file, in metres and seconds."""
    lsm = tiff.lsm_metadata or {}
    scan = lsm.get("ScanInformation")
    names, colors = (_as_many(at(lsm, "ChannelColors", key), channels) for key in ("ColorNames", "Colors"))
    found = [Channel(words(name), color(*rgb[:3]) if rgb else None) for name, rgb in zip(names, colors, strict=True)]
    days = positive(at(scan, "Sample0time"))
    return lens(at(scan, "Objective")) | {
        "physical_size_x_um": positive(lsm.get("VoxelSizeX"), 1e6),
        "physical_size_y_um": positive(lsm.get("VoxelSizeY"), 1e6),
        "physical_size_z_um": positive(lsm.get("VoxelSizeZ"), 1e6),
        "time_increment_s": positive(lsm.get("TimeIntervall")),  # sic
        "acquired": moment((_DAY_ZERO + timedelta(days=days)).replace(microsecond=0)) if days and days < 1e6 else None,
        "channels": tuple(found) if found != [Channel()] * channels else (),
        "instrument": "Zeiss LSM",
    }


def _scanimage(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, _: int) -> Details:
    """ScanImage 2016 and newer: variables of the program; a field is so many degrees of the scanner wide."""
    frames = at(tiff.scanimage_metadata, "FrameData") or {}
    fields = at(tiff.scanimage_metadata, "RoiGroups", "imagingRoiGroup", "rois") or {}
    field = at(fields[0] if isinstance(fields, list) and fields else fields, "scanfields")
    field = field[0] if isinstance(field, list) and field else field
    degrees, pixels = at(field, "sizeXY") or (None, None), at(field, "pixelResolutionXY") or (None, None)
    um_a_degree = positive(frames.get("SI.objectiveResolution")) or 0.0
    x_um, y_um = (
        positive(degree, um_a_degree / count) if positive(count) else None
        for degree, count in zip(degrees, pixels, strict=True)
    )
    volume = dict(zip(series.axes, series.shape, strict=True)).get("Z", 1) > 1
    rate = positive(frames.get("SI.hRoiManager.scanVolumeRate" if volume else "SI.hRoiManager.scanFrameRate"))
    epoch = _EPOCH.search(tiff.pages.first.description)
    when = " ".join(epoch.groups())[:26] if epoch else ""
    names, saved = (numpy.ravel(frames.get(f"SI.hChannels.{key}", [])).tolist() for key in _CHANNEL_KEYS)
    named = [names[number - 1] for number in saved if isinstance(number, int) and 0 < number <= len(names)]
    return {
        "physical_size_x_um": x_um,
        "physical_size_y_um": y_um,
        "physical_size_z_um": positive(frames.get("SI.hStackManager.stackZStepSize")) if volume else None,
        "time_increment_s": 1 / rate if rate else None,
        "acquired": moment(when, "%Y %m %d %H %M %S.%f", "%Y %m %d %H %M %S"),
        "channels": tuple(Channel(words(name)) for name in named),
        "instrument": "ScanImage",
    }


def _fluoview(tiff: tifffile.TiffFile, _: tifffile.TiffPageSeries, __: int) -> Details:
    """Olympus FluoView: each axis with its own unit."""
    axes = {axis[0].upper(): axis for axis in (tiff.fluoview_metadata or {}).get("Dimensions", ())}
    sizes = {key: micrometres(axes[key][3], axes[key][4]) if key in axes else None for key in "XYZ"}
    time = axes.get("T") or axes.get("TIME")
    return {f"physical_size_{key.lower()}_um": size for key, size in sizes.items()} | {
        "time_increment_s": seconds(time[3], time[4]) if time else None
    }


_DIALECTS: dict[str, Dialect] = {
    "stk": _metamorph,
    "metaseries": _metaseries,
    "micromanager": _micromanager,
    "imagej": _imagej,
    "lsm": _lsm,
    "scanimage": _scanimage,
    "fluoview": _fluoview,
    "svs": tiff_instruments.aperio,
    "ndpi": tiff_instruments.hamamatsu,
    "qpi": tiff_instruments.perkin_elmer,
    "sis": tiff_instruments.olympus,
    "fei": tiff_instruments.fei,
    "sem": tiff_instruments.zeiss_sem,
    "tvips": tiff_instruments.tvips,
}
