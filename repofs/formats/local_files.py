"""The files of a directory that the process may open itself: how a reader is tried out, and timed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO


class LocalFiles:
    """`reader.Files` of all that lies in *directory*."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has(self, name: str) -> bool:
        return (self._directory / name).exists()

    def names(self, directory: str = "") -> Sequence[str]:
        place = self._directory / directory
        if not place.is_dir():
            return []
        with os.scandir(place) as entries:
            return sorted(entry.name + "/" * entry.is_dir() for entry in entries)

    def open(self, name: str) -> BinaryIO:
        return (self._directory / name).open("rb")
