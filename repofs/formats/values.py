"""Values as files give them, made into those of an `ImageInfo`: None for what is none."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from repofs.formats.original_metadata import text

time.strptime("2000", "%Y")  # imports what `moment` needs, while a process still can

MAX_SIZE = 2**31 - 1  # of one axis, as in OMERO


def is_below(name: str) -> bool:
    """Return whether *name* leads to a place below the directory that it is said in."""
    return not {"", ".", ".."} & set(name.split("/")) and "\0" not in name


def possible(*sizes: int) -> bool:
    """Return whether each of *sizes* is one that an axis of an image can have."""
    return all(1 <= size <= MAX_SIZE for size in sizes)


def positive(value: object, factor: float = 1.0) -> float | None:
    """Return *value*, a number or its text, times *factor*; None when that is no number, not positive or not finite."""
    try:
        product = float(value) * factor  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return product if product > 0 and math.isfinite(product) else None


def words(value: object) -> str | None:
    """Return *value*, a text, as one line; None when it is none, or empty."""
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
