"""What the dialects of TIFF share: a resolution, and a lens by its name."""

from __future__ import annotations

import re
from typing import Any

from repofs.formats.values import positive, words

Details = dict[str, Any]  # fields of an ImageInfo; None: it is not said

_LENS = re.compile(r"(\d+(?:[.,]\d+)?) ?x(?:[ /]+(\d[.,]\d+))?", re.IGNORECASE)


def pixel_of(resolution: object) -> float | None:
    """Return units a pixel of a RATIONAL of pixels a unit."""
    if isinstance(resolution, tuple) and len(resolution) == 2 and resolution[0]:
        return float(resolution[1]) / float(resolution[0])
    return None


def lens(name: object) -> Details:
    """Return the objective called *name*, with what its name says: "Plan-Apochromat 63x/1.40 Oil DIC"."""
    named = words(name)
    found = _LENS.search(named or "")
    numbers = [positive(number.replace(",", ".")) if number else None for number in (found.groups() if found else ())]
    magnification, aperture = numbers or (None, None)
    return {"objective": named, "magnification": magnification, "numerical_aperture": aperture}
