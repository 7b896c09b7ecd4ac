"""What the makers of TIFFs say of an image beside its pages."""

from __future__ import annotations

import math
from typing import Any

import numpy
import tifffile

from repofs.formats.original_metadata import text
from repofs.model import Channel

_IMAGEJ_UNITS_UM = {"micron": 1.0, "microns": 1.0, "micrometer": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00B5m": 1.0,
                    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25_400.0}  # fmt: skip


def details(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, channels: int) -> dict[str, Any]:
    x_um, y_um, z_um, increment = _calibration(tiff, series)
    return {
        "physical_size_x_um": x_um,
        "physical_size_y_um": y_um,
        "physical_size_z_um": z_um,
        "time_increment_s": increment,
        "acquired": _acquired(series, tiff),
        "channels": _channels(tiff, series, channels),
    }


def _calibration(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float | None, ...]:
    """Return X, Y, Z in µm and the seconds between time points, None where the file does not say.

    A bare resolution is of a print (72 dpi), not of an object: only ImageJ and MetaMorph name a unit of their own.
    """
    if tiff.is_stk:
        stk = tiff.stk_metadata or {}
        unit = _IMAGEJ_UNITS_UM.get(text(stk.get("CalibrationUnits", "")), 0.0)
        distances = numpy.atleast_1d(stk.get("ZDistance", 0.0))
        z = float(distances[0]) if distances.size else 0.0
        return *(_positive(value, unit) for value in (stk.get("XCalibration"), stk.get("YCalibration"), z)), None
    if series.kind == "imagej":
        imagej = tiff.imagej_metadata or {}
        unit = _IMAGEJ_UNITS_UM.get(text(imagej.get("unit", "")), 0.0)
        tags = series.keyframe.tags
        x, y = (_pixel_of(tags.valueof(tag)) for tag in ("XResolution", "YResolution"))
        return (_positive(x, unit), _positive(y, unit), _positive(imagej.get("spacing"), unit),
                _positive(imagej.get("finterval"), 1.0))  # fmt: skip
    return None, None, None, None


def _pixel_of(resolution: object) -> float | None:
    """Return units a pixel of a RATIONAL of pixels a unit."""
    if isinstance(resolution, tuple) and len(resolution) == 2 and resolution[0]:
        return float(resolution[1]) / float(resolution[0])
    return None


def _positive(value: object, factor: float) -> float | None:
    if not isinstance(value, (int, float)):
        return None
    product = float(value) * factor
    return product if product > 0 and math.isfinite(product) else None


def _acquired(series: tifffile.TiffPageSeries, tiff: tifffile.TiffFile) -> str | None:
    """Return when a MetaMorph stack was made. The tag DateTime says when the file was written, so it is not used."""
    created = (tiff.stk_metadata or {}).get("CreateTime") if series.kind == "stk" else None
    return None if created is None else text(created.isoformat(), 32)


def _channels(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, count: int) -> tuple[Channel, ...]:
    """Return the channels with the colours of ImageJ's lookup tables, or none when the file says nothing of them."""
    tables = (tiff.imagej_metadata or {}).get("LUTs") if series.kind == "imagej" else None
    if not isinstance(tables, (list, tuple)) or len(tables) != count:
        return ()
    brightest = (numpy.asarray(table).reshape(3, -1)[:, -1].tolist() for table in tables)
    return tuple(Channel(color="#{:02X}{:02X}{:02X}".format(*(int(part) & 255 for part in rgb))) for rgb in brightest)
