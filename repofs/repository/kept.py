"""What the whole repository would lose with its catalogue, kept in the tree too: its people, and which ids were given.

Each is a small file, signed, and always whole. Of ids that are given often the file is ahead of the catalogue by up to
BLOCK, so that it is seldom written: after a crash as many stay unused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from repofs.fault_points import Step, passed
from repofs.repository.durable import write_whole
from repofs.repository.layout import Layout, load_key
from repofs.repository.signing import Signer

BLOCK = 1000
OFTEN = ("Import", "Ending", "Arrival", "Fileset", "OriginalFile", "Image")

_log = structlog.get_logger(__name__)


class Kept:
    """A signed value in a file of its own, signed for one *purpose*: its name, where there is but one of that."""

    def __init__(self, layout: Layout, path: Path, purpose: str | None = None) -> None:
        self._path = path
        self._signer = Signer(load_key(layout), (purpose or path.name).encode())

    def read(self) -> Any:
        """Return the value; None when there is none, or (with a warning in the log) none of ours."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        value = self._signer.unpack(content)
        if value is None:
            _log.warning("a file is forged or damaged: ignored", path=str(self._path))
        return value

    def write(self, value: object) -> None:
        """Replace the value; durable when this returns."""
        write_whole(self._path, self._signer.pack(value))


class Counters:
    """No id at or above the mark of its kind was ever given. One transaction of the catalogue at a time."""

    def __init__(self, layout: Layout) -> None:
        self._kept = Kept(layout, layout.counters)
        self._marks = self.read()

    def read(self) -> dict[str, int]:
        """Return the marks by kind of object; none of what no id was given of."""
        return self._kept.read() or {}

    def let_give(self, following: Mapping[str, int]) -> None:
        """Return when all ids below *following*, by kind, may be given."""
        if any(number > self._marks.get(kind, 0) for kind, number in following.items()):
            marks = self.read()  # another process may have been here
            for kind, number in following.items():
                if number > marks.get(kind, 0):
                    marks[kind] = number + (BLOCK if kind in OFTEN else 0)
            self._write(marks)

    def end(self, following: Mapping[str, int]) -> None:
        """Take the marks back to what was given: nobody else gives any."""
        if self._marks != following:
            self._write(dict(following))

    def _write(self, marks: dict[str, int]) -> None:
        self._kept.write(marks)
        passed(Step.COUNTERS_KEPT)
        self._marks = marks
