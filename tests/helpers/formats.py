"""What the readers say of bytes that lie in no directory."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import BinaryIO

from repofs.formats import registry
from repofs.model import Recognised


class OneFile:
    """`reader.Files` of one file."""

    def __init__(self, name: str, raw: bytes) -> None:
        self._name = name
        self._raw = raw

    def has(self, name: str) -> bool:
        return name == self._name

    def names(self, directory: str = "") -> Sequence[str]:
        return [] if directory else [self._name]

    def open(self, name: str) -> BinaryIO:
        if name != self._name:
            raise FileNotFoundError(name)
        return io.BytesIO(self._raw)


def recognised(raw: bytes, name: str) -> Recognised:
    """Return what the readers say of a file *name* of these bytes."""
    return registry.read(name, OneFile(name, raw))
