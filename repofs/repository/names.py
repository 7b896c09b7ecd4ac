"""Cleaning what people are called, so that it can stand in a path: OMERO's "Windows required, UNIX required" rules."""

from __future__ import annotations

import re
import unicodedata

# Each character that Windows or UNIX cannot have in a name, and what OMERO writes for it.
_REPLACED = {'"': "'", "*": "x", "/": "!", ":": ";", "<": "[", ">": "]", "?": "%", "\\": "!", "|": "!"}
_DEVICE = re.compile(r"(AUX|CLOCK\$|CON|NUL|PRN|COM[1-9]|LPT[1-9])(\..*)?", re.IGNORECASE | re.DOTALL)


def safe(value: str) -> str:
    """Return *value* without control characters, reserved characters and Windows' names of devices."""
    device = _DEVICE.fullmatch(value)
    if device and device[2] is None:
        value = f"{value}_"
    elif device or value.startswith("$"):
        value = f"_{value}"
    return "".join(
        _REPLACED.get(character, "_" if unicodedata.category(character) == "Cc" else character) for character in value
    )
