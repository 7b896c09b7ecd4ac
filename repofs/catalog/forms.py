"""The forms in which values are stored and shown, where a database takes less than Python or the kernel gives."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TypeVar

_MAX = 2**63 - 1

T = TypeVar("T")


def now() -> str:
    """Return the time as the catalogue keeps it."""
    return iso(datetime.now(UTC))


def iso(time: datetime) -> str:
    """Return *time* (with its zone) as the catalogue keeps it: ISO 8601, UTC, milliseconds; sorts as the times do."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


def shown(name: bytes) -> str:
    """Return a name of the tree as text for JSON; what is not UTF-8 becomes lone surrogates.

    `json.dumps` writes those as ``\\udcff``, and `shown(name).encode("utf-8", "surrogateescape")` is the name again.
    """
    return name.decode("utf-8", "surrogateescape")


def signed(word: int) -> int:
    """Return the unsigned 64-bit *word* (st_dev, st_ino) as the signed number of the same bits."""
    return word - 2**64 if word > _MAX else word


def unsigned(word: int) -> int:
    """Undo `signed`."""
    return word + 2**64 if word < 0 else word


def nearest(number: int) -> int:
    """Return *number* or the nearest that fits in 64 bits: a file may claim any time, any count of planes."""
    return max(-_MAX, min(number, _MAX))


def plain(value: T) -> T:
    """Return a value that came out of a file so that any database takes it.

    What is not UTF-8 in a text is written out, a NUL shown as ␀; numbers are brought to the nearest that fits, and
    NaN and infinities become null, as JSON has none.
    """
    plain_value: object = value
    if isinstance(value, str):
        text = value.replace("\0", "␀")
        plain_value = text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    elif isinstance(value, float):
        plain_value = value if math.isfinite(value) else None
    elif isinstance(value, int):
        plain_value = nearest(value)
    return plain_value  # type: ignore[return-value]
