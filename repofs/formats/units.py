"""Units of length and time as file formats spell them: symbols (µm) and names (micrometers, microns)."""

from __future__ import annotations

from repofs.formats.original_metadata import text
from repofs.formats.values import positive

_UM = {"fm": 1e-9, "pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "dm": 1e5,
       "m": 1e6, "km": 1e9, "in": 25_400.0, "ft": 304_800.0, "yd": 914_400.0}  # fmt: skip
_UM_BY_NAME = {"angstrom": 1e-4, "micron": 1.0, "inch": 25_400.0, "foot": 304_800.0, "yard": 914_400.0}
_S = {"ns": 1e-9, "µs": 1e-6, "μs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0,
      "usec": 1e-6, "msec": 1e-3, "sec": 1.0, "min": 60.0, "h": 3600.0,
      "d": 86_400.0}  # fmt: skip
_S_BY_NAME = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_PREFIXES = {"": 1.0, "femto": 1e-15, "pico": 1e-12, "nano": 1e-9, "micro": 1e-6, "milli": 1e-3, "centi": 1e-2,
             "deci": 1e-1, "kilo": 1e3, "mega": 1e6}  # fmt: skip


def micrometres(value: object, unit: object) -> float | None:
    """Return *value* of *unit* in µm; None when it is no length, or not positive."""
    spelt = text(unit).replace(r"\u00B5", "µ")  # as ImageJ writes it
    return positive(value, _UM.get(spelt) or _by_name(spelt, _UM_BY_NAME, ("meter", "metre"), 1e6))


def seconds(value: object, unit: object) -> float | None:
    """Return *value* of *unit* in seconds; None when it is no time, or not positive."""
    spelt = text(unit)
    return positive(value, _S.get(spelt) or _by_name(spelt, _S_BY_NAME, ("second",), 1.0))


def _by_name(unit: str, names: dict[str, float], bases: tuple[str, ...], one: float) -> float:
    """Return how many of what is counted in one *unit* is, 0 when its name is not known."""
    name = unit.lower()
    singular = name[:-1] if name.endswith("s") else name
    if singular in names:
        return names[singular]
    for base in bases:
        if singular.endswith(base) and singular[: -len(base)] in _PREFIXES:
            return _PREFIXES[singular[: -len(base)]] * one
    return 0.0
