"""Units of length and time by symbol and by name."""

from __future__ import annotations

import pytest

from repofs.formats.units import micrometres, seconds


@pytest.mark.parametrize(
    ("unit", "um"),
    [("µm", 1.0), ("μm", 1.0), (" um ", 1.0),
     ("micron", 1.0), ("Microns", 1.0), ("micrometer", 1.0), ("micrometres", 1.0),
     ("nm", 1e-3), ("nanometer", 1e-3), ("angstrom", 1e-4), ("Å", 1e-4), ("mm", 1e3), ("centimeter", 1e4), ("m", 1e6),
     ("meter", 1e6), ("inch", 25_400.0), ("kilometer", 1e9), ("", None), ("s", None), ("undefined", None),
     ("pixel", None), ("meters per second", None)],
)  # fmt: skip
def test_lengths(unit: str, um: float | None) -> None:
    assert micrometres(1.0, unit) == (None if um is None else pytest.approx(um))


@pytest.mark.parametrize(
    ("unit", "s"),
    [("s", 1.0), ("ms", 1e-3), ("second", 1.0), ("Seconds", 1.0), ("millisecond", 1e-3), ("minutes", 60.0),
     ("hour", 3600.0), ("day", 86_400.0), ("msec", 1e-3), ("usec", 1e-6), ("m", None), ("", None)],
)  # fmt: skip
def test_times(unit: str, s: float | None) -> None:
    assert seconds(1.0, unit) == (None if s is None else pytest.approx(s))
