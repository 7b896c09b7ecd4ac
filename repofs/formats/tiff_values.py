"""Values as the makers of TIFFs write them, made into those of an `ImageInfo`: None for what is none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from repofs.formats.original_metadata import text

Details = dict[str, Any]  # fields of an ImageInfo; None: it is not said

UNITS_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometers": 1.0,
            "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00B5m": 1.0, "nm": 1e-3, "pm": 1e-6, "fm": 1e-9,
            "inch": 25_400.0}  # fmt: skip

_LENS = re.compile(r"(\d+(?:[.,]\d+)?) ?x(?:[ /]+(\d[.,]\d+))?", re.IGNORECASE)


def positive(value: object, factor: float = 1.0) -> float | None:
    """Return *value* times *factor*; None when it is no number, not positive or not finite."""
    try:
        product = float(value) * factor  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return product if product > 0 and math.isfinite(product) else None


def micrometres(value: object, unit: object) -> float | None:
    """Return *value* of a *unit* in µm."""
    return positive(value, UNITS_UM.get(text(unit), 0.0))


def pixel_of(resolution: object) -> float | None:
    """Return units a pixel of a RATIONAL of pixels a unit."""
    if isinstance(resolution, tuple) and len(resolution) == 2 and resolution[0]:
        return float(resolution[1]) / float(resolution[0])
    return None


def words(value: object) -> str | None:
    """Return *value* as text of one line, None when it is empty."""
    return " ".join(text(value, 1024).split()) or None if isinstance(value, (str, bytes)) else None


def moment(value: object, *formats: str) -> str | None:
    """Return a date and time in ISO 8601: of a datetime, or of a text in one of *formats* of strptime."""
    if isinstance(value, datetime):
        return value.isoformat()
    for one in formats:
        try:
            return datetime.strptime(str(value).strip(), one).isoformat()
        except ValueError:
            continue
    return None


def lens(name: object) -> Details:
    """Return the objective called *name*, with what its name says: "Plan-Apochromat 63x/1.40 Oil DIC"."""
    named = words(name)
    found = _LENS.search(named or "")
    numbers = [positive(number.replace(",", ".")) if number else None for number in (found.groups() if found else ())]
    magnification, aperture = numbers or (None, None)
    return {"objective": named, "magnification": magnification, "numerical_aperture": aperture}


def color(red: object, green: object, blue: object) -> str:
    """Return "#RRGGBB" of three numbers, of which the low eight bits count."""
    return "#{:02X}{:02X}{:02X}".format(*(int(part) & 255 for part in (red, green, blue)))  # type: ignore[call-overload]


def at(tree: object, *keys: str) -> Any:
    """Return what lies below *keys* in nested mappings, None where one of them is missing."""
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree
