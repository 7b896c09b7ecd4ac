"""Amounts as people write them: 30d, 100MB/s, 5%."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from repofs.errors import InvalidValue

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_BYTES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_UNITS = {name.lower(): size for name, size in _BYTES.items()}


def moment(text: str, now: datetime) -> datetime:
    """Return the time that *text* means: so long before *now* (30d), or itself (ISO 8601; local without a zone).

    Raises InvalidValue.
    """
    age = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)\s*(s|min|h|d|w)", text)
    try:
        if age is not None:
            return now - timedelta(seconds=float(age[1]) * _SECONDS[age[2]])
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        words = f"{text!r} is no age: write 30d (s, min, h, d, w), or a date or time as 2026-11-22 or 2026-11-22T12:00"
        raise InvalidValue(words) from None


def rate(text: str) -> float:
    """Return how many bytes a second *text* means: 100MB/s, 50MiB/s. Raises InvalidValue."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*([kmgt]?i?b)/s", text.strip(), re.IGNORECASE)
    if found is None or found[2].lower() not in _UNITS or float(found[1]) == 0:
        raise InvalidValue(f"{text!r} is no rate: write 100MB/s ({', '.join(_BYTES)}), more than 0")
    return float(found[1]) * _UNITS[found[2].lower()]


def share(text: str, whole: int) -> int:
    """Return how many of *whole* things *text* means: 100, or 5%, rounded up; never more than there are.

    Raises InvalidValue.
    """
    found = re.fullmatch(r"(\d{1,12})|(\d{1,3}(?:\.\d+)?)%", text)
    if found is None or float(found[1] or found[2]) == 0 or (found[2] is not None and float(found[2]) > 100):
        raise InvalidValue(f"{text!r} is no sample: write a number of files, or a share of them as 5%")
    if found[1] is not None:
        return min(int(found[1]), whole)
    return -int(-whole * float(found[2]) // 100)
