"""The raw metadata of a file as flat text, within bounds: what a reader found and could not put into a field."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy

MAX_ENTRIES = 1000
MAX_KEY = 256  # characters
MAX_VALUE = 4096  # characters
MAX_TOTAL = 512 << 10  # characters of all keys and values
MAX_DEPTH = 8
LEFT_OUT = "(left out)"  # the key that says that there was more

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def text(value: object, most: int = MAX_VALUE) -> str:
    """Return *value* as at most *most* characters that every database and UTF-8 can hold."""
    raw = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", raw[:most]).strip()


class OriginalMetadata:
    """Collects pairs; `flat` holds them. Nested mappings become keys with dots, long arrays are left out."""

    def __init__(self) -> None:
        self.flat: dict[str, str] = {}
        self._left = MAX_TOTAL

    def add(self, key: str, value: object, depth: int = 0) -> None:
        """Put in *value* under *key*; what goes beyond the bounds is counted under LEFT_OUT only."""
        if isinstance(value, Mapping):
            if depth < MAX_DEPTH:
                for name, inner in list(value.items())[:MAX_ENTRIES]:
                    self.add(f"{key}.{name}" if key else str(name), inner, depth + 1)
            return
        if isinstance(value, numpy.ndarray) or (isinstance(value, (list, tuple)) and len(value) > 16):
            return
        short, words = text(key, MAX_KEY), text(value)
        if not short or not words:
            return
        if len(self.flat) >= MAX_ENTRIES or self._left < len(short) + len(words):
            self.flat[LEFT_OUT] = "the file holds more than is kept here"
            return
        self._left -= len(short) + len(words)
        self.flat[short] = words
